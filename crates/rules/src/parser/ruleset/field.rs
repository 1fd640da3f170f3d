//! What a name in a parser's file stands for: a field of a sighting, or an
//! attribute of the event.

/// Names that are fields; every other one is an attribute.
const FIELDS: &[(&str, Field)] = &[
    ("client", Field::Client),
    ("host", Field::Host),
    ("message", Field::Message),
    ("method", Field::Method),
    ("pid", Field::Pid),
    ("port", Field::Port),
    ("reason", Field::Reason),
    ("repeat", Field::Repeat),
    ("request", Field::Request),
    ("source", Field::Source),
    ("status", Field::Status),
    ("target_port", Field::TargetPort),
    ("time", Field::Time),
    ("user", Field::User),
];

/// Where a captured text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// What the client calls itself.
    Client,
    /// The machine.
    Host,
    /// What patterns look at (of JSON lines).
    Message,
    /// The method of a request, or of a login.
    Method,
    /// The process id.
    Pid,
    /// The client's port.
    Port,
    /// The program's reason.
    Reason,
    /// How many times.
    Repeat,
    /// What was asked for.
    Request,
    /// The client's address.
    Source,
    /// The status of an answer.
    Status,
    /// The port that was aimed at.
    TargetPort,
    /// When.
    Time,
    /// The login name.
    User,
    /// An attribute of this name.
    Attribute(Box<str>),
}

impl Field {
    /// What a name stands for, or what is wrong with it.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
            return Ok(field.clone());
        }
        attribute(name).map(Self::Attribute)
    }
}

/// The name of an attribute.
pub(super) fn attribute(name: &str) -> Result<Box<str>, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    match !name.is_empty()
        && name.len() <= palisade_event::MAX_ATTRIBUTE_NAME_BYTES
        && name.bytes().all(plain)
    {
        true => Ok(name.into()),
        false => Err(format!(
            "'{}' can be no attribute; use 1 to 64 of a-z, 0-9 and _",
            name.escape_default()
        )),
    }
}
