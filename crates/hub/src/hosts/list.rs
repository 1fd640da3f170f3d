//! Machines as they are listed and shown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use palisade_event::{SensorId, Timestamp};
use palisade_store::query::{Aggregation, Field, Filter, Query, TimeRange};
use palisade_store::state::{Host, HostAlert, HostSection, HostSource};
use palisade_store::{Aggregated, Domains, Key};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Hosts, readable};
use crate::auth::Principal;
use crate::error::{QueryError, StateError};
use crate::query::Queries;

/// Longest data of a section that is shown, in bytes.
const MAX_SECTION_BYTES: usize = 4 * 1024 * 1024;

/// A machine, as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct HostInfo {
    /// What it is known by: its sensor, and below a shared credential its address.
    pub id: String,
    /// The sensor that its credential names.
    pub sensor: SensorId,
    /// How it tells of itself.
    pub source: HostSource,
    /// What it calls itself.
    pub name: Option<String>,
    /// What it called itself before, and since when not any more.
    pub former_name: Option<(String, Timestamp)>,
    /// Whether another machine calls itself the same.
    pub name_shared: bool,
    /// Its address, where it is known by that.
    pub address: Option<IpAddr>,
    /// Its operating system in a few words.
    pub os: Option<String>,
    /// `silent`, `alert`, `warning` or `ok`: the worst that is wrong with it now.
    pub state: &'static str,
    /// How much is wrong with it now.
    pub alerts: usize,
    /// Score of its last audit, 0 to 100.
    pub score: Option<i64>,
    /// When that was.
    pub audited_at: Option<Timestamp>,
    /// Its newest numbers, a JSON object.
    pub sample: Option<Value>,
    /// When the hub took them.
    pub sample_at: Option<Timestamp>,
    /// Attacks on it since midnight UTC; of those that share a credential, on all.
    pub attacks_today: u64,
    /// When it was first heard.
    pub first_seen: Timestamp,
    /// When it was last heard.
    pub last_seen: Timestamp,
    /// Since when it is silent.
    pub silent_since: Option<Timestamp>,
}

/// Something that is wrong with a machine now.
#[derive(Clone, Debug, PartialEq)]
pub struct HostAlertInfo {
    /// Names it on the machine.
    pub alert: String,
    /// Since when.
    pub since: Timestamp,
    /// Rule, subject, level, value, threshold and a message, a JSON object.
    pub detail: Value,
}

/// A section of an inventory, put together.
#[derive(Clone, Debug)]
pub struct HostSectionInfo {
    /// When the hub took it.
    pub at: Timestamp,
    /// Entries that there are.
    pub entries: u64,
    /// Entries that were left out, there or here.
    pub left_out: u64,
    /// Whether parts of it have not come yet.
    pub incomplete: bool,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
    /// An object, or a list of entries.
    pub data: Box<RawValue>,
}

/// A machine with all that is known of it.
#[derive(Clone, Debug)]
pub struct HostInventory {
    /// The machine.
    pub host: HostInfo,
    /// What is wrong with it now.
    pub alerts: Vec<HostAlertInfo>,
    /// Counts of its last audit, a JSON object.
    pub audit: Option<Value>,
    /// Its inventory.
    pub sections: BTreeMap<String, HostSectionInfo>,
}

impl Hosts {
    /// All machines, by name, then by id.
    pub(crate) async fn list(
        &self,
        who: &Principal,
        queries: &Queries,
        now: Timestamp,
    ) -> Result<Vec<HostInfo>, QueryError> {
        readable(who)?;
        // What was told a moment ago is there.
        self.flush().await?;
        let hosts = self.state.hosts().await.map_err(StateError::from)?;
        let alerts = self.state.host_alerts(None).await.map_err(StateError::from)?;
        let attacks = attacks(queries, now).await?;
        let mut names: HashSet<&str> = HashSet::new();
        let shared: HashSet<String> = hosts
            .iter()
            .filter_map(|host| host.name.as_deref())
            .filter(|name| !names.insert(name))
            .map(str::to_owned)
            .collect();
        let mut by_host: HashMap<&str, Vec<&HostAlert>> = HashMap::new();
        for alert in &alerts {
            by_host.entry(&alert.host).or_default().push(alert);
        }
        let mut listed: Vec<HostInfo> = hosts
            .iter()
            .map(|host| {
                let alerts = by_host.get(host.id.as_str()).map_or(&[][..], Vec::as_slice);
                info(host, alerts, &shared, &attacks)
            })
            .collect();
        listed.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(listed)
    }

    /// One machine with its inventory.
    pub(crate) async fn one(
        &self,
        who: &Principal,
        queries: &Queries,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<HostInventory>, QueryError> {
        let found = self.list(who, queries, now).await?.into_iter().find(|host| host.id == id);
        let Some(host) = found else { return Ok(None) };
        let sections = self.state.host_sections(id).await.map_err(StateError::from)?;
        let alerts = self.state.host_alerts(Some(id)).await.map_err(StateError::from)?;
        let stored = self.state.host(id).await.map_err(StateError::from)?;
        let audit = stored.and_then(|host| host.audit);
        Ok(Some(HostInventory {
            host,
            alerts: alerts.into_iter().map(alert).collect(),
            audit: audit.and_then(|text| serde_json::from_str(&text).ok()),
            sections: joined(sections),
        }))
    }

    /// What a machine last said of a section, as it is stored.
    pub(crate) async fn stored_section(
        &self,
        id: &str,
        section: &str,
    ) -> Result<Option<String>, StateError> {
        let parts = self.state.host_sections(id).await?;
        Ok(parts.into_iter().find(|part| part.section == section).map(|part| part.data))
    }
}

fn info(
    host: &Host,
    alerts: &[&HostAlert],
    shared: &HashSet<String>,
    attacks: &HashMap<String, u64>,
) -> HostInfo {
    let levels = alerts.iter().map(|alert| level(&alert.detail));
    let state = match (host.silent_since, levels.max().unwrap_or(0)) {
        (Some(_), _) => "silent",
        (None, 0) => "ok",
        (None, 1) => "warning",
        (None, _) => "alert",
    };
    HostInfo {
        id: host.id.clone(),
        sensor: host.sensor.clone(),
        source: host.source,
        name_shared: host.name.as_ref().is_some_and(|name| shared.contains(name)),
        name: host.name.clone(),
        former_name: host.former_name.clone().zip(host.renamed_at),
        address: host.address,
        os: host.os.clone(),
        state,
        alerts: alerts.len(),
        score: host.score,
        audited_at: host.audited_at,
        sample: host.sample.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        sample_at: host.sample_at,
        attacks_today: attacks.get(host.sensor.as_str()).copied().unwrap_or(0),
        first_seen: host.first_seen,
        last_seen: host.last_seen,
        silent_since: host.silent_since,
    }
}

/// How bad an alert is: 1 for a warning, 2 for anything else.
fn level(detail: &str) -> u8 {
    let detail: Option<Value> = serde_json::from_str(detail).ok();
    let level = detail.as_ref().and_then(|detail| detail.get("level")?.as_str());
    if level == Some("warning") { 1 } else { 2 }
}

fn alert(stored: HostAlert) -> HostAlertInfo {
    let detail = serde_json::from_str(&stored.detail).unwrap_or(Value::Null);
    HostAlertInfo { alert: stored.alert, since: stored.since, detail }
}

/// Attacks of today by sensor.
async fn attacks(queries: &Queries, now: Timestamp) -> Result<HashMap<String, u64>, QueryError> {
    let range = TimeRange { from: Some(now.day().start()), to: None };
    let has_source = Filter::Exists(Field::Ip);
    let filter = Filter::And(vec![Domains::Both.filter(), has_source]);
    let top = Aggregation::Top(vec![Field::Sensor], palisade_store::query::MAX_TOP, None);
    let answer = queries.aggregate(&Principal::local(None), Query { range, filter }, top).await?;
    let Aggregated::Buckets { buckets, .. } = answer else { return Ok(HashMap::new()) };
    let counted = buckets.into_iter().filter_map(|bucket| match bucket.key.into_iter().next() {
        Some(Key::Text(sensor)) => Some((sensor, bucket.count)),
        _ => None,
    });
    Ok(counted.collect())
}

/// Puts the parts of each section together.
fn joined(parts: Vec<HostSection>) -> BTreeMap<String, HostSectionInfo> {
    let mut by_section: BTreeMap<String, Vec<HostSection>> = BTreeMap::new();
    for part in parts {
        by_section.entry(part.section.clone()).or_default().push(part);
    }
    let joined = by_section.into_iter().filter_map(|(name, parts)| {
        let first = parts.first()?;
        let (data, left_out) = join(&parts)?;
        let unseen = first.unseen.as_deref().and_then(|list| serde_json::from_str(list).ok());
        let info = HostSectionInfo {
            at: first.at,
            entries: u64::try_from(first.entries).unwrap_or(0),
            left_out: u64::try_from(first.left_out).unwrap_or(0) + left_out,
            incomplete: i64::try_from(parts.len()).unwrap_or(i64::MAX) < first.parts,
            unseen: unseen.unwrap_or_default(),
            data,
        };
        Some((name, info))
    });
    joined.collect()
}

/// One list of many, within the bound; how many entries are beyond it.
fn join(parts: &[HostSection]) -> Option<(Box<RawValue>, u64)> {
    if let [only] = parts {
        return serde_json::from_str(&only.data).ok().map(|data| (data, 0));
    }
    let (mut text, mut left_out) = (String::from("["), 0);
    for part in parts {
        let entries: Vec<&RawValue> = serde_json::from_str(&part.data).ok()?;
        for entry in entries {
            if text.len() + entry.get().len() > MAX_SECTION_BYTES {
                left_out += 1;
                continue;
            }
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(entry.get());
        }
    }
    text.push(']');
    Some((RawValue::from_string(text).ok()?, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(part: i64, parts: i64, data: &str) -> HostSection {
        HostSection {
            section: "packages".into(),
            snapshot: "s".into(),
            part,
            parts,
            entries: 3,
            left_out: 2,
            unseen: Some(r#"["no root"]"#.into()),
            data: data.into(),
            at: Timestamp::from_millis(1_790_000_000_000),
        }
    }

    #[test]
    fn parts_are_one_list_and_a_missing_one_is_said() {
        let whole = joined(vec![part(0, 2, r#"[{"a":1}]"#), part(1, 2, "[2, 3]")]);
        let section = &whole["packages"];
        assert_eq!(section.data.get(), r#"[{"a":1},2,3]"#);
        assert_eq!((section.left_out, section.incomplete), (2, false));
        assert_eq!(section.unseen, ["no root"]);
        assert!(joined(vec![part(0, 2, "[]")])["packages"].incomplete);
    }

    #[test]
    fn entries_beyond_the_bound_are_counted() {
        let entry = format!("[\"{}\"]", "x".repeat(MAX_SECTION_BYTES / 2));
        let section =
            &joined(vec![part(0, 3, &entry), part(1, 3, &entry), part(2, 3, "[7]")])["packages"];
        assert_eq!(section.left_out, 3);
        assert!(section.data.get().ends_with(",7]"));
    }

    #[test]
    fn an_alert_is_as_bad_as_it_says_and_worse_where_it_says_nothing() {
        assert_eq!(level(r#"{"level":"warning"}"#), 1);
        assert_eq!(level(r#"{"level":"alert"}"#), 2);
        assert_eq!(level("{"), 2);
    }
}
