use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn table(max: usize, life_secs: Option<u32>) -> Table {
    Table::new(1, life_secs, EngineOptions { max_tracked: max, ..EngineOptions::default() })
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

fn count(table: &mut Table, key: u128, secs: i64) -> u32 {
    let mut sought = table.aim(key);
    table.seek(&mut sought);
    let (state, _) = table.entry(&sought, at(secs));
    state[0] += 1;
    state[0]
}

proptest! {
    #[test]
    fn it_counts_like_a_map_until_entries_expire(
        steps in proptest::collection::vec((0u128..40, 0i64..30), 0..400)
    ) {
        let mut table = table(1000, Some(60));
        let mut model: HashMap<u128, (u32, i64)> = HashMap::new();
        let mut now = 1_000_000;
        for (key, pause) in steps {
            now += pause;
            let have = count(&mut table, key << 70 | key, now);
            let (counted, last) = model.entry(key).or_insert((0, now));
            // An entry that holds nothing any more may be gone or not.
            if now - *last <= 60 {
                prop_assert!(have == *counted + 1, "{have} is not {counted} + 1");
            }
            (*counted, *last) = (have, now);
        }
        prop_assert!(table.len() <= 40);
    }

    #[test]
    fn entries_stay_findable_while_others_go(keys in proptest::collection::vec(any::<u128>(), 1..300)) {
        let mut table = table(64, None);
        for (turn, key) in keys.iter().enumerate() {
            count(&mut table, *key, turn as i64 + 1);
            prop_assert!(table.len() <= 64);
            let hash = table.hash(*key);
            prop_assert!(table.find(*key, hash).is_some());
        }
        for number in 0..table.used as u32 {
            if let Some(key) = table.key_of(number) {
                prop_assert_eq!(table.find(key, table.hash(key)), Some(number));
            }
        }
    }
}

#[test]
fn a_million_groups_cost_little_more_than_their_words() {
    let mut table = table(2_000_000, Some(60));
    for key in 0..1_000_000u128 {
        count(&mut table, key, 1000);
    }
    assert_eq!((table.len(), table.evicted()), (1_000_000, 0));
    let each = table.bytes() as f64 / 1e6;
    assert!(each < stride(1) as f64 * 4.0 + 24.0, "{each} bytes");
}

#[test]
fn what_has_expired_makes_room() {
    let mut table = table(1_000_000, Some(60));
    for round in 0..20 {
        for key in 0..1000u128 {
            count(&mut table, round * 1000 + key, 10_000 * (round as i64 + 1));
        }
    }
    assert!(table.len() < 3000, "{} of 20000", table.len());
    assert_eq!(table.evicted(), 0);
}

#[test]
fn old_lines_count_as_new_ones_and_a_clock_set_back_begins_anew() {
    let mut table = table(10, Some(3600));
    count(&mut table, 1, 10_000);
    let (_, when) = table.entry(&table.aim(1), at(9_800));
    assert_eq!(when, When { millis: 10_000_000, secs: 10_000 });
    assert_eq!(count(&mut table, 1, 9_700), 2);
    assert_eq!(count(&mut table, 1, 9_000), 1, "more than five minutes back");
    assert_eq!(table.resets(), 1);
    assert_eq!(count(&mut table, 1, 9_001), 2);
}

#[test]
fn saved_state_comes_back_and_damaged_state_does_not() {
    let mut table = table(100, Some(3600));
    for key in 0..50 {
        count(&mut table, key, 10_000 + key as i64);
    }
    let mut bytes = Vec::new();
    table.save(&mut bytes);
    let mut rest = bytes.as_slice();
    let mut back = table.restored(&mut rest).unwrap();
    assert!(rest.is_empty());
    assert_eq!(back.len(), 50);
    assert_eq!(count(&mut back, 7, 10_100), 2);
    for cut in 0..bytes.len() {
        assert!(table.restored(&mut &bytes[..cut]).is_none(), "{cut}");
    }
    bytes[0] = 0xff;
    assert!(table.restored(&mut bytes.as_slice()).is_none());
}

#[test]
fn many_that_are_looked_up_together_are_found_on_every_page() {
    let mut table = table(1_000_000, None);
    for key in 0..5000u128 {
        count(&mut table, key, 1000);
    }
    table.remove(17);
    let keys = (0..6000u128).step_by(7);
    let mut all: Vec<Sought> = keys.map(|key| table.aim(key)).collect();
    all.iter_mut().for_each(|one| table.seek(one));
    for one in &all {
        let known = one.key < 5000 && one.guess != 18;
        let expected = if known { one.key as u32 + 1 } else { 0 };
        assert_eq!(one.guess, expected, "{}", one.key);
        let (state, _) = table.entry(one, at(1001));
        assert_eq!(state[0], u32::from(one.key < 5000));
    }
}

#[test]
fn a_few_groups_take_a_few_kilobytes() {
    let mut table = table(1_000_000, None);
    count(&mut table, 1, 1000);
    assert!(table.bytes() <= 8192, "{}", table.bytes());
}
