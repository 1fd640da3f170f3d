//! Events as lines for other databases: 31 columns, tab between them, missing
//! values empty (0 in numbers), escapes of ClickHouse's TabSeparated for `\`.

use std::io::Write;

use palisade_event::{Event, Outcome, Untrusted};

/// Names of the columns, in order.
pub(crate) const COLUMNS: &[&str] = &[
    "id_high",
    "id_low",
    "observed_at",
    "received_at",
    "kind",
    "domain",
    "sensor",
    "category",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "transport",
    "session",
    "username",
    "password",
    "outcome",
    "request",
    "client",
    "os",
    "hassh",
    "user_agent",
    "payload",
    "cve",
    "country",
    "city",
    "asn",
    "org",
    "lat",
    "lon",
    "attributes",
];

/// Writes one event and the end of the line.
pub(crate) fn write(out: &mut impl Write, event: &Event) -> std::io::Result<()> {
    let geo = event.source_geo.as_deref();
    let login = event.credentials.as_ref();
    let prints = event.fingerprints.as_deref();
    write!(
        out,
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t",
        (event.id.as_u128() >> 64) as u64,
        event.id.as_u128() as u64,
        event.observed_at.as_millis(),
        event.received_at.unwrap_or(event.observed_at).as_millis(),
        event.kind,
        event.domain,
        event.sensor,
        event.category.as_ref().map_or("", |name| name.as_str()),
    )?;
    for end in [&event.source, &event.target] {
        match end {
            Some(end) => write!(out, "{}\t{}\t", end.address, end.port.unwrap_or(0))?,
            None => write!(out, "\t0\t")?,
        }
    }
    let transport = event.target.and_then(|end| end.transport);
    write!(
        out,
        "{}\t{}\t",
        transport.map_or("", |name| name.as_str()),
        event.session.as_ref().map_or("", |name| name.as_str())
    )?;
    text(out, login.and_then(|login| login.username.as_ref()))?;
    text(out, login.and_then(|login| login.password.as_ref()))?;
    let outcome = login.and_then(|login| login.outcome).map_or("", Outcome::as_str);
    write!(out, "{outcome}\t")?;
    text(out, event.request.as_ref())?;
    text(out, event.client.as_ref())?;
    let print = |value: Option<&str>| value.unwrap_or_default().to_owned();
    write!(out, "{}\t", print(prints.and_then(|prints| prints.os.as_deref())))?;
    write!(out, "{}\t", print(prints.and_then(|prints| prints.hassh.as_deref())))?;
    text(out, prints.and_then(|prints| prints.user_agent.as_ref()))?;
    if let Some(payload) = event.payload {
        write!(out, "{payload}")?;
    }
    let country = geo.and_then(|geo| geo.country);
    let attributes = match event.attributes.is_empty() {
        true => String::new(),
        false => serde_json::to_string(&event.attributes)?,
    };
    writeln!(
        out,
        "\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{attributes}",
        event.cve.as_deref().unwrap_or_default(),
        country.map(|code| code.to_string()).unwrap_or_default(),
        geo.and_then(|geo| geo.city.as_deref()).unwrap_or_default(),
        geo.and_then(|geo| geo.asn).unwrap_or(0),
        geo.and_then(|geo| geo.organisation.as_deref()).unwrap_or_default(),
        geo.and_then(|geo| geo.lat).unwrap_or(0.0),
        geo.and_then(|geo| geo.lon).unwrap_or(0.0),
    )
}

fn text(out: &mut impl Write, value: Option<&Untrusted>) -> std::io::Result<()> {
    if let Some(value) = value {
        let lossy = value.to_lossy();
        for c in lossy.chars() {
            match c {
                '\\' => out.write_all(b"\\\\")?,
                c if c.is_control() => write!(out, "?")?,
                c => write!(out, "{c}")?,
            }
        }
    }
    out.write_all(b"\t")
}
