//! Any bytes as a page of the change feed: read within its bounds, and whatever
//! is read keeps every limit and is written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::{Change, DecisionFeed};

fuzz_target!(|data: &[u8]| {
    let Ok(page) = DecisionFeed::decode(data) else { return };
    for change in &page.changes {
        change.change.check().expect("a page that is read keeps the limits");
        if let Change::Made(made) = &change.change {
            let target = made.decision.target;
            assert!(!target.contains(std::net::Ipv4Addr::LOCALHOST.into()), "{target}");
            assert!(!target.contains(std::net::Ipv6Addr::LOCALHOST.into()), "{target}");
            let (low, high) = target.bounds();
            assert!(low <= high);
        }
    }
    if let Some(directions) = &page.directions {
        directions.check().expect("directions that are read keep the limits");
    }
    assert_eq!(DecisionFeed::decode(&page.encode()).ok(), Some(page));
});
