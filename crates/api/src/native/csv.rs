//! Events as comma-separated values (RFC 4180).
//!
//! Spreadsheets run a cell that begins like a formula; what attackers made
//! must not. Such a value gets a single quote before it, which spreadsheets
//! show as text. NDJSON is the form without loss.

use std::fmt::Write as _;

use palisade_event::{Event, Untrusted};

/// The first line.
pub(super) const HEADER: &str = "id,kind,observed_at,received_at,domain,sensor,host,category,\
    source_address,source_port,source_country,source_city,source_asn,source_organisation,\
    target_address,target_port,target_country,transport,session,username,password,outcome,request,\
    client,user_agent,os,hassh,ja4,payload,payload_name,cve,attributes\r\n";

/// Characters that begin a formula, or that a spreadsheet strips to find one.
const FORMULA_STARTS: &[char] = &['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// Appends one line.
pub(super) fn write(out: &mut String, event: &Event) {
    let mut line = Line { out, first: true };
    line.plain(event.id);
    line.plain(event.kind);
    line.plain(event.observed_at);
    line.optional(event.received_at);
    line.plain(event.domain);
    line.text(event.sensor.as_str());
    line.text(event.host.as_ref().map_or("", |host| host.as_str()));
    line.text(event.category.as_ref().map_or("", |category| category.as_str()));
    let (source, target) = (event.source.as_ref(), event.target.as_ref());
    line.optional(source.map(|end| end.address));
    line.optional(source.and_then(|end| end.port));
    let geo = event.source_geo.as_deref();
    line.optional(geo.and_then(|geo| geo.country));
    line.text(geo.and_then(|geo| geo.city.as_deref()).unwrap_or_default());
    line.optional(geo.and_then(|geo| geo.asn));
    line.text(geo.and_then(|geo| geo.organisation.as_deref()).unwrap_or_default());
    line.optional(target.map(|end| end.address));
    line.optional(target.and_then(|end| end.port));
    line.optional(event.target_geo.as_deref().and_then(|geo| geo.country));
    let transport = target.or(source).and_then(|end| end.transport);
    line.text(transport.map_or("", |transport| transport.as_str()));
    line.text(event.session.as_ref().map_or("", |session| session.as_str()));
    let credentials = event.credentials.as_ref();
    line.untrusted(credentials.and_then(|given| given.username.as_ref()));
    line.untrusted(credentials.and_then(|given| given.password.as_ref()));
    let outcome = credentials.and_then(|given| given.outcome);
    line.text(outcome.map_or("", |outcome| outcome.as_str()));
    line.untrusted(event.request.as_ref());
    line.untrusted(event.client.as_ref());
    let prints = event.fingerprints.as_deref();
    line.untrusted(prints.and_then(|prints| prints.user_agent.as_ref()));
    line.text(prints.and_then(|prints| prints.os.as_deref()).unwrap_or_default());
    line.text(prints.and_then(|prints| prints.hassh.as_deref()).unwrap_or_default());
    line.text(prints.and_then(|prints| prints.ja4.as_deref()).unwrap_or_default());
    line.optional(event.payload);
    line.untrusted(event.payload_name.as_ref());
    line.text(event.cve.as_deref().unwrap_or_default());
    match event.attributes.is_empty() {
        true => line.text(""),
        false => line.text(&serde_json::to_string(&event.attributes).unwrap_or_default()),
    }
    out.push_str("\r\n");
}

struct Line<'a> {
    out: &'a mut String,
    first: bool,
}

impl Line<'_> {
    fn separate(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
    }

    /// A value of our own making that needs no quotes.
    fn plain(&mut self, value: impl std::fmt::Display) {
        self.separate();
        let _ = write!(self.out, "{value}");
    }

    fn optional(&mut self, value: Option<impl std::fmt::Display>) {
        self.separate();
        if let Some(value) = value {
            let _ = write!(self.out, "{value}");
        }
    }

    /// Text; empty where unknown.
    fn text(&mut self, text: &str) {
        self.separate();
        let guard = text.starts_with(FORMULA_STARTS);
        let quote = guard || text.contains([',', '"', '\r', '\n']);
        if !quote {
            self.out.push_str(text);
            return;
        }
        self.out.push('"');
        if guard {
            self.out.push('\'');
        }
        self.out.push_str(&text.replace('"', "\"\""));
        self.out.push('"');
    }

    /// Text of an attacker: readable where it is UTF-8, without what would
    /// steer a terminal; line breaks and tabs stay, in quotes.
    fn untrusted(&mut self, text: Option<&Untrusted>) {
        let Some(text) = text else { return self.separate() };
        let mut readable = String::with_capacity(text.len());
        for chunk in text.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\t' | '\r' | '\n' => readable.push(c),
                    c if c.is_control() => {
                        let _ = write!(readable, "\\u{{{:x}}}", u32::from(c));
                    }
                    c => readable.push(c),
                }
            }
            for byte in chunk.invalid() {
                let _ = write!(readable, "\\x{byte:02x}");
            }
        }
        self.text(&readable);
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{Credentials, EventId, EventKind, SensorId, Timestamp};

    use super::*;

    fn line(username: &[u8]) -> String {
        let at = Timestamp::from_millis(0);
        let sensor = SensorId::new("-s").unwrap();
        let mut event = Event::new(EventId::new(at, 1), EventKind::AuthAttempted, at, sensor);
        let username = Some(Untrusted::new(username.to_vec()));
        event.credentials = Some(Credentials { username, ..Credentials::default() });
        let mut out = String::new();
        write(&mut out, &event);
        out
    }

    #[test]
    fn values_that_begin_like_a_formula_become_text() {
        for (value, cell) in [
            ("=cmd|'/c calc'!A0", "\"'=cmd|'/c calc'!A0\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("＝1", "\"'＝1\""),
        ] {
            assert!(line(value.as_bytes()).contains(&format!(",{cell},")), "{value:?}");
        }
    }

    #[test]
    fn quotes_commas_and_lines_stay_in_their_cell() {
        assert!(line(b"a\"b,c\nd").contains(",\"a\"\"b,c\nd\","));
        assert!(line(b"root").contains(",root,"));
        assert!(line(b"\x1b[31m\xff").contains(",\\u{1b}[31m\\xff,"));
    }

    #[test]
    fn every_line_has_as_many_cells_as_the_first() {
        let commas = |text: &str| text.matches(',').count();
        assert_eq!(commas(HEADER), commas(&line(b"root")));
        assert!(line(b"root").starts_with("00000000000000000000000001,auth.attempted,1970"));
        assert!(line(b"root").contains(",\"'-s\","));
    }
}
