//! The fields of a sighting, as filters of scenarios name them.

use std::fmt;
use std::net::IpAddr;

use palisade_event::query::{FieldType, FilterField, MAX_COMPARED_BYTES, UnknownField};

use crate::Sighting;

macro_rules! fields {
    ($($variant:ident $name:literal [$($alias:literal),*] $type:ident $about:literal;)*) => {
        /// A field of a sighting. Named as in queries where queries have it too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum SightingField {
            $(#[doc = $about] $variant,)*
        }

        impl SightingField {
            /// Every field, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Other names of it.
            #[must_use]
            pub fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($alias),*]),* }
            }

            /// What it holds, in one sentence.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => $about),* }
            }

            fn kind_of_values(self) -> FieldType {
                match self { $(Self::$variant => FieldType::$type),* }
            }
        }
    };
}

fields! {
    Kind "kind" [] Keyword "What happened, such as auth.attempted (docs/EVENTS.md).";
    Service "service" ["analyzer", "daemon"] Keyword "The program that was attacked: the parser's name, such as sshd or nginx.";
    Host "host" [] Keyword "The machine where it was seen.";
    Sensor "sensor" [] Keyword "The sensor that told of it: the name of its key.";
    Ip "ip" ["source", "source_ip"] Ip "The address it came from.";
    Port "port" ["target_port"] Integer "The port it was aimed at.";
    User "user" ["username", "login"] Text "The login name that was tried.";
    Outcome "outcome" [] Keyword "How a login ended: accepted or failed.";
    Request "request" [] Text "The path with the query, or what else was sent.";
    Path "path" [] Text "The path of an HTTP request, without its query.";
    Method "method" [] Keyword "The method of an HTTP request, in capitals.";
    Status "status" [] Integer "The status with which an HTTP server answered.";
    Client "client" ["user_agent", "agent"] Text "What the client calls itself.";
    Reason "reason" [] Text "The reason that the program gives.";
    Asn "asn" [] Integer "Autonomous system number of the source.";
}

/// A value of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    Text(&'a [u8]),
    Address(IpAddr),
    Number(i64),
}

impl SightingField {
    /// What a sighting holds in this field; text is cut where comparing ends.
    #[inline]
    pub(crate) fn of<'a>(self, sighting: &'a Sighting<'a>) -> Option<Seen<'a>> {
        let text = |bytes: &'a [u8]| Seen::Text(bytes.get(..MAX_COMPARED_BYTES).unwrap_or(bytes));
        match self {
            Self::Kind => Some(text(sighting.kind.as_str().as_bytes())),
            Self::Service => {
                (!sighting.service.is_empty()).then(|| text(sighting.service.as_bytes()))
            }
            Self::Host => sighting.host.map(text),
            Self::Sensor => sighting.sensor.map(text),
            Self::Ip => sighting.source.map(|ip| Seen::Address(ip.to_canonical())),
            Self::Port => sighting.target_port.map(|port| Seen::Number(port.into())),
            Self::User => sighting.user.map(text),
            Self::Outcome => sighting.outcome.map(|outcome| text(outcome.as_str().as_bytes())),
            Self::Request => sighting.request.map(text),
            Self::Path => sighting.path().map(text),
            Self::Method => sighting.method.map(text),
            Self::Status => sighting.status.map(|status| Seen::Number(status.into())),
            Self::Client => sighting.client.map(text),
            Self::Reason => sighting.reason.map(text),
            Self::Asn => sighting.asn.map(|asn| Seen::Number(asn.into())),
        }
    }
}

impl FilterField for SightingField {
    fn named(name: &str) -> Result<Self, UnknownField> {
        let folded = name.to_ascii_lowercase();
        Self::ALL
            .iter()
            .find(|field| field.name() == folded || field.aliases().contains(&folded.as_str()))
            .copied()
            .ok_or_else(|| {
                let names = Self::ALL.iter().flat_map(|field| {
                    std::iter::once(field.name()).chain(field.aliases().iter().copied())
                });
                UnknownField::new(name, names)
            })
    }

    fn field_type(self) -> FieldType {
        self.kind_of_values()
    }

    fn fold(self, value: &str) -> String {
        match self {
            Self::Kind | Self::Outcome => value.to_ascii_lowercase(),
            Self::Method => value.to_ascii_uppercase(),
            _ => value.to_owned(),
        }
    }
}

impl fmt::Display for SightingField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The table of fields in `docs/DETECT.md`.
#[must_use]
pub fn sighting_fields_markdown() -> String {
    let mut table = String::from("| field | other names | type | holds |\n|---|---|---|---|\n");
    for field in SightingField::ALL {
        let aliases: Vec<String> = field.aliases().iter().map(|name| format!("`{name}`")).collect();
        let kind = format!("{:?}", field.kind_of_values()).to_ascii_lowercase();
        let (name, about) = (field.name(), field.description());
        table.push_str(&format!("| `{name}` | {} | {kind} | {about} |\n", aliases.join(", ")));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_fields_are_these_and_documented_scenarios_can_be_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/DETECT.md");
        let page = std::fs::read_to_string(path).unwrap();
        let table = sighting_fields_markdown();
        assert!(page.ends_with(&table), "docs/DETECT.md should end with:\n{table}");
        let mut scenarios = 0;
        for block in page.split("```toml scenario\n").skip(1) {
            let (text, _) = block.split_once("```").unwrap();
            crate::scenario::parse_scenario(text, "docs/DETECT.md").unwrap();
            scenarios += 1;
        }
        assert_eq!(scenarios, 4);
    }

    #[test]
    fn names_and_aliases_are_unique_and_found() {
        let mut seen = std::collections::BTreeSet::new();
        for field in SightingField::ALL {
            for name in std::iter::once(&field.name()).chain(field.aliases()) {
                assert!(seen.insert(*name), "{name}");
                assert_eq!(SightingField::named(name), Ok(*field));
            }
        }
    }
}
