//! Any text as questions to a filter: one line of JSON is the answer to each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_rules::fail2ban::{Files, Now, Prober};

fuzz_target!(|text: &str| {
    let now = Now { epoch: 1_124_013_600.0, zone: jiff::tz::TimeZone::UTC };
    let mut files = Files::new();
    let filter = "[Definition]\nprefregex = ^<F-MLFID>\\S+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$\nfailregex = ^<word> <F-USER>.*</F-USER> from <HOST>$\n  ^<F-NOFAIL>bye</F-NOFAIL>\n[Init]\nword = no\n";
    let _ = files.insert("filter.d/x.conf", filter);
    let mut prober = Prober::new(files);
    for question in text.lines() {
        assert!(!prober.answer(question, &now).contains('\n'));
    }
});
