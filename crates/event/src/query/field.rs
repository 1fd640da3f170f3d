//! The table of fields: names, types, and where each is found in an event.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::{Endpoint, Event, Geo, Untrusted};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest part of a text that is compared and grouped by, in bytes: as long
/// as the longest query. What follows it is kept and shown, but not compared.
pub const MAX_COMPARED_BYTES: usize = 4096;

/// The table of fields in `docs/QUERY.md`.
#[must_use]
pub fn fields_markdown() -> String {
    let mut table = String::from("| field | other names | type | holds |\n|---|---|---|---|\n");
    for info in Field::ALL.iter().map(|field| field.info()) {
        let aliases: Vec<String> = info.aliases.iter().map(|name| format!("`{name}`")).collect();
        let kind = format!("{:?}", info.field_type).to_ascii_lowercase();
        let (name, about) = (info.name, info.description);
        table.push_str(&format!("| `{name}` | {} | {kind} | {about} |\n", aliases.join(", ")));
    }
    table
}

/// How the values of a field compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A name or code from a small set.
    Keyword,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A whole number.
    Integer,
    /// An instant.
    Time,
    /// Text made by an attacker.
    Text,
}

/// One row of the field table, for `GET /api/v1/fields` and `docs/QUERY.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FieldInfo {
    /// The canonical name.
    pub name: &'static str,
    /// Other names of the same field.
    pub aliases: &'static [&'static str],
    /// How its values compare.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// One sentence: what it holds.
    pub description: &'static str,
}

macro_rules! fields {
    ($($variant:ident $name:literal [$($alias:literal),*] $type:ident $about:literal;)*) => {
        /// A field that can be filtered and grouped by. Names as in the text form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field {
            $(#[doc = $about] $variant,)*
        }

        impl Field {
            /// Every field, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its row of the field table.
            #[must_use]
            pub fn info(self) -> &'static FieldInfo {
                match self {
                    $(Self::$variant => &FieldInfo {
                        name: $name,
                        aliases: &[$($alias),*],
                        field_type: FieldType::$type,
                        description: $about,
                    },)*
                }
            }
        }
    };
}

fields! {
    Kind "kind" [] Keyword "What happened, such as auth.attempted; upper and lower case are the same.";
    Domain "domain" [] Keyword "Who may see it: community or private; upper and lower case are the same.";
    Sensor "sensor" [] Keyword "The installation that observed it.";
    Host "host" [] Keyword "The machine it happened on.";
    Analyzer "analyzer" ["daemon"] Keyword "The daemon on that machine that observed it, as it names itself.";
    Category "category" ["type"] Keyword "The type of service attacked, such as SSH/login(sshd).";
    Ip "ip" ["source", "source_ip"] Ip "The address it came from.";
    SourcePort "source_port" [] Integer "The port it came from.";
    Target "target" ["target_ip"] Ip "The address it went to.";
    Port "port" ["target_port"] Integer "The port it went to.";
    Transport "transport" [] Keyword "tcp, udp or icmp: the target's, else the source's; upper and lower case are the same.";
    Session "session" [] Keyword "The connection or login session it belongs to.";
    User "user" ["username", "login"] Text "The login name that was tried.";
    Password "password" [] Text "The password that was tried.";
    Outcome "outcome" [] Keyword "How a login ended: accepted or failed; upper and lower case are the same.";
    Request "request" [] Text "What was asked for: a request line, a command, the first bytes.";
    Client "client" [] Text "The client's own banner, such as SSH-2.0-Go.";
    UserAgent "user_agent" ["agent"] Text "The HTTP User-Agent.";
    Os "os" [] Keyword "Operating system of the client.";
    Hassh "hassh" [] Keyword "HASSH of the SSH client.";
    Ja4 "ja4" [] Keyword "JA4 of the TLS client.";
    Payload "payload" ["sha256"] Keyword "SHA-256 of the captured file.";
    PayloadName "payload_name" ["file"] Text "What the attacker called the captured file.";
    Cve "cve" [] Keyword "The vulnerability that was aimed at.";
    Country "country" ["source_country"] Keyword "Country of the source, two letters or PIR; upper and lower case are the same.";
    City "city" [] Keyword "City of the source.";
    Location "location" [] Keyword "Where the source is: latitude,longitude in degrees, such as 52.52,13.4.";
    Asn "asn" [] Integer "Autonomous system number of the source.";
    Org "org" ["organisation"] Keyword "The organisation that runs the source's autonomous system.";
    TargetCountry "target_country" [] Keyword "Country of the target, two letters or PIR; upper and lower case are the same.";
    Id "id" [] Keyword "The event's id; compared as a whole.";
    ObservedAt "observed_at" ["observed", "time"] Time "When it happened, by the sensor's clock.";
    ReceivedAt "received_at" ["received"] Time "When the hub took it, by the hub's clock.";
}

/// A set of fields that filters are written over. [`Field`] is that of stored
/// events.
pub trait FilterField: Copy + PartialEq + fmt::Debug + fmt::Display + 'static {
    /// Whether what is filtered has attributes beside its fields.
    const HAS_ATTRIBUTES: bool = false;

    /// The field of this name.
    ///
    /// # Errors
    /// [`UnknownField`], with a similar name where there is one.
    fn named(name: &str) -> Result<Self, UnknownField>;

    /// How its values compare.
    fn field_type(self) -> FieldType;

    /// The case that every value of this field has, applied to a filter's value.
    fn fold(self, value: &str) -> String;

    /// Whether its values are event ids, which compare as a whole.
    fn is_id(self) -> bool {
        false
    }

    /// Whether its values are text: keywords (but the id) and attacker text.
    fn is_text(self) -> bool {
        !self.is_id() && matches!(self.field_type(), FieldType::Keyword | FieldType::Text)
    }

    /// Whether its values are numbers or times.
    fn is_ordered(self) -> bool {
        matches!(self.field_type(), FieldType::Integer | FieldType::Time)
    }
}

impl FilterField for Field {
    const HAS_ATTRIBUTES: bool = true;

    fn named(name: &str) -> Result<Self, UnknownField> {
        name.parse()
    }

    fn field_type(self) -> FieldType {
        self.info().field_type
    }

    fn fold(self, value: &str) -> String {
        Self::fold(self, value)
    }

    fn is_id(self) -> bool {
        self == Self::Id
    }
}

/// A field's value in one event, as queries see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value<'a> {
    /// Keywords and attacker text, cut at [`MAX_COMPARED_BYTES`].
    Text(Cow<'a, str>),
    /// An address; never IPv4 mapped to IPv6.
    Address(IpAddr),
    /// Numbers; milliseconds for times.
    Number(i64),
    /// The id of an event.
    Id(u128),
}

impl Field {
    /// The canonical name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// How its values compare.
    #[must_use]
    pub fn field_type(self) -> FieldType {
        self.info().field_type
    }

    /// Whether its values are text: keywords (but the id) and attacker text.
    #[must_use]
    pub fn is_text(self) -> bool {
        self != Self::Id && matches!(self.field_type(), FieldType::Keyword | FieldType::Text)
    }

    /// Whether its values are numbers or times.
    #[must_use]
    pub fn is_ordered(self) -> bool {
        matches!(self.field_type(), FieldType::Integer | FieldType::Time)
    }

    /// The case that every value of this field has, applied to a query's value.
    #[must_use]
    pub fn fold(self, value: &str) -> String {
        match self {
            Self::Country | Self::TargetCountry => value.to_ascii_uppercase(),
            Self::Kind | Self::Domain | Self::Outcome | Self::Transport => {
                value.to_ascii_lowercase()
            }
            _ => value.to_owned(),
        }
    }

    /// What an event holds in this field.
    #[must_use]
    pub fn value(self, event: &Event) -> Option<Value<'_>> {
        let source = event.source.as_ref();
        let target = event.target.as_ref();
        let login = event.credentials.as_ref();
        let prints = event.fingerprints.as_deref();
        let geo = event.source_geo.as_deref();
        let port = |end: Option<&Endpoint>| {
            end.and_then(|end| end.port).map(|port| Value::Number(port.into()))
        };
        let country = |geo: Option<&'_ Geo>| {
            let code = geo.and_then(|geo| geo.country)?;
            Some(Value::Text(Cow::Owned(code.as_str().to_owned())))
        };
        match self {
            Self::Kind => Some(plain(event.kind.as_str())),
            Self::Domain => Some(plain(event.domain.as_str())),
            Self::Sensor => Some(plain(event.sensor.as_str())),
            Self::Host => event.host.as_ref().map(|v| plain(v.as_str())),
            Self::Analyzer => event.analyzer.as_ref().map(|v| plain(v.as_str())),
            Self::Category => event.category.as_ref().map(|v| plain(v.as_str())),
            Self::Ip => source.map(|end| Value::Address(end.address.to_canonical())),
            Self::SourcePort => port(source),
            Self::Target => target.map(|end| Value::Address(end.address.to_canonical())),
            Self::Port => port(target),
            Self::Transport => target
                .and_then(|end| end.transport)
                .or_else(|| source.and_then(|end| end.transport))
                .map(|v| plain(v.as_str())),
            Self::Session => event.session.as_ref().map(|v| plain(v.as_str())),
            Self::User => login.and_then(|v| v.username.as_ref()).map(hostile),
            Self::Password => login.and_then(|v| v.password.as_ref()).map(hostile),
            Self::Outcome => login.and_then(|v| v.outcome).map(|v| plain(v.as_str())),
            Self::Request => event.request.as_ref().map(hostile),
            Self::Client => event.client.as_ref().map(hostile),
            Self::UserAgent => prints.and_then(|v| v.user_agent.as_ref()).map(hostile),
            Self::Os => prints.and_then(|v| v.os.as_deref()).map(plain),
            Self::Hassh => prints.and_then(|v| v.hassh.as_deref()).map(plain),
            Self::Ja4 => prints.and_then(|v| v.ja4.as_deref()).map(plain),
            Self::Payload => event.payload.map(|v| Value::Text(Cow::Owned(v.to_string()))),
            Self::PayloadName => event.payload_name.as_ref().map(hostile),
            Self::Cve => event.cve.as_deref().map(plain),
            Self::Country => country(geo),
            Self::City => geo.and_then(|v| v.city.as_deref()).map(plain),
            Self::Location => {
                let (lat, lon) = geo.and_then(|v| v.lat.zip(v.lon))?;
                Some(Value::Text(Cow::Owned(format!("{lat},{lon}"))))
            }
            Self::Asn => geo.and_then(|v| v.asn).map(|v| Value::Number(v.into())),
            Self::Org => geo.and_then(|v| v.organisation.as_deref()).map(plain),
            Self::TargetCountry => country(event.target_geo.as_deref()),
            Self::Id => Some(Value::Id(event.id.as_u128())),
            Self::ObservedAt => Some(Value::Number(event.observed_at.as_millis())),
            Self::ReceivedAt => event.received_at.map(|at| Value::Number(at.as_millis())),
        }
    }
}

fn plain(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(compared(text)))
}

fn hostile(text: &Untrusted) -> Value<'_> {
    Value::Text(compared_lossy(text))
}

/// The part of a text that is compared.
#[must_use]
pub fn compared(text: &str) -> &str {
    let mut end = text.len().min(MAX_COMPARED_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The part of an attacker's text that is compared, as lossy UTF-8.
fn compared_lossy(text: &Untrusted) -> Cow<'_, str> {
    match text.to_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(compared(text)),
        Cow::Owned(text) => Cow::Owned(compared(&text).to_owned()),
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No field has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no field '{}'{}", .name.escape_debug(), .similar.map_or_else(String::new, |known| format!("; did you mean '{known}'?")))]
pub struct UnknownField {
    name: String,
    similar: Option<&'static str>,
}

impl UnknownField {
    /// `name` is none of the `known` ones.
    #[must_use]
    pub fn new(name: &str, known: impl Iterator<Item = &'static str>) -> Self {
        let folded: String = name.chars().take(64).collect::<String>().to_ascii_lowercase();
        let similar = known
            .map(|known| (distance(&folded, known), known))
            .min()
            .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
            .map(|(_, known)| known);
        Self { name: name.chars().take(64).collect(), similar }
    }
}

impl FromStr for Field {
    type Err = UnknownField;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let folded = text.to_ascii_lowercase();
        let is_named = |field: &&Self| {
            let info = field.info();
            info.name == folded || info.aliases.contains(&folded.as_str())
        };
        Self::ALL.iter().find(is_named).copied().ok_or_else(|| {
            let names = Self::ALL.iter().flat_map(|field| {
                std::iter::once(field.info().name).chain(field.info().aliases.iter().copied())
            });
            UnknownField::new(text, names.chain(["since", "until", "day", "month"]))
        })
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = cell(&row, j) + usize::from(from != *to);
            next.push(replaced.min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_unique_and_found() {
        let mut seen = std::collections::BTreeSet::new();
        for field in Field::ALL {
            for name in std::iter::once(&field.info().name).chain(field.info().aliases) {
                assert!(seen.insert(*name), "{name}");
                assert_eq!(name.parse(), Ok(*field));
            }
        }
    }

    #[test]
    fn the_documented_fields_are_these() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/QUERY.md");
        let page = std::fs::read_to_string(path).unwrap();
        let table = fields_markdown();
        assert!(page.ends_with(&table), "docs/QUERY.md should end with:\n{table}");
    }

    #[test]
    fn a_misspelt_field_gets_a_suggestion() {
        let error = "contry".parse::<Field>().unwrap_err().to_string();
        assert_eq!(error, "there is no field 'contry'; did you mean 'country'?");
        let error = "xyzzyplugh".parse::<Field>().unwrap_err().to_string();
        assert_eq!(error, "there is no field 'xyzzyplugh'");
    }
}
