//! Which channels: names, and beginnings of names with a star.

/// A channel, or all channels that begin alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pattern {
    /// This channel.
    Exact(Box<[u8]>),
    /// Every channel that begins so.
    Prefix(Box<[u8]>),
}

impl Pattern {
    /// Reads `name` or `name*`; a star elsewhere is no pattern.
    pub(crate) fn new(text: &str) -> Option<Self> {
        Self::of(text.as_bytes())
    }

    /// The same of bytes from the wire.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (name, is_prefix) = match bytes.strip_suffix(b"*") {
            Some(name) => (name, true),
            None => (bytes, false),
        };
        if name.contains(&b'*') || (name.is_empty() && !is_prefix) {
            return None;
        }
        Some(if is_prefix { Self::Prefix(name.into()) } else { Self::Exact(name.into()) })
    }

    /// Whether a channel is meant.
    pub(crate) fn matches(&self, channel: &[u8]) -> bool {
        match self {
            Self::Exact(name) => **name == *channel,
            Self::Prefix(name) => channel.starts_with(name),
        }
    }

    /// Whether all that another means is meant by this too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Prefix(mine), Self::Prefix(theirs)) => theirs.starts_with(mine),
            (Self::Exact(_), Self::Prefix(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_is_every_channel_that_begins_so() {
        let pattern = |text| Pattern::new(text).unwrap();
        assert!(pattern("palisade.*").matches(b"palisade.auth.attempted"));
        assert!(!pattern("palisade.*").matches(b"palisade"));
        assert!(pattern("*").matches(b"") && pattern("a").matches(b"a"));
        assert!(!pattern("a").matches(b"ab"));
        assert!(pattern("a*").covers(&pattern("ab*")) && pattern("*").covers(&pattern("x")));
        assert!(!pattern("ab*").covers(&pattern("a*")) && !pattern("a").covers(&pattern("a*")));
        for text in ["", "a*b", "**"] {
            assert_eq!(Pattern::new(text), None, "{text}");
        }
    }
}
