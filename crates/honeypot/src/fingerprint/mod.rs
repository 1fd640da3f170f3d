//! Passive fingerprints: what the first packet of a connection says about the
//! system that sent it. The kernel keeps that packet for a listener that asks
//! ([`palisade_savedsyn`]); it needs no rights and no capture library. The uptime is not
//! told: one packet cannot, and clocks are drawn anew for each connection.

pub mod matcher;
pub mod signature;
pub mod syn;

use std::io::{self, Read};
use std::path::Path;

pub use matcher::Quality;
use palisade_event::{Event, Fingerprints};
use signature::File;
pub use syn::Syn;

/// Our own signatures.
const OWN: &str = include_str!("../../signatures/syn.fp");
/// Where Debian's package p0f has its signatures.
pub(crate) const DEBIAN_SIGNATURES: &str = "/etc/p0f/p0f.fp";
/// Largest signature file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What a SYN says about its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The system, such as `Linux 4.20 and newer`.
    pub os: Option<Box<str>>,
    /// The program, where it makes its packets without the system.
    pub tool: Option<Box<str>>,
    /// How well the signature of system or program fits.
    pub quality: Option<Quality>,
    /// Network hops to the sender.
    pub distance: Option<u8>,
    /// The largest packet of its link, in bytes.
    pub mtu: Option<u32>,
    /// The link that has such packets.
    pub link: Option<Box<str>>,
    /// The raw signature, from which all of this can be found again.
    pub raw: String,
}

/// The signatures that are known: our own, then those of a file.
#[derive(Clone, Debug)]
pub struct Signatures {
    files: Vec<File>,
}

impl Signatures {
    /// Our own ones.
    #[must_use]
    pub fn own() -> Self {
        Self { files: vec![File::parse(OWN)] }
    }

    /// Adds those of a file in p0f's form; they are asked after ours. Returns
    /// the lines that could not be read, at most twenty.
    pub fn add(&mut self, text: &str) -> Vec<(usize, &'static str)> {
        let mut file = File::parse(text);
        let mistakes = std::mem::take(&mut file.mistakes);
        self.files.push(file);
        mistakes
    }

    /// Adds those of the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is larger than 1 MiB.
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB"));
        }
        for (line, why) in self.add(&String::from_utf8_lossy(&bytes)) {
            tracing::warn!(file = %path.display(), line, why, "a signature was not understood");
        }
        Ok(())
    }

    /// Our own and those of the file that is set, where one is.
    ///
    /// # Errors
    /// A sentence, where the operator named a file that cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let mut signatures = Self::own();
        if path.as_os_str().is_empty() {
            return Ok(signatures);
        }
        match signatures.read(path) {
            Ok(()) => {}
            // It need not be installed.
            Err(error) if path.as_os_str() == DEBIAN_SIGNATURES => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, file = DEBIAN_SIGNATURES, "cannot read signatures");
                }
            }
            Err(error) => {
                return Err(format!("p0f_signatures: cannot read '{}': {error}", path.display()));
            }
        }
        Ok(signatures)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.iter().map(|file| file.signatures.len()).sum()
    }

    /// Says what a SYN gives away.
    #[must_use]
    pub fn identify(&self, syn: &Syn) -> Fingerprint {
        let found = matcher::find(&self.files, syn);
        let (mut os, mut tool) = (None, None);
        if let Some(found) = &found {
            let name = Some(found.label.name.as_str().into());
            *(if found.label.tool { &mut tool } else { &mut os }) = name;
        }
        let mtu = syn.mtu();
        let mut links = self.files.iter().flat_map(|file| &file.links);
        let link = mtu.and_then(|mtu| links.find(|link| link.mtu == mtu));
        Fingerprint {
            os,
            tool,
            quality: found.as_ref().map(|found| found.quality),
            distance: found.map_or_else(|| syn.distance(), |found| found.distance),
            mtu,
            link: link.map(|link| link.name.as_str().into()),
            raw: syn.to_string(),
        }
    }
}

/// Writes what is known of the first packet into an event.
pub(crate) fn record(mut event: Event, fingerprint: Option<Fingerprint>) -> Event {
    let Some(found) = fingerprint else { return event.with("syn_source", "none") };
    let prints = Fingerprints {
        os: found.os,
        distance: found.distance,
        link: found.link,
        ..event.fingerprints.take().map_or_else(Fingerprints::default, |prints| *prints)
    };
    event.fingerprints = (prints != Fingerprints::default()).then(|| Box::new(prints));
    event = event.with("syn_source", "saved").with("syn_signature", found.raw.as_str());
    if let Some(mtu) = found.mtu {
        event = event.with("mtu", i64::from(mtu));
    }
    if let Some(quality) = found.quality {
        event = event.with("os_match", quality.as_str());
    }
    if let Some(tool) = found.tool {
        event = event.with("syn_tool", &*tool);
    }
    event
}
