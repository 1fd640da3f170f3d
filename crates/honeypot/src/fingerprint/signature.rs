//! Reads signature files in p0f's form (version 3): what the SYN of a known
//! system looks like, and which link has which packet size. Sections about
//! anything else are passed over.

use super::syn::{Quirks, TcpOption, Version};

/// Most signatures of a file; more are mistakes.
const MAX_SIGNATURES: usize = 4_096;
/// Longest name and flavour of a system, longest link, in bytes.
const MAX_LABEL_BYTES: usize = 128;
/// Options that 40 bytes can hold.
const MAX_OPTIONS: usize = 40;

/// What a signature stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The system or program with its flavour, such as `Linux 3.11 and newer`.
    pub name: String,
    /// Whether it is a program that makes packets itself, and no system.
    pub tool: bool,
    /// Whether it is the last resort, after all others.
    pub generic: bool,
}

/// How a window is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Any.
    Any,
    /// This one.
    Exactly(u16),
    /// A multiple of it.
    Modulo(u16),
    /// So many segments.
    Mss(u16),
    /// So many packets.
    Mtu(u16),
}

/// What the SYN of a system looks like; `None` is anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which of the file's labels.
    pub label: usize,
    /// The version of IP.
    pub version: Option<Version>,
    /// The initial TTL.
    pub ttl: u8,
    /// Whether senders draw the TTL, and `ttl` is the highest.
    pub random_ttl: bool,
    /// Length of the IP options.
    pub ip_options: u8,
    /// The maximum segment size.
    pub mss: Option<u16>,
    /// The window.
    pub window: Window,
    /// The window scale.
    pub scale: Option<u8>,
    /// The options.
    pub options: Vec<TcpOption>,
    /// What is unusual.
    pub quirks: Quirks,
    /// Whether there is data.
    pub payload: Option<bool>,
}

/// A packet size and the link that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The packet size in bytes.
    pub mtu: u32,
    /// The link, such as `Ethernet`.
    pub name: String,
}

/// A signature file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Labels, for [`Signature::label`].
    pub labels: Vec<Label>,
    /// Signatures of SYNs, in the order of the file.
    pub signatures: Vec<Signature>,
    /// Packet sizes.
    pub links: Vec<Link>,
    /// What could not be read: the line, counted from 1, and why. The first
    /// twenty.
    pub mistakes: Vec<(usize, &'static str)>,
}

/// Where in a file we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Syn,
    Link,
    Other,
}

impl File {
    /// Reads a file. Lines that cannot be read are left out and named.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let (mut section, mut link) = (Section::Other, None);
        // A label belongs to its section; signatures before one have none.
        let mut labelled = false;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                section = match name.trim_end_matches(']').trim() {
                    "tcp:request" => Section::Syn,
                    "mtu" => Section::Link,
                    _ => Section::Other,
                };
                (labelled, link) = (false, None);
                continue;
            }
            let read = match line.split_once('=') {
                _ if section == Section::Other => Ok(()),
                None => Err("neither a section nor 'name = value'"),
                Some((key, value)) => match (key.trim(), section, value.trim()) {
                    ("label", Section::Syn, value) => label(value).map(|label| {
                        file.labels.push(label);
                        labelled = true;
                    }),
                    ("label", _, value) if value.len() <= MAX_LABEL_BYTES => {
                        link = Some(value.to_owned());
                        Ok(())
                    }
                    ("label", ..) => Err("the label is too long"),
                    ("sig", Section::Syn, value) if labelled => file.add(value),
                    ("sig", Section::Link, value) => match (&link, value.parse()) {
                        (Some(_), _) if file.links.len() >= MAX_SIGNATURES => Err(TOO_MANY),
                        (Some(name), Ok(mtu)) => {
                            file.links.push(Link { mtu, name: name.clone() });
                            Ok(())
                        }
                        (None, _) => Err(NO_LABEL),
                        (_, Err(_)) => Err("a packet size is a number"),
                    },
                    ("sig", ..) => Err(NO_LABEL),
                    ("sys" | "classes" | "ua_os", ..) => Ok(()),
                    _ => Err("unknown key"),
                },
            };
            if let Err(why) = read
                && file.mistakes.len() < 20
            {
                file.mistakes.push((index + 1, why));
            }
        }
        file
    }

    fn add(&mut self, text: &str) -> Result<(), &'static str> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(TOO_MANY);
        }
        let label = self.labels.len().checked_sub(1).ok_or(NO_LABEL)?;
        self.signatures.push(signature(text, label)?);
        Ok(())
    }
}

const NO_LABEL: &str = "a signature without a label before it";
const TOO_MANY: &str = "more than 4096 signatures";

/// `type:class:name:flavour`.
fn label(text: &str) -> Result<Label, &'static str> {
    let mut parts = text.splitn(4, ':');
    let (Some(kind), Some(class), Some(name), Some(flavour)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a label has the form type:class:name:flavour");
    };
    let generic = match kind {
        "s" => false,
        "g" => true,
        _ => return Err("the type of a label is s or g"),
    };
    let name = format!("{} {}", name.trim(), flavour.trim()).trim().to_owned();
    if name.is_empty() || name.len() > MAX_LABEL_BYTES {
        return Err("the name of a label has 1 to 128 bytes");
    }
    Ok(Label { name, tool: class == "!", generic })
}

/// `version:ttl:ip options:mss:window,scale:options:quirks:payload`.
fn signature(text: &str, label: usize) -> Result<Signature, &'static str> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let [version, ttl, ip_options, mss, window, options, quirks, payload] = parts[..] else {
        return Err("a signature has eight parts with ':' between them");
    };
    let version = match version {
        "*" => None,
        "4" => Some(Version::V4),
        "6" => Some(Version::V6),
        _ => return Err("the version is 4, 6 or *"),
    };
    let (initial, random_ttl) =
        ttl.strip_suffix('-').map_or((ttl, false), |initial| (initial, true));
    let bad_ttl = "the TTL is 1 to 255, with '-' behind it, or observed + hops";
    let ttl = match initial.split_once('+') {
        Some((seen, hops)) => match (seen.parse::<u8>(), hops.parse::<u8>()) {
            (Ok(seen), Ok(hops)) => seen.checked_add(hops),
            _ => None,
        },
        None => initial.parse().ok(),
    };
    let ttl = ttl.filter(|ttl| *ttl != 0).ok_or(bad_ttl)?;
    let (size, scale) = window.split_once(',').ok_or("the window has the form size,scale")?;
    let options = match options {
        "" => Vec::new(),
        list => list.split(',').map(option).collect::<Result<_, _>>()?,
    };
    if options.len() > MAX_OPTIONS {
        return Err("more options than a packet holds");
    }
    let mut set = Quirks::default();
    for name in quirks.split(',').filter(|name| !name.is_empty()) {
        let found = Quirks::NAMES.iter().find(|(_, known)| *known == name);
        set = set.with(found.ok_or("an unknown quirk")?.0);
    }
    let payload = match payload {
        "0" => Some(false),
        "+" => Some(true),
        "*" => None,
        _ => return Err("the payload is 0, + or *"),
    };
    Ok(Signature {
        label,
        version,
        ttl,
        random_ttl,
        ip_options: ip_options.parse().map_err(|_| "the length of IP options is a number")?,
        mss: any(mss).map_err(|()| "the segment size is a number or *")?,
        window: window_size(size).ok_or("the window is a number, *, %n, mss*n or mtu*n")?,
        scale: any(scale).map_err(|()| "the window scale is a number or *")?,
        options,
        quirks: set,
        payload,
    })
}

/// A number, or `*` for any.
fn any<T: std::str::FromStr>(text: &str) -> Result<Option<T>, ()> {
    if text == "*" { Ok(None) } else { text.parse().map(Some).map_err(|_| ()) }
}

fn window_size(text: &str) -> Option<Window> {
    if text == "*" {
        return Some(Window::Any);
    }
    let number = |text: &str| text.parse::<u16>().ok();
    let positive = |text: &str| number(text).filter(|number| *number != 0);
    if let Some(divisor) = text.strip_prefix('%') {
        return positive(divisor).map(Window::Modulo);
    }
    if let Some(times) = text.strip_prefix("mss*") {
        return positive(times).map(Window::Mss);
    }
    if let Some(times) = text.strip_prefix("mtu*") {
        return positive(times).map(Window::Mtu);
    }
    number(text).map(Window::Exactly)
}

fn option(text: &str) -> Result<TcpOption, &'static str> {
    Ok(match text {
        "nop" => TcpOption::Nop,
        "mss" => TcpOption::Mss,
        "ws" => TcpOption::Scale,
        "sok" => TcpOption::SackPermitted,
        "sack" => TcpOption::Sack,
        "ts" => TcpOption::Timestamps,
        _ => {
            let end = text.strip_prefix("eol+").map(|bytes| bytes.parse().map(TcpOption::End));
            let other = || text.strip_prefix('?').map(|kind| kind.parse().map(TcpOption::Unknown));
            end.or_else(other).and_then(Result::ok).ok_or("an unknown option")?
        }
    })
}
