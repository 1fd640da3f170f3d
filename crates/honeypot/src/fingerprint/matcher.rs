//! Finds what sent a SYN: the first signature that fits; one of the last
//! resort where no other does; and where none does, the first that would fit
//! had a router not changed the packet.

use super::signature::{File, Label, Signature, Window};
use super::syn::{MAX_DISTANCE, Multiple, Quirks, Syn, Version};

/// How well a signature fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// In every part, and it stands for certain versions.
    Exact,
    /// In every part, but it is a last resort.
    Generic,
    /// Apart from what a router changes, or the TTL.
    Fuzzy,
}

impl Quality {
    /// Its name in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Generic => "generic",
            Self::Fuzzy => "fuzzy",
        }
    }
}

/// A signature that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// What it stands for.
    pub label: &'a Label,
    /// How well it fits.
    pub quality: Quality,
    /// Hops from the sender; unknown where the TTL says nothing about them.
    pub distance: Option<u8>,
}

/// Whether a signature fits.
enum Fit {
    Exact,
    Fuzzy,
    Not,
}

/// Finds the best signature of several files; the earlier file goes first.
#[must_use]
pub fn find<'a>(files: &'a [File], syn: &Syn) -> Option<Match<'a>> {
    let (mut generic, mut fuzzy) = (None, None);
    for file in files {
        for signature in &file.signatures {
            let fit = fit(signature, syn);
            if matches!(fit, Fit::Not) {
                continue;
            }
            let Some(label) = file.labels.get(signature.label) else { continue };
            match fit {
                Fit::Exact if label.generic => _ = generic.get_or_insert((label, signature)),
                Fit::Exact => return Some(matched(label, signature, syn, Quality::Exact)),
                // A tool makes its packets itself: nearly right is wrong.
                Fit::Fuzzy if !label.tool => _ = fuzzy.get_or_insert((label, signature)),
                Fit::Fuzzy | Fit::Not => {}
            }
        }
    }
    let generic = generic.map(|(label, found)| matched(label, found, syn, Quality::Generic));
    generic.or_else(|| fuzzy.map(|(label, found)| matched(label, found, syn, Quality::Fuzzy)))
}

fn matched<'a>(label: &'a Label, signature: &Signature, syn: &Syn, quality: Quality) -> Match<'a> {
    let distance = if signature.random_ttl {
        None
    } else {
        let hops = signature.ttl.checked_sub(syn.ttl).filter(|hops| *hops <= MAX_DISTANCE);
        hops.or_else(|| syn.distance())
    };
    Match { label, quality, distance }
}

fn fit(signature: &Signature, syn: &Syn) -> Fit {
    let is = |wanted: Option<u16>, found: u16| wanted.is_none_or(|wanted| wanted == found);
    // The options first: they decide most.
    if signature.options != syn.options
        || signature.version.is_some_and(|version| version != syn.version)
        || signature.ip_options != syn.ip_options
        || !is(signature.mss, syn.mss)
        || !is(signature.scale.map(u16::from), syn.scale.into())
        || signature.payload.is_some_and(|payload| payload != syn.payload)
        || !window_fits(signature.window, syn)
    {
        return Fit::Not;
    }
    // What only the other version of IP has does not count.
    let wanted = match (signature.version, syn.version) {
        (None, Version::V4) => signature.quirks.without(Quirks::FLOW),
        (None, Version::V6) => {
            let four = Quirks::DF.with(Quirks::ID_WITH_DF).with(Quirks::NO_ID);
            signature.quirks.without(four)
        }
        (Some(_), _) => signature.quirks,
    };
    let mut fit = Fit::Exact;
    if wanted != syn.quirks {
        // Routers take away DF and the identification, and some set ECN.
        let gone = wanted.without(syn.quirks);
        let new = syn.quirks.without(wanted);
        let routers = gone.without(Quirks::DF.with(Quirks::ID_WITH_DF)).is_empty()
            && new.without(Quirks::NO_ID.with(Quirks::ECN)).is_empty();
        if !routers {
            return Fit::Not;
        }
        fit = Fit::Fuzzy;
    }
    match signature.ttl.checked_sub(syn.ttl) {
        None if signature.random_ttl => Fit::Not,
        Some(hops) if hops <= MAX_DISTANCE || signature.random_ttl => fit,
        _ => Fit::Fuzzy,
    }
}

fn window_fits(window: Window, syn: &Syn) -> bool {
    match window {
        Window::Any => true,
        Window::Exactly(size) => size == syn.window,
        Window::Modulo(size) => syn.window.is_multiple_of(size),
        Window::Mss(times) => syn.multiple == Some(Multiple::Mss(times)),
        Window::Mtu(times) => syn.multiple == Some(Multiple::Mtu(times)),
    }
}
