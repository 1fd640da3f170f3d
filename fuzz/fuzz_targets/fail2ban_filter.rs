//! Any text as a fail2ban filter file and a log line: no panic, no endless
//! work, and no address that is not in the line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_rules::fail2ban::{
    Backend, Files, Filter, FilterDefinition, FilterOptions, Now, jails,
};

fuzz_target!(|input: (&str, &str)| {
    let (config, lines) = input;
    let now = Now { epoch: 1_124_013_600.0, zone: jiff::tz::TimeZone::UTC };
    let mut files = Files::new();
    let _ = files.insert("filter.d/x.conf", config);
    let _ = files.insert("action.d/x.conf", config);
    let _ = files.insert("jail.conf", config);
    let _ = jails(&files);
    let Ok(definition) = FilterDefinition::read(&files, "x", Backend::File) else { return };
    let Ok(mut filter) = Filter::new(&definition, FilterOptions::default(), &now) else { return };
    for line in lines.lines() {
        filter.line(line, &now);
    }
});
