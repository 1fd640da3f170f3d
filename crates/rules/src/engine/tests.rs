use palisade_event::{EventKind, Outcome};

use super::*;
use crate::scenario::{parse_scenario, shipped_scenarios};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + secs * 1000)
}

fn failed<'a>(address: &str, user: &'a str, secs: i64) -> Sighting<'a> {
    Sighting {
        source: Some(address.parse().unwrap()),
        user: Some(user.as_bytes()),
        outcome: Some(Outcome::Failed),
        ..Sighting::new(EventKind::AuthAttempted, at(secs), "sshd")
    }
}

fn shipped() -> Engine {
    Engine::new(shipped_scenarios().unwrap(), EngineOptions::default()).unwrap()
}

fn engine(texts: &[&str]) -> Engine {
    let scenarios = texts.iter().map(|text| parse_scenario(text, "test").unwrap()).collect();
    Engine::new(scenarios, EngineOptions::default()).unwrap()
}

fn names(engine: &Engine, alerts: &[Alert]) -> Vec<String> {
    alerts.iter().map(|alert| engine.scenarios()[alert.scenario].name.to_string()).collect()
}

#[test]
fn six_failures_at_once_are_brute_force_and_one_a_minute_is_not() {
    let mut engine = shipped();
    for secs in 0..5 {
        assert_eq!(engine.see(&failed("198.51.100.7", "root", secs)), []);
    }
    let alerts = engine.see(&failed("198.51.100.7", "root", 5));
    assert_eq!(names(&engine, &alerts), ["ssh-bruteforce"]);
    assert_eq!(alerts[0].group, Group::Address("198.51.100.7".parse().unwrap()));
    for minute in 0..60 {
        let alerts = engine.see(&failed("198.51.100.8", "root", 180 * minute));
        assert_eq!(alerts, [], "one in three minutes leaks away");
    }
}

#[test]
fn after_an_alert_there_is_silence_for_the_blackhole() {
    let mut engine = shipped();
    let alerts: Vec<i64> = (0..60)
        .filter(|secs| {
            let alerts = engine.see(&failed("198.51.100.7", "root", *secs));
            names(&engine, &alerts).contains(&"ssh-bruteforce".to_owned())
        })
        .collect();
    assert_eq!(alerts, [5]);
}

#[test]
fn a_success_after_failures_is_a_break_in_and_one_without_is_not() {
    let mut engine = shipped();
    let accepted = |address: &str, secs| Sighting {
        outcome: Some(Outcome::Accepted),
        ..failed(address, "root", secs)
    };
    assert_eq!(engine.see(&accepted("192.0.2.1", 0)), []);
    for secs in 0..5 {
        engine.see(&failed("198.51.100.7", "root", 100 * secs));
    }
    let alerts = engine.see(&accepted("198.51.100.7", 600));
    assert_eq!(names(&engine, &alerts), ["ssh-break-in"]);
    assert_eq!(engine.see(&accepted("198.51.100.7", 601)), []);
    for secs in 0..4 {
        engine.see(&failed("192.0.2.2", "alice", secs));
    }
    assert_eq!(engine.see(&accepted("192.0.2.2", 9)), [], "four mistakes are human");
}

#[test]
fn networks_users_and_systems_are_counted_apart() {
    let rule = "kind = \"sliding-window\"\ncount = 3\nwithin = \"1m\"\nfilter = \"kind:auth.attempted\"\ndescription = \"d\"\n";
    let net = format!("name = \"net\"\ngroup_by = \"network\"\n{rule}");
    let user = format!("name = \"user\"\ngroup_by = \"user\"\n{rule}");
    let asn = format!("name = \"asn\"\ngroup_by = \"asn\"\n{rule}");
    let mut engine = engine(&[&net, &user, &asn]);
    let see = |engine: &mut Engine, address: &str, user: &str, asn| {
        let alerts = engine.see(&Sighting { asn: Some(asn), ..failed(address, user, 1) });
        alerts.iter().map(|alert| alert.group.to_string()).collect::<Vec<_>>()
    };
    see(&mut engine, "198.51.100.1", "a", 1);
    see(&mut engine, "198.51.100.2", "b", 2);
    assert_eq!(see(&mut engine, "198.51.100.3", "c", 3), ["198.51.100.0/24"]);
    see(&mut engine, "2001:db8:1:1::1", "a", 2);
    assert_eq!(see(&mut engine, "2001:db8:2:1::1", "d", 2), ["AS2"]);
    assert!(see(&mut engine, "2001:db8:1:2::1", "e", 9).is_empty());
    assert_eq!(see(&mut engine, "2001:db8:1:3::1", "f", 9), ["2001:db8:1::/48"]);
    assert!(see(&mut engine, "203.0.113.9", "a", 9)[0].starts_with("user #"));
    assert_eq!(engine.see(&Sighting::new(EventKind::AuthAttempted, at(1), "x")), []);
}

#[test]
fn matching_on_other_threads_and_counting_in_order_gives_the_same_alerts() {
    let sightings: Vec<(String, String, i64)> = (0..20_000u32)
        .map(|n| {
            let mixed = n.wrapping_mul(2_654_435_761);
            let address = std::net::Ipv4Addr::from(mixed % 300 + 0xc633_6400);
            (address.to_string(), format!("user{}", mixed >> 20 & 31), i64::from(n / 10))
        })
        .collect();
    let mut one = shipped();
    let expected: Vec<Alert> = sightings
        .iter()
        .flat_map(|(address, user, secs)| one.see(&failed(address, user, *secs)))
        .collect();
    assert!(expected.len() > 100, "{}", expected.len());
    for threads in [1, 2, 3, 8] {
        let mut engine = Engine::new(
            shipped_scenarios().unwrap(),
            EngineOptions { seed: threads as u64 * 77, ..EngineOptions::default() },
        )
        .unwrap();
        let matcher = engine.matcher();
        let chunk = sightings.len().div_ceil(threads);
        let hits: Vec<Vec<Hit>> = std::thread::scope(|scope| {
            let parts: Vec<_> = sightings
                .chunks(chunk)
                .map(|part| {
                    let matcher = &matcher;
                    scope.spawn(move || {
                        part.iter()
                            .filter_map(|(address, user, secs)| {
                                matcher.look(&failed(address, user, *secs))
                            })
                            .collect()
                    })
                })
                .collect();
            parts.into_iter().map(|part| part.join().unwrap()).collect()
        });
        let alerts: Vec<Alert> =
            hits.iter().flatten().flat_map(|hit| engine.counter().count(hit)).collect();
        assert_eq!(alerts, expected, "{threads} threads");
    }
}

#[test]
fn the_shipped_rules_of_sshd_take_at_most_200_bytes_an_address() {
    let mut engine = shipped();
    for n in 0..50_000u32 {
        let address = std::net::Ipv4Addr::from(0x0b00_0000 + n).to_string();
        engine.see(&failed(&address, "root", 1));
    }
    let stats = engine.stats();
    assert_eq!(stats.tracked, 50_000);
    let each = stats.bytes / stats.tracked;
    assert!(each <= 200, "{each} bytes");
}

#[test]
fn a_clock_that_jumps_forward_or_back_bans_nobody() {
    let mut engine = shipped();
    let year = 365 * 86_400;
    for turn in 0..50 {
        let jump = if turn % 2 == 0 { year } else { 0 };
        assert_eq!(engine.see(&failed("198.51.100.7", "root", jump + turn)), [], "{turn}");
    }
    assert!(engine.stats().reset > 20);
}

#[test]
fn lines_out_of_order_within_minutes_still_count() {
    let mut engine = shipped();
    let mut alerts = Vec::new();
    for secs in [50, 10, 40, 20, 30, 45] {
        alerts.extend(engine.see(&failed("198.51.100.7", "root", secs)));
    }
    assert_eq!(names(&engine, &alerts), ["ssh-bruteforce"]);
}

#[test]
fn repeated_lines_count_as_often_as_they_say() {
    let mut engine = shipped();
    let alerts = engine.see(&Sighting { repeat: 20, ..failed("198.51.100.7", "root", 1) });
    assert_eq!(names(&engine, &alerts), ["ssh-bruteforce", "ssh-bruteforce-slow"]);
}

#[test]
fn an_explanation_names_the_unmet_condition_and_the_count() {
    let mut engine = shipped();
    let (traces, alerts) = engine.explain(&failed("198.51.100.7", "root", 1));
    assert_eq!(alerts, []);
    assert_eq!(traces[0], Trace::Counted { scenario: 0, count: 1, of: 6 });
    let place = engine.scenarios().iter().position(|s| s.name.as_str() == "port-scan").unwrap();
    assert_eq!(
        traces[place],
        Trace::Unmatched { scenario: place, unmet: "kind:connection.opened".into() }
    );
    let nameless = Sighting { source: None, ..failed("198.51.100.7", "root", 1) };
    assert_eq!(engine.explain(&nameless).0[0], Trace::NoGroup { scenario: 0 });
}

#[test]
fn saved_state_goes_on_where_it_was_and_is_refused_by_other_rules() {
    let mut engine = shipped();
    for secs in 0..5 {
        engine.see(&failed("198.51.100.7", "root", secs));
    }
    let saved = engine.counter().save();
    let mut next = shipped();
    assert!(next.counter().restore(&saved));
    let alerts = next.see(&failed("198.51.100.7", "root", 6));
    assert_eq!(names(&next, &alerts), ["ssh-bruteforce"]);
    let mut others = shipped_scenarios().unwrap();
    others.pop();
    let mut other = Engine::new(others, EngineOptions::default()).unwrap();
    assert!(!other.counter().restore(&saved));
    for cut in [0, 7, 8, 20, saved.len() - 1] {
        assert!(!next.counter().restore(&saved[..cut]));
    }
}

#[test]
fn scenarios_of_one_name_or_too_many_are_refused() {
    let twice = [shipped_scenarios().unwrap(), shipped_scenarios().unwrap()].concat();
    let error = Engine::new(twice, EngineOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "there are two scenarios named ssh-bruteforce");
    let many = |count: usize| {
        let of = |n| {
            format!("name = 'x{n}'\ndescription = 'd'\nkind = 'trigger'\nfilter = 'service:s{n}'")
        };
        let scenarios = (0..count).map(|n| parse_scenario(&of(n), "test").unwrap()).collect();
        Engine::new(scenarios, EngineOptions::default())
    };
    assert!(many(MAX_SCENARIOS).is_ok());
    let sequences = |count: usize| {
        let of = |n| {
            format!(
                "name = 'x{n}'\ndescription = 'd'\nkind = 'sequence'\nfilter = 'service:a'\nthen = 'service:b'\ncount = 1\nwithin = '1m'"
            )
        };
        let scenarios = (0..count).map(|n| parse_scenario(&of(n), "test").unwrap()).collect();
        Engine::new(scenarios, EngineOptions::default())
    };
    let mut most = sequences(MAX_SEQUENCES).unwrap();
    let of = |service| Sighting {
        source: "198.51.100.7".parse().ok(),
        ..Sighting::new(EventKind::LineMatched, at(0), service)
    };
    assert_eq!(most.see(&of("a")), []);
    assert_eq!(most.see(&of("b")).len(), MAX_SEQUENCES);
    let error = sequences(MAX_SEQUENCES + 1).unwrap_err();
    assert_eq!(error.to_string(), "65 sequences are too many; at most 64 can be used");
    let error = many(MAX_SCENARIOS + 1).unwrap_err();
    assert_eq!(error.to_string(), "193 scenarios are too many; at most 192 can be used");
}

proptest::proptest! {
    #[test]
    fn a_leaky_bucket_never_lets_more_through_than_it_says(
        gaps in proptest::collection::vec(0u32..30, 1..200)
    ) {
        let text = "name = \"x\"\ndescription = \"d\"\nkind = \"leaky-bucket\"\ncapacity = 3\nleak = \"10s\"\nfilter = \"kind:auth.attempted\"\n";
        let mut engine = engine(&[text]);
        let mut now = 0i64;
        // The oracle: level falls by one each 10 s and is never below zero.
        let mut level = 0f64;
        let mut last = 0i64;
        for gap in gaps {
            now += i64::from(gap);
            level = (level - (now - last) as f64 / 10.0).max(0.0);
            last = now;
            level += 1.0;
            let alerts = engine.see(&failed("198.51.100.7", "root", now));
            let over = level > 3.0 + 1e-9;
            proptest::prop_assert_eq!(!alerts.is_empty(), over, "level {}", level);
            if over {
                level = 0.0;
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn what_is_worked_out_in_advance_is_what_filters_say(
        kind in proptest::sample::select(EventKind::ALL.to_vec()),
        outcome in proptest::sample::select(vec![None, Some(Outcome::Accepted), Some(Outcome::Failed)]),
        service in proptest::sample::select(vec!["", "sshd", "nginx", "dovecot", "cowrie", "other"]),
        user in proptest::sample::select(vec![None, Some("root"), Some("x")]),
        request in proptest::sample::select(vec![
            None, Some("/"), Some("/a/../../etc/passwd"), Some("/a/b/c/d/e/f/g/h/i/j/k/l/m/../../x"),
        ]),
        client in proptest::sample::select(vec![
            None, Some("sqlmap/1"), Some("Mozilla/5.0 (X11; Linux x86_64) and much more, then Nikto"),
        ]),
        status in proptest::sample::select(vec![None, Some(200), Some(404)]),
        many in proptest::bool::ANY,
    ) {
        let mut scenarios = shipped_scenarios().unwrap();
        let mut add = |filter: &str| {
            let name = format!("extra-{}", scenarios.len());
            let text = format!("name = '{name}'\ndescription = 'd'\nkind = 'trigger'\nfilter = '{filter}'");
            scenarios.push(parse_scenario(&text, "test").unwrap());
        };
        for filter in [
            "", "service:*", "-service:sshd", "service:(sshd,nginx) user:root", "-(service:cowrie or user:x)",
            "outcome:*", "-outcome:failed", "service:ss*", "kind:auth.* or service:dovecot", "-kind:auth.attempted",
            "(kind:user.probed or outcome:accepted) (service:nginx or -user:*)",
        ] {
            add(filter);
        }
        if many {
            (0..40).for_each(|n| add(&format!("service:s{n} or user:root")));
        }
        let engine = Engine::new(scenarios, EngineOptions::default()).unwrap();
        let sighting = Sighting {
            source: "198.51.100.7".parse().ok(),
            outcome,
            user: user.map(str::as_bytes),
            request: request.map(str::as_bytes),
            client: client.map(str::as_bytes),
            status,
            ..Sighting::new(kind, at(0), service)
        };
        let mut matched = ScenarioSet::default();
        for (place, second, scenario) in crate::scenario::with_places(engine.scenarios()) {
            if scenario.filter.matches(&sighting) {
                matched.insert(place);
            }
            if let crate::scenario::Rule::Sequence { then, .. } = &scenario.rule
                && then.matches(&sighting)
            {
                matched.insert(second.unwrap());
            }
        }
        let hit = engine.look(&sighting);
        proptest::prop_assert_eq!(hit.map_or(Default::default(), |hit| hit.matched), matched);
    }
}

#[test]
fn a_hundred_and_twenty_jails_count_beside_the_shipped_scenarios() {
    let mut scenarios = shipped_scenarios().unwrap();
    let shipped = scenarios.len();
    for n in 0..120 {
        let text = format!(
            "name = 'jail-{n}'\ndescription = 'd'\nkind = 'rate'\nfilter = 'service:jail-{n}'\ngroup_by = 'address'\ncount = 3\nwithin = '10m'"
        );
        scenarios.push(parse_scenario(&text, "test").unwrap());
    }
    let mut one = Engine::new(scenarios, EngineOptions::default()).unwrap();
    let mut many = one.clone();
    let services: Vec<String> = (0..120).map(|n| format!("jail-{n}")).collect();
    let mut hits = Vec::new();
    for secs in 0..3 {
        for (n, service) in services.iter().enumerate() {
            let source = format!("198.51.100.{}", n % 7);
            let sighting = Sighting {
                source: source.parse().ok(),
                ..Sighting::new(EventKind::LineMatched, at(secs), service)
            };
            hits.extend(one.look(&sighting));
        }
        hits.extend(one.look(&failed("203.0.113.9", "root", secs)));
        hits.extend(one.look(&failed("203.0.113.9", "root", secs)));
    }
    let expected: Vec<(usize, Alert)> = (hits.iter().enumerate())
        .flat_map(|(at, hit)| one.counter().count(hit).into_iter().map(move |alert| (at, alert)))
        .collect();
    let mut found = Vec::new();
    many.counter().count_all(&hits, |place, alert| found.push((place, alert)));
    assert_eq!(found, expected);
    let alerts: Vec<usize> = found.iter().map(|(_, alert)| alert.scenario).collect();
    // The sixth failed login at sshd is the last hit of all.
    let wanted: Vec<usize> = (shipped..shipped + 120).chain([0]).collect();
    assert_eq!(alerts, wanted);
}

/// Scenarios of every rule and every sort of group, with few words each.
const EVERY_RULE: [&str; 6] = [
    "name = 'a'\ndescription = 'x'\nkind = 'leaky-bucket'\nfilter = 'outcome:failed'\ngroup_by = 'address'\ncapacity = 3\nleak = '10s'",
    "name = 'b'\ndescription = 'x'\nkind = 'distinct'\nfilter = 'outcome:failed'\ngroup_by = 'network'\ndistinct = 'user'\ncount = 4\nwithin = '60s'",
    "name = 'c'\ndescription = 'x'\nkind = 'sliding-window'\nfilter = 'user:*'\ngroup_by = 'user'\ncount = 7\nwithin = '30s'",
    "name = 'd'\ndescription = 'x'\nkind = 'trigger'\nfilter = 'service:sshd user:u3'\ngroup_by = 'address'\nblackhole = '20s'",
    "name = 'e'\ndescription = 'x'\nkind = 'sequence'\nfilter = 'service:sshd outcome:failed'\nthen = 'service:sshd outcome:accepted'\ngroup_by = 'address'\ncount = 2\nwithin = '60s'",
    "name = 'f'\ndescription = 'x'\nkind = 'sliding-window'\nfilter = 'outcome:failed'\ngroup_by = 'address'\ncount = 9\nwithin = '100s'",
];

proptest::proptest! {
    #[test]
    fn hits_that_are_counted_together_make_what_they_make_one_by_one(
        seen in proptest::collection::vec((0u32..60, 0u8..6, 0i64..900, proptest::bool::ANY), 1..700),
        sizes in proptest::collection::vec(1usize..200, 1..5),
        max_tracked in proptest::prop_oneof![2usize..40, 1000usize..1001],
    ) {
        let scenarios = EVERY_RULE.iter().map(|text| parse_scenario(text, "test").unwrap());
        let options = EngineOptions { max_tracked, ..EngineOptions::default() };
        let mut one = Engine::new(scenarios.collect(), options).unwrap();
        let mut many = one.clone();
        let mut hits = Vec::new();
        for (turn, (source, user, secs, is_failed)) in seen.into_iter().enumerate() {
            let source = match source % 3 {
                0 => format!("2001:db8::{source:x}"),
                _ => format!("198.51.{}.7", source),
            };
            let user = format!("u{user}");
            // Some are out of order, some too late.
            let mut sighting = failed(&source, &user, turn as i64 + secs);
            sighting.outcome = Some(if is_failed { Outcome::Failed } else { Outcome::Accepted });
            sighting.repeat = 1 + u32::from(secs % 17 == 0);
            hits.extend(one.look(&sighting));
        }
        let mut expected = Vec::new();
        for (place, hit) in hits.iter().enumerate() {
            expected.extend(one.counter().count(hit).into_iter().map(|alert| (place, alert)));
        }
        let (mut found, mut from) = (Vec::new(), 0);
        for size in sizes.iter().cycle() {
            let rest = &hits[from..];
            let part = &rest[..rest.len().min(*size)];
            if part.is_empty() {
                break;
            }
            many.counter().count_all(part, |place, alert| found.push((from + place, alert)));
            from += part.len();
        }
        proptest::prop_assert_eq!(found, expected);
        proptest::prop_assert_eq!(many.counter().save(), one.counter().save());
        proptest::prop_assert_eq!(many.stats(), one.stats());
    }
}
