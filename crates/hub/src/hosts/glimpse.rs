//! Machines that Glimpse's script tells of, and what readers of its Data API ask.
//! What is pushed becomes events and the same inventory as an agent's; what is
//! asked is answered from that. No wire format here.
//!
//! Those that share a key are told apart by the address that they name, and only
//! below that key: whoever holds another one reaches none of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use palisade_event::{
    AnalyzerName, AttributeValue, Domain, Endpoint, Event, EventId, EventKind, HostName, SensorId,
    Timestamp, Untrusted,
};
use palisade_store::query::{Aggregation, Cursor, Field, Filter, Interval, Query, TimeRange};
use palisade_store::state::{Host, HostSection, HostSource, HostUpdate};
use palisade_store::{Aggregated, Key, Store};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::read::{self, GLIMPSE, VIA, below};
use super::samples::of_host;
use super::{Hosts, MAX_HOSTS};
use crate::auth::{Permission, Principal};
use crate::error::{IngestError, QueryError, StateError};
use crate::ingest::Ingest;
use crate::query::Queries;

/// Longest `data` and `log` that are kept, in bytes.
const MAX_DATA_BYTES: usize = 48 * 1024;
const MAX_LOG_BYTES: usize = 16 * 1024;
/// Most log entries of an answer, and their bytes.
pub const MAX_HOST_LOGS: usize = 10_010;
const MAX_LOGS_BYTES: usize = 16 * 1024 * 1024;
/// Log entries older than this are not looked for, in days.
const MAX_LOG_DAYS: i64 = 3_660;
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
const MINUTE_MILLIS: i64 = 60 * 1000;
/// Log entries that are read at once.
const PAGE_EVENTS: usize = 1_000;
/// Settings of the state that say up to when the log of a machine was cleared.
const CLEARED: &str = "host_logs_cleared/";
/// Numbers that change all the time; a push in which only they differ is a sample.
const FAST: [&[&str]; 8] = [
    &["cpu", "usage"],
    &["cpu", "cur_freq"],
    &["mem", "used"],
    &["swap", "used"],
    &["uptime"],
    &["network"],
    &["disk", "used"],
    &["disk", "free"],
];

/// What was last reported of each machine, without its fast numbers.
#[derive(Debug, Default)]
pub(crate) struct Reported(Mutex<HashMap<String, [u8; 32]>>);

/// Why something pushed was not taken.
#[derive(Debug)]
pub enum PushError {
    /// It is not what a script sends; one sentence.
    Unfit(&'static str),
    /// It could not be taken in.
    Ingest(IngestError),
}

/// An entry of a machine's log.
#[derive(Clone, Debug, PartialEq)]
pub struct HostLog {
    /// Its event.
    pub id: EventId,
    /// The entry as it was pushed.
    pub log: Map<String, Value>,
}

/// What is to be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// The logs of all machines.
    Logs,
    /// All machines.
    Servers,
    /// One machine with its log.
    Address(IpAddr),
}

/// Whose machines: those below a key, or all for a person.
fn sees(who: &Principal, host: &Host) -> bool {
    if super::readable(who).is_ok() {
        return true;
    }
    let own = who.glimpse_sensor().is_some_and(|sensor| *sensor == host.sensor);
    own && host.source == HostSource::Glimpse
}

/// The sensor that a key of the dialect delivers as.
fn pusher(who: &Principal) -> Result<SensorId, PushError> {
    let sensor = who.glimpse_sensor().filter(|_| who.may(Permission::Glimpse));
    sensor.cloned().ok_or(PushError::Ingest(IngestError::Forbidden))
}

impl Hosts {
    /// Takes what a machine says of itself.
    pub(crate) async fn glimpse_info(
        &self,
        ingest: &Ingest,
        who: &Principal,
        from: Option<IpAddr>,
        (address, data): (IpAddr, Map<String, Value>),
        now: Timestamp,
    ) -> Result<(), PushError> {
        let sensor = pusher(who)?;
        let text = Value::Object(data.clone()).to_string();
        if data.is_empty() || text.len() > MAX_DATA_BYTES {
            return Err(PushError::Unfit("'data' must be an object of 1 byte to 48 KiB"));
        }
        let id = below(&sensor, address);
        let name = data.get("hostname").and_then(Value::as_str);
        let name = name.and_then(|name| HostName::new(name).ok());
        let event = |kind| {
            let id = EventId::new(now, rand::random());
            let mut event = Event::new(id, kind, now, sensor.clone()).with(VIA, GLIMPSE);
            event.domain = Domain::Private;
            event.target = Some(Endpoint::address(address));
            event.host.clone_from(&name);
            event
        };
        let mut sampled = event(EventKind::HostSampled);
        for (name, number) in numbers(&data) {
            sampled = sampled.with(name, number);
        }
        let sample = read::sample(&sampled);
        let mut events = vec![sampled];
        let digest = slow_digest(&data);
        if !self.reported.is(&id, &digest) {
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let snapshot = format!("{:x}", now.as_millis());
            let reported = event(EventKind::HostReported)
                .with("section", "system")
                .with("snapshot", snapshot.as_str())
                .with("digest", hex.as_str())
                .with("part", 0_i64)
                .with("parts", 1_i64)
                .with("count", 1_i64)
                .with("data", text.as_str());
            events.push(reported);
        }
        let publisher = Principal::publisher(sensor.clone(), Domain::Private);
        let taken = ingest.accept_events(&publisher, from, events, Vec::new(), now).await;
        taken.map_err(PushError::Ingest)?;
        self.reported.set(&id, digest);
        // The newest numbers of the inventory come with no event of their own.
        let mut update = HostUpdate::new(id, sensor, HostSource::Glimpse);
        update.address = Some(address.to_canonical());
        update.name = name.map(|name| name.to_string());
        update.os = read::os(&text);
        update.seen = Some(now);
        update.sample = Some((now, sample));
        update.sections.push(HostSection {
            section: "system".to_owned(),
            snapshot: format!("{:x}", now.as_millis()),
            part: 0,
            parts: 1,
            entries: 1,
            left_out: 0,
            unseen: None,
            data: text.replace('\0', ""),
            at: now,
        });
        self.add(update);
        Ok(())
    }

    /// Takes an entry of a machine's log.
    pub(crate) async fn glimpse_log(
        &self,
        ingest: &Ingest,
        who: &Principal,
        from: Option<IpAddr>,
        (address, log): (IpAddr, Map<String, Value>),
        now: Timestamp,
    ) -> Result<(), PushError> {
        let sensor = pusher(who)?;
        let text = Value::Object(log.clone()).to_string();
        let word = |name: &str| log.get(name).and_then(Value::as_str).unwrap_or_default();
        if text.len() > MAX_LOG_BYTES || word("msg").is_empty() {
            return Err(PushError::Unfit("'log' must have a 'msg' and at most 16 KiB"));
        }
        let (kind, level) = match word("log_type").to_ascii_lowercase().as_str() {
            "ok" => (EventKind::HostRecovered, "ok"),
            "alert" | "error" => (EventKind::HostAlerted, "alert"),
            _ => (EventKind::HostAlerted, "warning"),
        };
        let mut event = Event::new(EventId::new(now, rand::random()), kind, now, sensor.clone())
            .with(VIA, GLIMPSE)
            .with("rule", GLIMPSE)
            .with("level", level)
            .with("message", Untrusted::from(word("msg")))
            .with("log", Untrusted::from(text.as_str()));
        event.domain = Domain::Private;
        // An entry does not say the machine's name; what it last called itself does.
        let known = self.state.host(&below(&sensor, address)).await.ok().flatten();
        event.host = known.and_then(|host| HostName::new(&host.name?).ok());
        event.target = Some(Endpoint::address(address));
        event.analyzer = AnalyzerName::new(GLIMPSE).ok();
        let publisher = Principal::publisher(sensor, Domain::Private);
        let taken = ingest.accept_events(&publisher, from, vec![event], Vec::new(), now).await;
        taken.map(drop).map_err(PushError::Ingest)
    }

    /// The machines that `who` may see and that have an address, the first heard
    /// first; of two with one address the one that was heard last.
    pub(crate) async fn servers(&self, who: &Principal) -> Result<Vec<Host>, StateError> {
        // What was pushed a moment ago is there.
        self.flush().await?;
        let mut by_address: HashMap<IpAddr, Host> = HashMap::new();
        for host in self.state.hosts().await?.into_iter().filter(|host| sees(who, host)) {
            let Some(address) = host.address else { continue };
            let known = by_address.get(&address);
            if known.is_none_or(|known| known.last_seen < host.last_seen) {
                by_address.insert(address, host);
            }
        }
        let mut servers: Vec<Host> = by_address.into_values().collect();
        servers.sort_by(|a, b| (a.first_seen, &a.id).cmp(&(b.first_seen, &b.id)));
        Ok(servers)
    }

    /// The machine of an address.
    pub(crate) async fn server(
        &self,
        who: &Principal,
        address: IpAddr,
    ) -> Result<Option<Host>, StateError> {
        let address = Some(address.to_canonical());
        Ok(self.servers(who).await?.into_iter().find(|host| host.address == address))
    }

    /// What the machine of an address says of itself.
    pub(crate) async fn server_info(
        &self,
        who: &Principal,
        address: IpAddr,
    ) -> Result<Option<Map<String, Value>>, StateError> {
        let Some(host) = self.server(who, address).await? else { return Ok(None) };
        let data = self.stored_section(&host.id, "system").await?;
        Ok(data.and_then(|data| serde_json::from_str(&data).ok()))
    }

    /// The first entries of the log of an address' machine; `None` where there is
    /// no such machine and no entry.
    pub(crate) async fn server_logs(
        &self,
        queries: &Queries,
        who: &Principal,
        address: IpAddr,
        most: usize,
        now: Timestamp,
    ) -> Result<Option<Vec<HostLog>>, QueryError> {
        let Some(host) = self.server(who, address).await? else { return Ok(None) };
        let cleared = self.state.meta(&format!("{CLEARED}{}", host.id)).await?;
        let cleared = cleared.and_then(|text| text.parse().ok()).map(Timestamp::from_millis);
        let since = cleared.unwrap_or_else(|| now.plus_millis(-MAX_LOG_DAYS * DAY_MILLIS));
        let kinds = [EventKind::HostAlerted, EventKind::HostRecovered];
        let kinds = kinds.map(|kind| of_host(&host, kind)).to_vec();
        let filter = Filter::And(vec![
            Filter::Or(kinds),
            Filter::In(Field::Analyzer, vec![GLIMPSE.to_owned()]),
            Filter::Between(Field::ReceivedAt, Some(since.as_millis()), None),
        ]);
        let range = (since.plus_millis(-MINUTE_MILLIS), now.plus_millis(1));
        let events = queries
            .run(move |store| oldest(store, &filter, range, most.min(MAX_HOST_LOGS)))
            .await?;
        let mut bytes = 0;
        let logs = events.into_iter().filter_map(|event| {
            let Some(AttributeValue::Text(text)) = event.attributes.get("log") else {
                return None;
            };
            bytes += text.len();
            let log = serde_json::from_slice(text.as_bytes()).ok()?;
            (bytes <= MAX_LOGS_BYTES).then_some(HostLog { id: event.id, log })
        });
        Ok(Some(logs.collect()))
    }

    /// Clears logs, or forgets machines; those of Glimpse's script alone. Whether
    /// there was anything.
    pub(crate) async fn clear(
        &self,
        who: &Principal,
        what: Clear,
        now: Timestamp,
    ) -> Result<bool, QueryError> {
        let may = who.may(Permission::Glimpse) || who.may(Permission::Operate);
        if !may {
            return Err(QueryError::Forbidden);
        }
        let mut found = false;
        for host in self.servers(who).await? {
            let is_meant = match what {
                Clear::Logs | Clear::Servers => true,
                Clear::Address(address) => host.address == Some(address.to_canonical()),
            };
            if !is_meant || host.source != HostSource::Glimpse {
                continue;
            }
            found = true;
            if what != Clear::Servers {
                let until = now.plus_millis(1).as_millis().to_string();
                self.state.set_meta(&format!("{CLEARED}{}", host.id), &until).await?;
            }
            if what != Clear::Logs {
                self.forget(&host.id).await?;
            }
        }
        Ok(found)
    }
}

impl Reported {
    fn is(&self, id: &str, digest: &[u8; 32]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id) == Some(digest)
    }

    fn set(&self, id: &str, digest: [u8; 32]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_HOSTS && !known.contains_key(id) {
            known.clear();
        }
        known.insert(id.to_owned(), digest);
    }

    pub(super) fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// The first events of a time: the days are counted until there are enough of
/// them, then the minutes of the last one, and only these are read.
fn oldest(
    store: &Store,
    filter: &Filter,
    (from, to): (Timestamp, Timestamp),
    most: usize,
) -> Result<Vec<Event>, palisade_store::QueryError> {
    let (mut begin, mut end, mut before) = (from, to, 0_u64);
    for width in [DAY_MILLIS, MINUTE_MILLIS] {
        let range = TimeRange { from: Some(begin), to: Some(end) };
        let asked = Query { range, filter: filter.clone() };
        let counted = Aggregation::Histogram(Interval::Millis(width), None);
        let Aggregated::Buckets { buckets, .. } = store.aggregate(&asked, &counted)? else { break };
        let mut reached = None;
        for bucket in buckets {
            let Some(Key::Text(start)) = bucket.key.first() else { continue };
            if before + bucket.count >= most as u64 {
                reached = start.parse::<Timestamp>().ok();
                break;
            }
            before += bucket.count;
        }
        // There are fewer than that: all are read.
        let Some(start) = reached else { break };
        begin = start.max(begin);
        end = start.plus_millis(width).min(end);
    }
    let asked =
        Query { range: TimeRange { from: Some(from), to: Some(end) }, filter: filter.clone() };
    let (mut events, mut at): (Vec<Event>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = store.search(&asked, PAGE_EVENTS, at)?;
        events.extend(page.events);
        at = page.next;
        if at.is_none() || events.len() > MAX_HOST_LOGS * 2 {
            break;
        }
    }
    events.reverse();
    events.truncate(most);
    Ok(events)
}

/// The numbers of a push, under the names of samples.
fn numbers(data: &Map<String, Value>) -> Vec<(&'static str, AttributeValue)> {
    let at = |path: &[&str]| {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(data.get(*first)?, |value, name| value.get(name))
    };
    let real = |value: &Value| {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.filter(|number| number.is_finite() && (0.0..1e18).contains(number))
    };
    let bytes = |value: &Value| real(value).or_else(|| human(value.as_str()?));
    let mut found = Vec::new();
    if let Some(usage) = at(&["cpu", "usage"]).and_then(real) {
        found.push(("cpu_pct", AttributeValue::Real(usage)));
    }
    let whole: [(&str, &[&str]); 11] = [
        ("cpus", &["cpu", "t_cores"]),
        ("cpu_mhz", &["cpu", "cur_freq"]),
        ("mem_total", &["mem", "total"]),
        ("mem_used", &["mem", "used"]),
        ("swap_total", &["swap", "total"]),
        ("swap_used", &["swap", "used"]),
        ("uptime_secs", &["uptime"]),
        ("net_sent", &["network", "sent"]),
        ("net_recv", &["network", "recv"]),
        ("disk_total", &["disk", "total"]),
        ("disk_used", &["disk", "used"]),
    ];
    for (name, path) in whole {
        if let Some(number) = at(path).and_then(bytes) {
            found.push((name, AttributeValue::Integer(number as i64)));
        }
    }
    found
}

/// Bytes of a text such as `12.34GB`, in steps of 1024.
fn human(text: &str) -> Option<f64> {
    let text = text.trim().strip_suffix('B')?;
    let (number, factor) = match text.char_indices().next_back()? {
        (at, unit) if unit.is_ascii_alphabetic() => {
            let power = "KMGTP".find(unit)? + 1;
            (text.get(..at)?, 1024_f64.powi(i32::try_from(power).ok()?))
        }
        _ => (text, 1.0),
    };
    let number: f64 = number.parse().ok()?;
    let bytes = number * factor;
    (number.is_finite() && number >= 0.0 && bytes < 1e18).then_some(bytes)
}

/// A digest of what does not change all the time.
fn slow_digest(data: &Map<String, Value>) -> [u8; 32] {
    let mut data = data.clone();
    for path in FAST {
        match path {
            [name] => drop(data.remove(*name)),
            [outer, name] => {
                if let Some(Value::Object(inner)) = data.get_mut(*outer) {
                    inner.remove(*name);
                }
            }
            _ => {}
        }
    }
    Sha256::digest(Value::Object(data).to_string()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pushed() -> Map<String, Value> {
        let data = json!({
            "hostname": "web-1",
            "cpu": {"usage": 12.5, "p_cores": 2, "t_cores": 4, "max_freq": "3600.0", "cur_freq": "1200.5"},
            "mem": {"total": 8_000_000_000_u64, "used": 1_000}, "swap": {"total": 0, "used": 0},
            "uptime": 77.9, "specs": {"system": "Linux", "release": "6.1"},
            "network": {"sent": "1.50KB", "recv": "2.00GB"},
            "disk": {"total": "50.00GB", "used": "NaNGB", "free": "-1"},
        });
        match data {
            Value::Object(data) => data,
            _ => unreachable!(),
        }
    }

    #[test]
    fn numbers_are_read_from_numbers_and_from_human_text() {
        let found: HashMap<&str, AttributeValue> = numbers(&pushed()).into_iter().collect();
        assert_eq!(found["cpu_pct"], AttributeValue::Real(12.5));
        for (name, number) in [
            ("cpus", 4),
            ("cpu_mhz", 1200),
            ("mem_total", 8_000_000_000),
            ("uptime_secs", 77),
            ("net_sent", 1536),
            ("net_recv", 2 << 30),
            ("disk_total", 50 << 30),
        ] {
            assert_eq!(found[name], AttributeValue::Integer(number), "{name}");
        }
        assert!(!found.contains_key("disk_used"));
    }

    #[test]
    fn human_sizes_are_read_or_left_out() {
        assert_eq!(human("0.00B"), Some(0.0));
        assert_eq!(human("1.00KB"), Some(1024.0));
        assert_eq!(human("2.5TB"), Some(2.5 * 1024_f64.powi(4)));
        for bad in ["", "B", "GB", "xGB", "1.0XB", "-1.00GB", "infGB", "1e300PB", "1.0GiB", "10"] {
            assert_eq!(human(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_what_stays_the_same_makes_a_new_report() {
        let first = pushed();
        let mut later = first.clone();
        later["cpu"]["usage"] = json!(99);
        later["uptime"] = json!(80);
        later["network"] = json!({"sent": "9.00GB", "recv": "9.00GB"});
        assert_eq!(slow_digest(&first), slow_digest(&later));
        later["specs"]["release"] = json!("6.2");
        assert_ne!(slow_digest(&first), slow_digest(&later));
    }
}
