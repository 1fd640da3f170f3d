//! Segments whose answers follow from others: all of their events meet a condition,
//! they were merged, or a cut moved on through them.

use super::*;

/// An event of a kind and a domain, a minute after the one before.
fn of(n: u64, kind: EventKind, domain: Domain) -> Arc<Event> {
    let mut event = (*varied(n)).clone();
    event.observed_at = Timestamp::from_millis(TODAY + n as i64 * 60_000);
    event.kind = kind;
    event.domain = domain;
    event.category = Category::new(if n.is_multiple_of(2) { "Webpage" } else { "SSH" }).ok();
    Arc::new(event)
}

#[test]
fn a_condition_that_all_events_of_a_segment_meet_is_not_looked_at() {
    use palisade_event::EventKind::{AuthAttempted, HttpRequested, SessionClosed};
    for (config, is_on_disk) in [(eager(), true), (remembering(), false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), &config);
        let mut oracle = Oracle::default();
        let commit = |oracle: &mut Oracle, events: Vec<Arc<Event>>| {
            oracle.append(&events);
            store.append(&events).unwrap();
            store.commit().unwrap();
        };
        // Attacks of the community alone; attacks of both; also something else.
        let attack = |n: u64| if n.is_multiple_of(3) { HttpRequested } else { AuthAttempted };
        commit(&mut oracle, (0..100).map(|n| of(n, attack(n), Domain::Community)).collect());
        let both = |n: u64| if n.is_multiple_of(5) { Domain::Private } else { Domain::Community };
        commit(&mut oracle, (100..200).map(|n| of(n, attack(n), both(n))).collect());
        upkeep(&store, TODAY);
        let attacks = "kind:(auth.attempted,http.requested,command.entered)";
        let asked = [
            (format!("domain:community {attacks}"), 2),
            (attacks.to_owned(), 2),
            (format!("{attacks} -domain:private"), 1),
            (format!("-kind:session.closed domain:community {attacks}"), 2),
        ];
        let questions = [
            top(Field::Category, 9),
            Aggregation::Count,
            Aggregation::Histogram(Interval::Millis(HOUR), Some(top(Field::Category, 2).into())),
            Aggregation::Distinct(Field::Country),
        ];
        for (text, by_file) in &asked {
            for aggregation in &questions {
                let before = counters(&store);
                let answer = store.aggregate(&parse(text), aggregation).unwrap();
                assert_eq!(answer, oracle.aggregate(&parse(text), aggregation), "{text}");
                let (answers, misses) = counters(&store);
                assert!(answers >= before.0 + by_file, "{text} {aggregation:?}");
                if is_on_disk && *by_file == 2 {
                    assert_eq!(misses, before.1, "{text} {aggregation:?}");
                }
            }
        }
        // Where a segment has other kinds too, its events are counted.
        commit(&mut oracle, (200..300).map(|n| of(n, SessionClosed, both(n))).collect());
        let mixed = |n: u64| if n.is_multiple_of(2) { SessionClosed } else { AuthAttempted };
        commit(&mut oracle, (300..400).map(|n| of(n, mixed(n), both(n))).collect());
        upkeep(&store, TODAY);
        for (text, _) in &asked {
            for aggregation in &questions {
                let answer = store.aggregate(&parse(text), aggregation).unwrap();
                assert_eq!(answer, oracle.aggregate(&parse(text), aggregation), "{text}");
            }
        }
    }
}

#[test]
fn a_merged_segment_is_shown_once_its_answers_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ready = ReadyOptions { min_events: 100, ..eager().ready };
    let config = Config { ready, ..Config::default() };
    let store = filled(dir.path(), &config, 0..1000);
    let more: Vec<Arc<Event>> = (1000..2000).map(varied).collect();
    store.append(&more).unwrap();
    store.commit().unwrap();
    upkeep(&store, TODAY);
    let before = files(dir.path());
    assert_eq!(before.len(), 4);
    let hours = Aggregation::Histogram(Interval::Millis(HOUR), Some(top(Field::User, 3).into()));
    let questions =
        [top(Field::Ip, 5), hours, Aggregation::Count, Aggregation::Distinct(Field::Ip)];
    let ask = || questions.each_ref().map(|ask| store.aggregate(&Query::ALL, ask).unwrap());
    let answers = ask();
    let mut steps = 0;
    let (mut now, mut is_merged) = (TODAY + 30 * DAY, false);
    // Both days are merged, then counted, each in a step of its own.
    while steps < 12 {
        let more = store.maintain(Timestamp::from_millis(now)).unwrap();
        assert_eq!(ask(), answers, "step {steps}");
        assert_eq!(counters(&store).1, 0, "step {steps}");
        let page = store.search(&Query::ALL, 10_000, None).unwrap();
        assert_eq!(page.events.len(), 2000);
        is_merged |= files(dir.path()).iter().all(|path| !before.contains(path));
        now += HOUR * i64::from(!more);
        steps += 1;
    }
    assert!(is_merged);
    assert_eq!(files(dir.path()).len(), 2);
    // A late event, and one that comes again while a segment is held back.
    store.append(&[varied(0), varied(2000)]).unwrap();
    store.commit().unwrap();
    let counted = Aggregated::Count { count: 2001 };
    assert_eq!(store.aggregate(&Query::ALL, &Aggregation::Count).unwrap(), counted);
}

#[test]
fn a_cut_that_moves_on_is_answered_as_by_counting() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(dir.path(), &eager(), 0..1800);
    let counting = filled(other.path(), &direct(), 0..1800);
    upkeep(&store, TODAY);
    let pair = |a, b| Aggregation::Top(vec![a, b], 4, None);
    let hours = Aggregation::Histogram(Interval::Millis(HOUR), Some(top(Field::User, 3).into()));
    let questions = [
        pair(Field::User, Field::Password),
        pair(Field::Password, Field::User),
        top(Field::Ip, 5),
        hours,
        Aggregation::Distinct(Field::Ip),
        Aggregation::Count,
    ];
    // Some seconds, a minute, an hour and more at a time, and back again.
    let moments = [0, 1, 37, 60, 61, 119, 120, 600, 3_599, 3_600, 5_000, 20_000, 60, 86_399];
    for seconds in moments {
        for day in [TODAY, TODAY - DAY] {
            let from = Timestamp::from_millis(day + seconds * 1000 - i64::from(seconds == 37));
            for (number, aggregation) in questions.iter().enumerate() {
                // The end is open, or far away, or in the middle.
                let to = [None, Some(TODAY + 2 * DAY), Some(TODAY + 23 * HOUR + 1)][number % 3];
                let range = TimeRange { from: Some(from), to: to.map(Timestamp::from_millis) };
                let query = Query { range, filter: Filter::All };
                let answer = store.aggregate(&query, aggregation).unwrap();
                assert_eq!(answer, counting.aggregate(&query, aggregation).unwrap(), "{query}");
            }
        }
    }
    assert!(counters(&store).0 > 0);
    assert_eq!(counters(&store).1, 0, "only what no unit holds was counted");
}
