//! Rows, CSV and back.

use proptest::prelude::*;

use super::*;
use crate::{AnalyzerName, AttributeValue, PayloadHash};

fn frozen() -> Vec<Event> {
    let text = include_str!("../../../../fixtures/format/v1/store.ndjson");
    let event = |line: &str| wire::decode_event(line.as_bytes()).unwrap();
    // A real with 17 digits may not survive JSON itself.
    text.lines().map(event).filter(|e| event(&json(e)) == *e).collect()
}

fn json(event: &Event) -> String {
    String::from_utf8(wire::encode_event(event)).unwrap()
}

fn through_csv(events: &[Event]) -> Vec<Event> {
    let mut text = String::new();
    csv::write_header(&mut text);
    events.iter().for_each(|event| csv::write(&mut text, event));
    let mut rest = text.as_bytes();
    let mut take = || {
        let end = csv::record_end(rest)?;
        let (record, tail) = rest.split_at(end);
        rest = tail;
        Some(record)
    };
    let header = csv::Header::read(take().unwrap()).unwrap();
    std::iter::from_fn(take).map(|record| header.event(record).unwrap()).collect()
}

#[test]
fn hostile_events_survive_rows_and_csv() {
    let events = frozen();
    for event in &events {
        assert_eq!(super::event(&row(event)).unwrap(), *event);
    }
    assert_eq!(through_csv(&events), events);
    let whole = events.iter().filter(|event| row(event).last() != Some(&Cell::Null)).count();
    assert!((1..events.len() / 2).contains(&whole), "{whole}");
}

#[test]
fn values_that_begin_like_a_formula_become_text() {
    let mut event = frozen().remove(0);
    for (value, cell) in [
        ("=cmd|'/c calc'!A0", "\"'=cmd|'/c calc'!A0\""),
        ("+1", "\"'+1\""),
        ("@SUM(A1)", "\"'@SUM(A1)\""),
        ("\t=1", "\"'\t=1\""),
        ("＝1", "\"'＝1\""),
        ("a\"b,c\nd", "\"a\"\"b,c\nd\""),
        ("\u{1b}[31m", "\\u{1b}[31m"),
        ("root", "root"),
    ] {
        event.request = Some(value.into());
        let mut text = String::new();
        csv::write(&mut text, &event);
        assert!(text.contains(&format!(",{cell},")), "{value:?}: {text}");
    }
}

#[test]
fn a_wrong_cell_is_named() {
    let mut text = String::new();
    csv::write_header(&mut text);
    let header = csv::Header::read(text.as_bytes()).unwrap();
    let error = |record: &str| header.event(record.as_bytes()).unwrap_err().to_string();
    assert_eq!(error("a,b\r\n"), format!("2 cells where the header has {}", COLUMNS.len()));
    let empty = ",".repeat(COLUMNS.len() - 1);
    assert_eq!(error(&empty), "column 'id': it is empty");
    assert!(error(&format!("\"x{empty}")).contains("not closed"));
    let ahead = ",".repeat(10);
    let behind = ",".repeat(COLUMNS.len() - 11);
    assert_eq!(
        error(&format!("{ahead}x{behind}")),
        "column 'source_port': expected a whole number"
    );
    let unknown = csv::Header::read(b"id,kind,colour").unwrap_err().to_string();
    assert!(unknown.contains("'colour'"), "{unknown}");
    let missing = csv::Header::read(b"id,kind,sensor\r\n").unwrap_err().to_string();
    assert!(missing.contains("observed_at"), "{missing}");
}

fn any_event() -> impl Strategy<Value = Event> {
    let text = proptest::option::of(prop_oneof![
        "[ -~]{0,12}".prop_map(Untrusted::from),
        "['=+@-]{1,3}[a-z]?".prop_map(Untrusted::from),
        "\\PC{0,8}".prop_map(Untrusted::from),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Untrusted::new),
    ]);
    let geo = proptest::option::of((
        any::<Option<u32>>(),
        proptest::option::of((-90_000..90_000).prop_map(|v| f64::from(v) / 1000.0)),
    ));
    let port = proptest::option::of(1u16..);
    (
        any::<u128>(),
        0..4_000_000_000_000i64,
        [text.clone(), text.clone(), text.clone(), text],
        geo,
        port,
    )
        .prop_map(|(id, at, [a, b, c, d], geo, port)| {
            let at = Timestamp::from_millis(at);
            let sensor = SensorId::new("s").unwrap();
            let mut event =
                Event::new(EventId::from_u128(id), EventKind::AuthAttempted, at, sensor);
            event.request = a;
            event.payload_name = b;
            if c.is_some() || id % 2 == 0 {
                event.credentials = Some(Credentials { username: c, ..Credentials::default() });
            }
            if let Some(text) = d {
                event.attributes.insert("a".into(), AttributeValue::Text(text));
            }
            event.source_geo = geo.map(|(asn, lat)| Box::new(Geo { asn, lat, ..Geo::default() }));
            let address = if id % 3 == 0 { "::ffff:192.0.2.1" } else { "2001:db8::9" };
            let address = address.parse().unwrap();
            event.source = (id % 5 > 0).then_some(Endpoint { address, port, transport: None });
            event.analyzer = (id % 11 == 0).then(|| AnalyzerName::new("cowrie, 2").unwrap());
            event.payload = (id % 7 == 0).then_some(PayloadHash([7; 32]));
            event
        })
}

proptest! {
    #[test]
    fn any_event_survives(event in any_event()) {
        prop_assert_eq!(&super::event(&row(&event)).unwrap(), &event);
        prop_assert_eq!(&through_csv(std::slice::from_ref(&event)), &[event]);
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = csv::cells(&bytes);
        let _ = csv::Header::read(&bytes);
    }
}

#[test]
fn the_columns_in_the_documentation_are_these() {
    let text = include_str!("../../../../docs/STORE.md");
    assert!(text.contains(&columns_markdown()), "docs/STORE.md: paste\n{}", columns_markdown());
}
