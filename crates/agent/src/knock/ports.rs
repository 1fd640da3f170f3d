//! Which ports to knock at: a sequence of the settings, or one that follows
//! from a secret and the time, so that it is of no use to whoever overhears it.

use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_event::Timestamp;
use sha2::Sha256;

/// How long a sequence that follows from a secret is the one, in seconds.
const STEP_SECS: i64 = 30;
/// Ports of such a sequence: about 76 bits.
const PORTS: usize = 5;
/// They are of these.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 59_999;
/// A secret has at least so many characters.
const MIN_SECRET_CHARS: usize = 32;
/// Longest file with a secret, in bytes.
const MAX_SECRET_BYTES: u64 = 1024;

/// A secret that client and machine share. One for each machine: a sequence
/// that one has accepted another would accept too.
#[derive(Clone)]
pub struct KnockSecret(Vec<u8>);

impl std::fmt::Debug for KnockSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl KnockSecret {
    /// Reads the file of a secret.
    ///
    /// # Errors
    /// One sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(path).map(|metadata| metadata.len());
        let text = match size {
            Ok(size) if size <= MAX_SECRET_BYTES => std::fs::read_to_string(path),
            Ok(_) => return Err(format!("{} is too long for a secret", path.display())),
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|what| format!("{}: {what}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() < MIN_SECRET_CHARS || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!(
                "a secret has {MIN_SECRET_CHARS} characters or more; make one with `palisade knock secret FILE`"
            ));
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    /// A new one, as text for its file.
    #[must_use]
    pub fn generate() -> String {
        rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The ports of a step, all different.
    #[must_use]
    pub fn ports(&self, step: i64) -> Vec<u16> {
        let mut ports = Vec::with_capacity(PORTS);
        let span = u64::from(LAST_PORT - FIRST_PORT) + 1;
        // Each round gives 16 candidates; two are enough but for one in 10^30.
        for round in 0..8_u8 {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { break };
            mac.update(b"palisade knock 1");
            mac.update(&step.to_be_bytes());
            mac.update(&[round]);
            for four in mac.finalize().into_bytes().chunks_exact(4) {
                let number = four.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
                let port = u16::try_from(number % span).map_or(FIRST_PORT, |at| FIRST_PORT + at);
                if ports.len() < PORTS && !ports.contains(&port) {
                    ports.push(port);
                }
            }
        }
        ports
    }
}

/// The step of a moment.
#[must_use]
pub fn knock_step(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(STEP_SECS * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_its_own_different_ports_that_both_sides_know() {
        let secret = KnockSecret::parse(&KnockSecret::generate()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for step in 59_000_000..59_001_000 {
            let ports = secret.ports(step);
            assert_eq!(ports.len(), PORTS);
            let different: std::collections::BTreeSet<u16> = ports.iter().copied().collect();
            assert_eq!(different.len(), PORTS);
            assert!(ports.iter().all(|port| (FIRST_PORT..=LAST_PORT).contains(port)));
            assert!(seen.insert(ports));
        }
        let fixed = KnockSecret::parse(&"a".repeat(32)).unwrap();
        // A client of another version must knock at the same doors.
        assert_eq!(fixed.ports(1), fixed.clone().ports(1));
        assert_eq!(format!("{fixed:?}"), "***");
        assert!(KnockSecret::parse("short").is_err());
    }

    #[test]
    fn a_step_lasts_30_seconds() {
        let step = |millis| knock_step(Timestamp::from_millis(millis));
        assert_eq!((step(0), step(29_999), step(30_000)), (0, 0, 1));
    }
}
