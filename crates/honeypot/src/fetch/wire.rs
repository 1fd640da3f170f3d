//! What the honeypots and the fetcher say to each other, message by message
//! over a pair of sockets that keeps messages apart (SOCK_DGRAM of unix(7)). The pair
//! outlives both processes: a message for one that has ended is of a number
//! that its successor does not know, and is left out.
//!
//! Neither side trusts the other: the honeypots talk to strangers, the fetcher
//! to their servers. Every message is bounded and may be refused.

use serde::{Deserialize, Serialize};

use crate::shell::fetch::{Outcome, Request};

/// Longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 40 * 1024;
/// Most bytes of a file in one message.
pub const PIECE_BYTES: usize = 32 * 1024;
/// Longest media type that is passed on, in bytes.
pub const MAX_KIND_BYTES: usize = 128;

const HEAD: u8 = b'H';
const DATA: u8 = b'D';

/// The message is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed message of the fetcher or the honeypots")]
pub struct Malformed;

/// A wish of the honeypots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Tells answers apart; drawn by the honeypots.
    pub number: u64,
    /// What is wished for.
    pub request: Request,
}

impl Wish {
    /// The message; `None` where it would be too long.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let bytes = serde_json::to_vec(self).ok()?;
        (bytes.len() <= MAX_MESSAGE_BYTES).then_some(bytes)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`], also where a part of the wish breaks a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let wish: Self = serde_json::from_slice(bytes).map_err(|_| Malformed)?;
        if wish.request.is_within_limits() { Ok(wish) } else { Err(Malformed) }
    }
}

/// A message of the fetcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// How it went. Of a file so many bytes follow.
    Head {
        /// Of which wish.
        number: u64,
        /// How it went; a file has no bytes here.
        outcome: Outcome,
        /// Bytes of the file.
        length: usize,
    },
    /// The next bytes of a file.
    Data {
        /// Of which wish.
        number: u64,
        /// Some bytes.
        bytes: Vec<u8>,
    },
}

impl Answer {
    /// The messages of an outcome, in order.
    #[must_use]
    pub fn messages(number: u64, outcome: &Outcome) -> Vec<Vec<u8>> {
        let mut head = vec![HEAD];
        head.extend(number.to_be_bytes());
        let (bare, bytes) = match outcome {
            Outcome::Fetched { bytes, kind, millis } => {
                let kind = kind.as_ref().filter(|kind| kind.len() <= MAX_KIND_BYTES).cloned();
                (Outcome::Fetched { bytes: Vec::new(), kind, millis: *millis }, bytes.as_slice())
            }
            other => (other.clone(), [].as_slice()),
        };
        head.extend((bytes.len() as u64).to_be_bytes());
        // An enum of numbers and texts can always be written.
        head.extend(serde_json::to_vec(&bare).unwrap_or_default());
        let pieces = bytes.chunks(PIECE_BYTES).map(|piece| {
            let mut message = vec![DATA];
            message.extend(number.to_be_bytes());
            message.extend_from_slice(piece);
            message
        });
        std::iter::once(head).chain(pieces).collect()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (name, rest) = bytes.split_first().ok_or(Malformed)?;
        let (number, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let number = u64::from_be_bytes(*number);
        match *name {
            HEAD => {
                let (length, json) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
                let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| Malformed)?;
                let outcome: Outcome = serde_json::from_slice(json).map_err(|_| Malformed)?;
                match &outcome {
                    Outcome::Fetched { bytes, kind, .. }
                        if bytes.is_empty()
                            && kind.as_ref().is_none_or(|kind| kind.len() <= MAX_KIND_BYTES) => {}
                    Outcome::Fetched { .. } => return Err(Malformed),
                    _ if length > 0 => return Err(Malformed),
                    _ => {}
                }
                Ok(Self::Head { number, outcome, length })
            }
            DATA if !rest.is_empty() && rest.len() <= PIECE_BYTES => {
                Ok(Self::Data { number, bytes: rest.to_vec() })
            }
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shell::fetch::Url;

    #[test]
    fn what_is_said_is_understood() {
        let url = Url::parse("http://u:p@evil.test/a").unwrap();
        let wish = Wish { number: 1 << 60, request: Request::new("wget", url) };
        assert_eq!(Wish::decode(&wish.encode().unwrap()), Ok(wish.clone()));
        let mut long = wish;
        long.request.url.path = "/".repeat(5_000);
        assert_eq!(Wish::decode(&long.encode().unwrap()), Err(Malformed));
        let bytes = vec![7; PIECE_BYTES + 1];
        let outcome = Outcome::Fetched { bytes, kind: Some("a/b".into()), millis: 12 };
        let said = Answer::messages(9, &outcome);
        let lengths: Vec<_> = said
            .iter()
            .map(|message| match Answer::decode(message).unwrap() {
                Answer::Head { number: 9, length, outcome: Outcome::Fetched { .. } } => length,
                Answer::Data { number: 9, bytes } => bytes.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [PIECE_BYTES + 1, PIECE_BYTES, 1]);
        assert!(said.iter().all(|message| message.len() <= MAX_MESSAGE_BYTES));
        let said = Answer::messages(9, &Outcome::Status(403));
        assert_eq!(
            Answer::decode(&said[0]),
            Ok(Answer::Head { number: 9, outcome: Outcome::Status(403), length: 0 })
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Wish::decode(&bytes);
            let _ = Answer::decode(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = HEAD;
            }
            let _ = Answer::decode(&bytes);
        }
    }
}
