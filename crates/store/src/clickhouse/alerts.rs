//! Counting alerts as SQL: one statement groups, a second one divides the
//! largest groups by time. What is grouped by is made of a text and a flag, so
//! that an unknown value is no empty text.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use palisade_event::{CountryCode, Day};

use super::aggregate::MAX_COUNTED;
use super::filter::{self, exists};
use super::http::{Answer, Setting};
use super::server::Server;
use super::snapshot::Snapshot;
use super::{AskError, ClickHouse, sql};
use crate::QueryError;
use crate::alert::{
    AlertField, AlertGroup, AlertKey, AlertQuestion, Clock, Domains, HoneypotCount, HoneypotDay,
    UNCLASSIFIED, WEB_CATEGORY,
};
use crate::query::{Field, Filter, Query, TimeRange};
use crate::stored::{location, target_location};

impl ClickHouse {
    pub(crate) fn count_alerts(
        &self,
        question: &AlertQuestion,
    ) -> Result<Vec<AlertGroup>, QueryError> {
        self.read(|server| count(server, question))
    }

    pub(crate) fn count_honeypots(
        &self,
        day: Day,
        domains: Domains,
    ) -> Result<HoneypotDay, QueryError> {
        self.read(|server| honeypots(server, day, domains))
    }
}

/// A value as the server groups by it: its text, and what kind of value it is.
type Value = (String, u8);
/// The value is not known.
const UNKNOWN: u8 = 0;
/// It is the text.
const KNOWN: u8 = 1;
/// It is a place of a private range.
const PRIVATE: u8 = 2;

/// What selects the text of a value, and what selects its kind.
fn value_of(field: AlertField) -> (String, String) {
    let plain =
        |field: Field| (format!("`{}`", field.name()), format!("toUInt8({})", exists(field)));
    let place = |text: &str, has: &str, country: Field| {
        let private = format!(
            "{} AND `{}` = '{}'",
            exists(country),
            country.name(),
            CountryCode::PRIVATE.as_str()
        );
        (
            text.to_owned(),
            format!("toUInt8(if({has}, {KNOWN}, if({private}, {PRIVATE}, {UNKNOWN})))"),
        )
    };
    match field {
        AlertField::Category => plain(Field::Category),
        AlertField::Country => plain(Field::Country),
        AlertField::TargetCountry => plain(Field::TargetCountry),
        AlertField::WebRequest => plain(Field::Request),
        AlertField::Port => {
            (format!("toString(`{}`)", Field::Port.name()), format!("toUInt8({KNOWN})"))
        }
        AlertField::Source => (format!("hex(`{}`)", Field::Ip.name()), format!("toUInt8({KNOWN})")),
        AlertField::Place => place("`location`", &exists(Field::Location), Field::Country),
        AlertField::TargetPlace => {
            place("target_place", "position(target_place, '\"y\":') > 0", Field::TargetCountry)
        }
    }
}

/// The table and the condition on its rows.
fn from(server: &Server, snapshot: &Snapshot, question: &AlertQuestion) -> String {
    let AlertQuestion { from, to, clock, by, domains, .. } = *question;
    let mut filter = vec![domains.filter()];
    let mut range = TimeRange::default();
    match clock {
        Clock::Observed => range = TimeRange { from: Some(from), to: Some(to) },
        Clock::Received => {
            let last = to.as_millis().saturating_sub(1);
            filter.push(Filter::Between(Field::ReceivedAt, Some(from.as_millis()), Some(last)));
        }
    }
    match by {
        AlertField::WebRequest => {
            filter.push(Filter::In(Field::Category, vec![WEB_CATEGORY.to_owned()]));
            filter.push(Filter::Exists(Field::Request));
        }
        AlertField::Port => filter.push(Filter::Exists(Field::Port)),
        AlertField::Source => filter.push(Filter::Exists(Field::Ip)),
        _ => {}
    }
    format!(
        "FROM {} WHERE {} AND {}",
        server.table("events"),
        snapshot.condition(server),
        filter::query(&Query { range, filter: Filter::And(filter) })
    )
}

fn limits() -> Vec<Setting> {
    vec![
        ("max_rows_to_group_by", MAX_COUNTED.to_string()),
        ("group_by_overflow_mode", "throw".to_owned()),
    ]
}

fn value(row: &mut Answer) -> std::io::Result<Value> {
    Ok((row.text()?, row.u8()?))
}

fn key(field: AlertField, (text, kind): &Value) -> AlertKey {
    match (field, *kind) {
        (AlertField::Place, KNOWN) => AlertKey::place(location(text), None),
        (AlertField::TargetPlace, KNOWN) => AlertKey::place(target_location(text), None),
        (_, PRIVATE) => AlertKey::Private,
        (AlertField::Port, _) => text.parse().map_or(AlertKey::Unknown, AlertKey::Port),
        (AlertField::Source, _) => u128::from_str_radix(text, 16)
            .map_or(AlertKey::Unknown, |bits| {
                AlertKey::Address(IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical())
            }),
        (_, KNOWN) => AlertKey::Text(text.clone()),
        _ => AlertKey::Unknown,
    }
}

fn count(server: &Server, question: &AlertQuestion) -> Result<Vec<AlertGroup>, AskError> {
    let buckets = question.buckets()?;
    let snapshot = Snapshot::take(server)?;
    let from = from(server, &snapshot, question);
    let (text, kind) = value_of(question.by);
    // Without a text where there is no value, so that all of these are one group.
    let text = format!("if({kind} = {KNOWN}, {text}, '')");
    let inner = format!("SELECT {text} AS v, {kind} AS k, count() AS c {from} GROUP BY v, k");
    // Texts of places that mean the same are added up below.
    let is_place = matches!(question.by, AlertField::Place | AlertField::TargetPlace);
    let limit = match (question.by, question.most) {
        (_, None) | (AlertField::Source, _) => String::new(),
        _ if is_place => String::new(),
        (AlertField::Port, Some(most)) => {
            format!(" ORDER BY c DESC, toUInt32OrZero(v) LIMIT {most}")
        }
        (_, Some(most)) => format!(" ORDER BY c DESC, k, v LIMIT {most}"),
    };
    let sql = format!("SELECT v, k, toUInt64(c) FROM ({inner}){limit} FORMAT RowBinary");
    let found = server.rows_with(&sql, &limits(), |row| Ok((value(row)?, row.u64()?)))?;
    let mut groups: Vec<AlertGroup> = Vec::with_capacity(found.len());
    let mut places: HashMap<Value, usize> = HashMap::new();
    for (value, count) in found {
        let key = key(question.by, &value);
        let same = if is_place { groups.iter().position(|group| group.key == key) } else { None };
        let place = same.unwrap_or(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.count += count,
            None => groups.push(AlertGroup { key, count, buckets: vec![0; buckets] }),
        }
        places.insert(value, place);
    }
    if let Some(width) = question.bucket_ms.filter(|_| !groups.is_empty()) {
        let at = question.clock.field().name();
        let start = question.from.as_millis();
        let mut listed = String::new();
        for (number, (text, kind)) in places.keys().enumerate() {
            listed.push_str(if number > 0 { ", (" } else { "(" });
            sql::text(&mut listed, text);
            let _ = write!(listed, ", toUInt8({kind}))");
        }
        let sql = format!(
            "SELECT {text} AS v, {kind} AS k, toInt64(intDiv(`{at}` - ({start}), {width})) AS b, \
             toUInt64(count()) {from} AND (v, k) IN ({listed}) GROUP BY v, k, b FORMAT RowBinary"
        );
        let read = |row: &mut Answer| Ok((value(row)?, row.i64()?, row.u64()?));
        for (value, bucket, count) in server.rows_with(&sql, &limits(), read)? {
            let group = places.get(&value).and_then(|place| groups.get_mut(*place));
            let bucket = usize::try_from(bucket).ok();
            if let Some(bucket) = bucket.and_then(|bucket| group?.buckets.get_mut(bucket)) {
                *bucket += count;
            }
        }
    }
    Ok(question.sorted(groups))
}

fn honeypots(server: &Server, day: Day, domains: Domains) -> Result<HoneypotDay, AskError> {
    let snapshot = Arc::clone(&Snapshot::take(server)?);
    let range = TimeRange { from: Some(day.start()), to: Some(day.end()) };
    let from = format!(
        "FROM {} WHERE {} AND {}",
        server.table("events"),
        snapshot.condition(server),
        filter::query(&Query { range, filter: domains.filter() })
    );
    // A letter keeps a host, an address and a sensor apart.
    let honeypot = format!(
        "if({}, concat('h', `host`), if({}, concat('t', hex(`{}`)), concat('s', `sensor`)))",
        exists(Field::Host),
        exists(Field::Target),
        Field::Target.name()
    );
    let daemon =
        format!("if({}, concat('a', `analyzer`), concat('s', `sensor`))", exists(Field::Analyzer));
    let sql = format!(
        "SELECT toUInt64(count()), toUInt64(uniqExact({honeypot})), \
         toUInt64(uniqExact({honeypot}, {daemon})) {from} FORMAT RowBinary"
    );
    let (alerts, honeypots, daemons) =
        server.one(&sql, |row| Ok((row.u64()?, row.u64()?, row.u64()?)))?;
    let (text, kind) = value_of(AlertField::Category);
    let sql = format!(
        "SELECT if({kind} = {KNOWN}, {text}, '{UNCLASSIFIED}') AS v, toUInt64(count()), \
         toUInt64(uniqExact({honeypot})) {from} GROUP BY v FORMAT RowBinary"
    );
    let read = |row: &mut Answer| Ok((row.text()?, row.u64()?, row.u64()?));
    let mut found = HoneypotDay { alerts, honeypots, daemons, ..HoneypotDay::default() };
    for (category, alerts, honeypots) in server.rows_with(&sql, &limits(), read)? {
        found.by_category.insert(category, HoneypotCount { alerts, honeypots });
    }
    Ok(found)
}
