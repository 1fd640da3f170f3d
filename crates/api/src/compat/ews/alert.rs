//! What an EWS alert means: one pure function from the parts of the element to
//! an event. Not where it came from and who may send it.
//!
//! An alert that lacks what every attack has (who, whom, when, seen by what) is
//! refused with a reason; whatever else is in it stays in the event, in
//! attributes where no field fits.

use std::borrow::Cow;
use std::net::IpAddr;

use md5::{Digest as _, Md5};
use palisade_event::{
    AnalyzerName, AttributeValue, Credentials, Endpoint, Event, EventId, EventKind, Fingerprints,
    HostName, MAX_TEXT_BYTES, Outcome, SensorId, SessionId, Timestamp, Transport, Untrusted,
};
use sha2::Sha256;

use super::analyzers::{Analyzer, Analyzers};
use super::text::{base64, percent, python_list};
use super::time;
use super::xml::{Alert, Field};

/// Longest text of captured bytes that also stands in the event, in bytes.
const MAX_INLINE_BYTES: usize = 4096;
/// Methods that begin the text of an HTTP request (RFC 9110, section 9.3;
/// RFC 5789; RFC 4918 and what scanners use).
const METHODS: &[&[u8]] = &[
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"SEARCH",
];
/// Texts that must not be empty where they are given.
const NEEDED_REQUESTS: &[&[u8]] = &[b"url", b"raw", b"binary", b"largepayload"];
const NEEDED_DATA: &[&[u8]] = &[b"input", b"cve_id", b"starttime", b"endtime"];
/// Meanings that are percent-encoded, whatever the honeypot.
const PERCENT_DATA: &[&[u8]] = &[b"starttime", b"endtime", b"cve_id"];

/// An alert, understood.
#[derive(Debug)]
pub(crate) struct Converted {
    /// What happened; its id and sensor are set by [`Self::identify`].
    pub(crate) event: Event,
    /// What was captured, where something was.
    pub(crate) captured: Option<Captured>,
    digest: [u8; 32],
}

/// Bytes that a honeypot captured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) bytes: Vec<u8>,
    /// Whether they are the text of an HTTP request.
    pub(crate) http: bool,
}

impl Converted {
    /// Says whose alert it is. The same alert of the same sensor is the same
    /// event, however often and in whatever layout it is sent; a difference in
    /// any of its values makes another.
    pub(crate) fn identify(&mut self, sensor: &SensorId) {
        let parts: [&[u8]; 3] = [b"ews", sensor.as_str().as_bytes(), &self.digest];
        self.event.id = EventId::derived(self.event.observed_at, &parts);
        self.event.sensor = sensor.clone();
    }
}

/// Why an alert is refused.
type Refusal = Cow<'static, str>;

/// Makes an event of an alert.
///
/// # Errors
/// What it lacks, in a few words.
pub(crate) fn convert(
    alert: &Alert<'_>,
    analyzers: &Analyzers,
    sensor: &SensorId,
) -> Result<Converted, Refusal> {
    let find = |name: &[u8]| alert.fields.iter().find(|field| field.name == name);
    let id = find(b"Analyzer").and_then(|field| alert.attribute(field, b"id"));
    let id = id.ok_or("its Analyzer has no id")?;
    let id = std::str::from_utf8(id).map_err(|_| "the id of its Analyzer is not UTF-8")?;
    let analyzer = analyzers.of(id).ok_or("there is no table of analyzers")?;
    let observed_at = created(alert, find(b"CreateTime"), analyzer)?;
    let (source, source_rest) = endpoint(alert, find(b"Source"), "Source")?;
    let (target, target_rest) = endpoint(alert, find(b"Target"), "Target")?;

    let mut event =
        Event::new(EventId::from_u128(0), EventKind::ConnectionOpened, observed_at, sensor.clone());
    event.category = Some(analyzer.category.clone());
    (event.source, event.target) = (Some(source), Some(target));
    let mut draft = Draft { event, texts: Texts::default(), captured: None, analyzer };
    draft.analyzer_name(id)?;
    for (name, value) in source_rest {
        draft.keep(&format!("source_{name}"), &value)?;
    }
    for (name, value) in target_rest {
        draft.keep(&format!("target_{name}"), &value)?;
    }
    for field in &alert.fields {
        match field.name {
            b"Request" => draft.request(alert, field)?,
            b"AdditionalData" => draft.data(alert, field)?,
            b"Classification" => {
                for name in ["origin", "ident", "text"] {
                    if let Some(value) = alert.attribute(field, name.as_bytes()) {
                        draft.keep(&format!("classification_{name}"), value)?;
                    }
                }
            }
            b"Analyzer" | b"CreateTime" | b"Source" | b"Target" => {}
            other => {
                let name = String::from_utf8_lossy(other).into_owned();
                draft.keep(&name, &field.text)?;
            }
        }
    }
    let (event, captured) = draft.finish()?;
    event.validate().map_err(|error| Refusal::Owned(error.to_string()))?;
    Ok(Converted { event, captured, digest: digest(alert) })
}

/// All values of an alert, whatever stands between them.
fn digest(alert: &Alert<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for field in &alert.fields {
        add(field.name);
        for (name, value) in alert.attributes(field) {
            add(name);
            add(value);
        }
        add(&field.text);
    }
    hash.finalize().into()
}

fn created(
    alert: &Alert<'_>,
    field: Option<&Field<'_>>,
    analyzer: &Analyzer,
) -> Result<Timestamp, Refusal> {
    let field = field.ok_or("it has no CreateTime")?;
    let zone = alert.attribute(field, b"tz").ok_or("its CreateTime has no tz")?;
    let zone = time::offset_secs(zone).ok_or("the tz of its CreateTime is not like +0200")?;
    let local =
        time::local_millis(&field.text).ok_or("its CreateTime is not like 2026-11-20 20:07:14")?;
    let zone = if analyzer.utc { 0 } else { zone };
    Ok(Timestamp::from_millis(local.saturating_sub(i64::from(zone) * 1000)))
}

/// One end of the connection, and what of it is no port and no transport.
#[allow(clippy::type_complexity, reason = "names and values of leftovers")]
fn endpoint(
    alert: &Alert<'_>,
    field: Option<&Field<'_>>,
    what: &'static str,
) -> Result<(Endpoint, Vec<(&'static str, Vec<u8>)>), Refusal> {
    let none = || Refusal::Owned(format!("its {what} is no address"));
    let field = field.ok_or_else(none)?;
    let text = std::str::from_utf8(&field.text).map_err(|_| none())?;
    let address: IpAddr = text.trim().parse().map_err(|_| none())?;
    let mut end = Endpoint::address(address);
    let mut rest = Vec::new();
    if let Some(port) = alert.attribute(field, b"port") {
        match std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok()) {
            Some(port) => end.port = (port != 0).then_some(port),
            None => rest.push(("port", port.to_vec())),
        }
    }
    if let Some(protocol) = alert.attribute(field, b"protocol") {
        end.transport = [Transport::Tcp, Transport::Udp, Transport::Icmp]
            .into_iter()
            .find(|known| protocol.eq_ignore_ascii_case(known.as_str().as_bytes()));
        if end.transport.is_none() {
            rest.push(("protocol", protocol.to_vec()));
        }
    }
    Ok((end, rest))
}

/// Texts that become the request, by where they stood.
#[derive(Debug, Default)]
struct Texts {
    input: Option<Vec<u8>>,
    url: Option<Vec<u8>>,
    request: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    cve: Option<Vec<u8>>,
}

/// An event in the making.
struct Draft<'t> {
    event: Event,
    texts: Texts,
    captured: Option<Captured>,
    analyzer: &'t Analyzer,
}

impl Draft<'_> {
    fn analyzer_name(&mut self, id: &str) -> Result<(), Refusal> {
        match AnalyzerName::new(id) {
            Ok(name) => self.event.analyzer = Some(name),
            Err(_) => self.keep("analyzer_id", id.as_bytes())?,
        }
        Ok(())
    }

    fn is_percent(&self, name: &[u8]) -> bool {
        self.analyzer.percent.iter().any(|known| known.as_bytes() == name)
    }

    /// A typed request.
    fn request(&mut self, alert: &Alert<'_>, field: &Field<'_>) -> Result<(), Refusal> {
        let kind = alert.attribute(field, b"type").unwrap_or(b"request");
        let text: &[u8] = &field.text;
        if text.trim_ascii().is_empty() {
            if NEEDED_REQUESTS.contains(&kind) {
                let kind = String::from_utf8_lossy(kind);
                return Err(format!("its Request of type {kind} is empty").into());
            }
            return Ok(());
        }
        match kind {
            b"url" => self.texts.url = Some(percent(Cow::Borrowed(text)).into_owned()),
            b"request" => self.texts.request = Some(text.to_vec()),
            b"payload" => {
                let text = Cow::Borrowed(text);
                let text = if self.is_percent(b"payload") { percent(text) } else { text };
                self.texts.payload = Some(text.into_owned());
            }
            b"raw" | b"binary" | b"largepayload" => {
                let bytes = base64(text).map_err(|why| {
                    let kind = String::from_utf8_lossy(kind);
                    Refusal::Owned(format!("its Request of type {kind} cannot be read: {why}"))
                })?;
                self.capture(bytes)?;
            }
            b"description" => self.keep("description", text)?,
            other => {
                let name = format!("request_{}", String::from_utf8_lossy(other));
                self.keep(&name, text)?;
            }
        }
        Ok(())
    }

    fn capture(&mut self, bytes: Vec<u8>) -> Result<(), Refusal> {
        if self.captured.is_some() {
            return Err("it has more than one Request with captured bytes".into());
        }
        let first = bytes.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        let http = METHODS.contains(&first);
        self.keep_replacing("payload_md5", hex(&Md5::digest(&bytes)).as_bytes());
        if http {
            let shown = bytes.get(..MAX_TEXT_BYTES).unwrap_or(&bytes);
            self.event.attributes.insert("rawhttp".into(), Untrusted::from(shown).into());
        }
        self.captured = Some(Captured { bytes, http });
        Ok(())
    }

    /// A value with a meaning.
    fn data(&mut self, alert: &Alert<'_>, field: &Field<'_>) -> Result<(), Refusal> {
        let meaning =
            alert.attribute(field, b"meaning").ok_or("an AdditionalData has no meaning")?;
        let mut text = Cow::Borrowed(&*field.text);
        let empty = text.trim_ascii().is_empty();
        if empty && NEEDED_DATA.contains(&meaning) {
            let meaning = String::from_utf8_lossy(meaning);
            return Err(format!("its AdditionalData {meaning} is empty").into());
        }
        if PERCENT_DATA.contains(&meaning) || self.is_percent(meaning) {
            text = percent(text);
        }
        let credentials = |event: &mut Event| event.credentials.take().unwrap_or_default();
        match meaning {
            b"username" => {
                let username = Some(Untrusted::from(&*text));
                self.event.credentials =
                    Some(Credentials { username, ..credentials(&mut self.event) });
            }
            b"password" => {
                let password = Some(Untrusted::from(&*text));
                self.event.credentials =
                    Some(Credentials { password, ..credentials(&mut self.event) });
            }
            b"login" => {
                let outcome = match &*text {
                    b"Success" => Some(Outcome::Accepted),
                    b"Fail" => Some(Outcome::Failed),
                    _ => None,
                };
                if outcome.is_none() {
                    return self.keep("login", &text);
                }
                self.event.credentials =
                    Some(Credentials { outcome, ..credentials(&mut self.event) });
            }
            // Only the older form is encoded; in a list a percent sign is one.
            b"input" => {
                let typed = python_list(&text).unwrap_or_else(|| percent(text).into_owned());
                self.texts.input = Some(typed);
            }
            b"cve_id" => self.texts.cve = Some(text.trim_ascii().to_vec()),
            _ if empty => {}
            b"version" => self.event.client = Some(Untrusted::from(&*text)),
            b"sessionid" => {
                let session = std::str::from_utf8(&text).ok();
                match session.and_then(|session| SessionId::new(session.trim()).ok()) {
                    Some(session) => self.event.session = Some(session),
                    None => self.keep("sessionid", &text)?,
                }
            }
            b"hostname" => {
                let host = std::str::from_utf8(&text).ok().map(str::trim);
                match host.map(HostName::new) {
                    _ if host == Some("undefined") => {}
                    Some(Ok(host)) => self.event.host = Some(host),
                    _ => self.keep("hostname", &text)?,
                }
            }
            // What the bytes are is known better where they are there.
            b"payload_md5" if self.captured.is_some() => {}
            b"user_agent" => {
                let user_agent = Some(Untrusted::from(&*text));
                self.event.fingerprints =
                    Some(Box::new(Fingerprints { user_agent, ..Fingerprints::default() }));
            }
            _ => {
                let name = String::from_utf8_lossy(meaning);
                let integer = alert.attribute(field, b"type") == Some(b"integer");
                let number =
                    std::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok());
                match number.filter(|_| integer) {
                    Some(number) => self.attribute(&name, AttributeValue::Integer(number))?,
                    None => self.keep(&name, &text)?,
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, name: &str, text: &[u8]) -> Result<(), Refusal> {
        self.attribute(name, Untrusted::from(text).into())
    }

    fn keep_replacing(&mut self, name: &str, text: &[u8]) {
        self.event.attributes.insert(name.into(), Untrusted::from(text).into());
    }

    /// Keeps a value under a name that attributes may have; under a second one
    /// where the first is taken.
    fn attribute(&mut self, name: &str, value: AttributeValue) -> Result<(), Refusal> {
        let mut plain: String = name
            .chars()
            .take(palisade_event::MAX_ATTRIBUTE_NAME_BYTES - 2)
            .map(|c| c.to_ascii_lowercase())
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
            .collect();
        let length = plain.len();
        for number in 2..=9 {
            match self.event.attributes.get(plain.as_str()) {
                None => {
                    self.event.attributes.insert(plain.into(), value);
                    return Ok(());
                }
                Some(same) if *same == value => return Ok(()),
                Some(_) => {
                    plain.truncate(length);
                    plain.push_str(&format!("_{number}"));
                }
            }
        }
        Err(format!("it says '{}' too often", name.escape_debug()).into())
    }

    /// Decides what it is, and what the request is.
    fn finish(mut self) -> Result<(Event, Option<Captured>), Refusal> {
        let texts = std::mem::take(&mut self.texts);
        let captured = self.captured.as_ref();
        let http = captured.is_some_and(|captured| captured.http);
        let plain = captured.filter(|captured| captured.bytes.len() <= MAX_INLINE_BYTES);
        let plain = plain.filter(|captured| is_text(&captured.bytes));
        self.event.kind = if texts.input.is_some() {
            EventKind::CommandEntered
        } else if self.event.credentials.is_some() {
            EventKind::AuthAttempted
        } else if http || self.analyzer.category.as_str().starts_with("Webpage") {
            EventKind::HttpRequested
        } else if plain.is_some() {
            EventKind::DataReceived
        } else if captured.is_some() {
            EventKind::PayloadCaptured
        } else {
            EventKind::ConnectionOpened
        };
        if http && self.event.fingerprints.is_none() {
            let user_agent = captured.and_then(|captured| header(&captured.bytes, b"user-agent"));
            self.event.fingerprints = user_agent.map(|text| {
                let user_agent = Some(Untrusted::from(text));
                Box::new(Fingerprints { user_agent, ..Fingerprints::default() })
            });
        }
        let first_line = captured.filter(|captured| captured.http).map(|c| request_line(&c.bytes));
        let seen = first_line.or(plain.map(|captured| captured.bytes.clone()));
        // The first there is becomes the request, the others stay beside it.
        let mut chosen: Option<Vec<u8>> = None;
        let mut beside = Vec::new();
        for (name, text) in [
            ("", texts.input),
            ("url", texts.url),
            ("request_text", texts.request),
            ("payload_text", texts.payload),
        ] {
            match text {
                Some(text) if chosen.is_none() => chosen = Some(text),
                Some(text) => beside.push((name, text)),
                None => {}
            }
        }
        let mut request = match (chosen, self.analyzer.port_text) {
            (Some(text), true) => {
                beside.push(("request_text", text));
                Some(port_text(&self.event))
            }
            (None, true) => Some(port_text(&self.event)),
            (chosen, false) => chosen.or(seen),
        };
        for (name, text) in beside {
            self.keep(name, &text)?;
        }
        if let Some(cve) = texts.cve {
            let known = std::str::from_utf8(&cve).ok();
            match known.filter(|cve| cve.is_ascii() && cve.len() <= 32) {
                Some(cve) => self.event.cve = Some(cve.into()),
                None => self.keep("cve_id", &cve)?,
            }
            let mut text = b"(".to_vec();
            text.extend_from_slice(&cve);
            text.extend_from_slice(b")");
            if let Some(request) = request {
                text.push(b' ');
                text.extend_from_slice(&request);
            }
            request = Some(text);
        }
        self.event.request = request.map(Untrusted::new);
        Ok((self.event, self.captured))
    }
}

/// `Attack on port 445/tcp`.
fn port_text(event: &Event) -> Vec<u8> {
    let target = event.target.as_ref();
    let port = target.and_then(|target| target.port).unwrap_or(0);
    let transport = target.and_then(|target| target.transport).map_or("tcp", Transport::as_str);
    format!("Attack on port {port}/{transport}").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether a person could read it.
fn is_text(bytes: &[u8]) -> bool {
    let plain = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(plain))
}

/// Method and target of an HTTP request.
fn request_line(bytes: &[u8]) -> Vec<u8> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let version = line.windows(6).rposition(|part| part == b" HTTP/");
    let line = version.and_then(|at| line.get(..at)).unwrap_or(line);
    line.get(..MAX_TEXT_BYTES).unwrap_or(line).to_vec()
}

/// A header of an HTTP request; `name` in lower case.
fn header<'b>(bytes: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
    let lines = bytes.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::trim_ascii);
    lines.take_while(|line| !line.is_empty()).take(64).find_map(|line| {
        let (key, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let value = value.get(1..)?.trim_ascii();
        key.eq_ignore_ascii_case(name).then_some(value).filter(|value| value.len() <= 1024)
    })
}
