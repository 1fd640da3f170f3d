//! A set of ports in little room: a list while it is short, then a bit each.

/// Ports of the list.
const MAX_LISTED: usize = 64;
/// Words of 64 bits for all ports.
const WORDS: usize = 1_024;
/// Most bytes of [`Ports::text`].
const MAX_TEXT_BYTES: usize = 1_000;

/// A set of ports; at most 8 KiB.
#[derive(Clone, Debug)]
pub(super) enum Ports {
    Few(Vec<u16>),
    Many(Box<[u64]>),
}

impl Default for Ports {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Ports {
    pub(super) fn insert(&mut self, port: u16) {
        match self {
            Self::Few(list) => {
                if let Err(place) = list.binary_search(&port) {
                    list.insert(place, port);
                }
                if list.len() > MAX_LISTED {
                    let mut bits = vec![0u64; WORDS].into_boxed_slice();
                    list.iter().for_each(|port| set(&mut bits, *port));
                    *self = Self::Many(bits);
                }
            }
            Self::Many(bits) => set(bits, port),
        }
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        match self {
            Self::Few(list) => list.binary_search(&port).is_ok(),
            Self::Many(bits) => {
                bits.get(usize::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
            }
        }
    }

    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Few(list) => list.len() as u32,
            Self::Many(bits) => bits.iter().map(|word| word.count_ones()).sum(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|port| self.contains(*port))
    }

    /// `22-25,80`; cut with an ellipsis where it is long.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut ports = self.iter().peekable();
        while let Some(first) = ports.next() {
            let mut last = first;
            while ports.peek().is_some_and(|next| Some(*next) == last.checked_add(1)) {
                last = ports.next().unwrap_or(last);
            }
            if text.len() > MAX_TEXT_BYTES - 16 {
                text.push_str(",…");
                break;
            }
            let comma = if text.is_empty() { "" } else { "," };
            text.push_str(&match last == first {
                true => format!("{comma}{first}"),
                false => format!("{comma}{first}-{last}"),
            });
        }
        text
    }
}

fn set(bits: &mut [u64], port: u16) {
    if let Some(word) = bits.get_mut(usize::from(port / 64)) {
        *word |= 1 << (port % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(all: impl IntoIterator<Item = u16>) -> Ports {
        let mut ports = Ports::default();
        all.into_iter().for_each(|port| ports.insert(port));
        ports
    }

    #[test]
    fn ports_are_counted_once_and_written_as_ranges() {
        let few = ports([80, 22, 23, 22, 25, 24, 65_535]);
        assert_eq!((few.count(), few.text().as_str()), (6, "22-25,80,65535"));
        let all = ports(0..=u16::MAX);
        assert_eq!((all.count(), all.text().as_str()), (65_536, "0-65535"));
        assert!(all.contains(0) && all.contains(65_535) && !few.contains(21));
        let odd = ports((1..=u16::MAX).step_by(2));
        assert_eq!(odd.count(), 32_768);
        assert!(odd.text().len() <= MAX_TEXT_BYTES && odd.text().ends_with(",…"));
        assert_eq!(Ports::default().text(), "");
    }
}
