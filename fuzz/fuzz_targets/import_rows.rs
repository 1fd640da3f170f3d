//! Any bytes as rows of an import: no panic, errors are short, and what is an
//! event survives being written as CSV and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_event::table::{self, csv};

fuzz_target!(|text: &[u8]| {
    let (head, mut rest) = match csv::record_end(text) {
        Some(end) => text.split_at(end),
        None => (text, &[][..]),
    };
    let names: Vec<&str> = table::COLUMNS.iter().map(|column| column.name).collect();
    let ours = csv::Header::read(names.join(",").as_bytes()).expect("our own header");
    let header = csv::Header::read(head).unwrap_or_else(|error| {
        assert!(error.to_string().len() < 4096);
        ours.clone()
    });
    while !rest.is_empty() {
        let end = csv::record_end(rest).unwrap_or(rest.len());
        let (record, tail) = rest.split_at(end);
        rest = tail;
        match header.event(record) {
            Ok(event) => {
                let mut line = String::new();
                csv::write(&mut line, &event);
                assert_eq!(csv::record_end(line.as_bytes()), Some(line.len()));
                let back = ours.event(line.as_bytes()).expect("what was written can be read");
                assert_eq!(back.id, event.id);
                assert_eq!(back.request, event.request);
                assert_eq!(back.credentials, event.credentials);
                assert_eq!(back.source, event.source);
            }
            Err(error) => assert!(error.to_string().len() < 4096),
        }
    }
});
