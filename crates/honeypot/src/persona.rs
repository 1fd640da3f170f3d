//! Whom the zone pretends to be: a small Linux device with a web page and a
//! BusyBox shell. Every made-up fact comes from one seed, so that services
//! agree with each other, answers stay the same for ever and no two
//! installations look alike.

mod machine;
mod manifest;
mod parts;

use palisade_event::SensorId;

pub use self::machine::System;
pub(crate) use self::machine::{ElfKind, Machine, Process, User};
pub(crate) use self::manifest::Manifest;
use crate::PersonaConfig;

/// The made-up device. Every text is plain ASCII.
#[derive(Clone, Debug)]
pub struct Persona {
    /// Its host name.
    pub hostname: String,
    /// What it is, as its web page says: `Network Video Recorder`.
    pub product: &'static str,
    /// The model number on the web page.
    pub model: String,
    /// The firmware version on the web page.
    pub firmware: String,
    /// BusyBox version, `1.22.1`.
    pub busybox: &'static str,
    /// When that BusyBox was built, as its banner shows it.
    pub built: String,
    /// Kernel release, `3.10.14`.
    pub kernel: &'static str,
    /// The processor.
    pub cpu: &'static Cpu,
    /// BogoMIPS of the processor, in hundredths.
    pub bogomips: u32,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Memory in use in KiB.
    pub used_kib: u32,
    /// Hardware address of its network port.
    pub mac: String,
    /// Process id of the first service; the others follow it.
    pub first_pid: u32,
    /// Value of the HTTP `Server` header.
    pub server: String,
    /// A name for the session cookie and form of the web page.
    pub token: String,
    /// What all of it is drawn from.
    pub(crate) seed: u64,
}

/// A processor as `/proc/cpuinfo` and `uname -m` show it.
#[derive(Debug)]
pub struct Cpu {
    /// `uname -m`.
    pub machine: &'static str,
    /// `model name` or `cpu model`.
    pub model: &'static str,
    /// `e_machine` of its ELF files (System V ABI).
    pub elf_machine: u8,
    /// Whether its ELF files are big-endian.
    pub big_endian: bool,
}

const CPUS: [Cpu; 4] = [
    Cpu {
        machine: "armv7l",
        model: "ARMv7 Processor rev 5 (v7l)",
        elf_machine: 40,
        big_endian: false,
    },
    Cpu {
        machine: "armv5tejl",
        model: "ARM926EJ-S rev 5 (v5l)",
        elf_machine: 40,
        big_endian: false,
    },
    Cpu { machine: "mips", model: "MIPS 24KEc V5.0", elf_machine: 8, big_endian: false },
    Cpu { machine: "mips", model: "MIPS 74Kc V4.12", elf_machine: 8, big_endian: true },
];
const KERNELS: [&str; 8] =
    ["2.6.36", "3.0.8", "3.3.8", "3.4.35", "3.10.14", "3.10.49", "3.18.20", "4.9.37"];
/// BusyBox releases with the year they came out in.
const BUSYBOXES: [(&str, u32); 8] = [
    ("1.16.1", 2010),
    ("1.18.4", 2011),
    ("1.19.4", 2012),
    ("1.20.2", 2012),
    ("1.22.1", 2014),
    ("1.23.2", 2015),
    ("1.25.1", 2016),
    ("1.26.2", 2017),
];
/// How many of [`PRODUCTS`], from the end, can have a server behind them.
const GATEWAYS: usize = 3;
const PRODUCTS: [(&str, &[&str]); 6] = [
    ("Network Video Recorder", &["nvr", "NVR", "dvr", "LocalHost"]),
    ("Digital Video Recorder", &["dvr", "DVR", "hidvr", "localhost"]),
    ("Network Camera", &["ipcam", "IPC", "camera", "IPCamera"]),
    ("Wireless Router", &["router", "gw", "AP", "wlan"]),
    ("Broadband Router", &["router", "cpe", "gateway", "dsl"]),
    ("Wireless Access Point", &["ap", "AP", "wap", "wifi"]),
];
/// Address blocks of makers of such devices' network chips.
const MAKERS: [&str; 4] = ["00:0C:43", "00:E0:4C", "00:12:16", "00:1A:A9"];
const MONTHS: [&str; 12] = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"];

impl Persona {
    /// The device of `seed`. A host name in `config` takes the place of the
    /// made-up one.
    #[must_use]
    pub fn new(config: &PersonaConfig, sensor: &SensorId) -> Self {
        let seed = config.seed.unwrap_or_else(|| hash(sensor.as_str().as_bytes()));
        let mut draw = Draw(seed);
        let gateways = PRODUCTS.get(PRODUCTS.len() - GATEWAYS..).unwrap_or(&PRODUCTS);
        let gateway = config.gateway.unwrap_or(false);
        let (product, names) = *draw.one(if gateway { gateways } else { &PRODUCTS });
        let name = *draw.one(names);
        let made_up = match draw.below(3) {
            0 => format!("{name}{:04X}", draw.below(0x1_0000)),
            1 => format!("{name}-{:06x}", draw.below(0x100_0000)),
            _ => format!("{name}{}", 1 + draw.below(99)),
        };
        let (busybox, released) = *draw.one(&BUSYBOXES);
        let (year, month) = (released + draw.below(2), *draw.one(&MONTHS));
        let (day, hour) = (1 + draw.below(28), 8 + draw.below(12));
        let built = format!(
            "{year}-{month}-{day:02} {hour:02}:{:02}:{:02} CST",
            draw.below(60),
            draw.below(60)
        );
        let memory_kib = (*draw.one(&[32u32, 64, 128]) * 1024) - 3_000 - draw.below(3_000);
        let maker = draw.one(&MAKERS);
        let mac = format!(
            "{maker}:{:02X}:{:02X}:{:02X}",
            draw.below(256),
            draw.below(256),
            draw.below(256)
        );
        let letter = char::from(b'A' + u8::try_from(draw.below(26)).unwrap_or(0));
        Self {
            hostname: config.hostname.clone().unwrap_or(made_up),
            product,
            model: format!(
                "{letter}{}{}",
                100 + draw.below(900),
                draw.one(&["", "N", "W", "-S", "E"])
            ),
            firmware: format!("V{}.{:02}.{:02}", 1 + draw.below(5), draw.below(20), draw.below(40)),
            busybox,
            built,
            kernel: *draw.one::<&str>(&KERNELS),
            cpu: draw.one(&CPUS),
            bogomips: 26_000 + draw.below(90_000),
            used_kib: memory_kib / 2 + draw.below(memory_kib / 4),
            memory_kib,
            mac,
            first_pid: 300 + draw.below(300),
            server: format!("lighttpd/1.4.{}", 26 + draw.below(24)),
            token: format!("{:08x}", draw.below(u32::MAX)),
            seed,
        }
    }

    /// `Linux HOST RELEASE …`, as `uname -a` shows it.
    #[must_use]
    pub fn uname(&self) -> String {
        format!(
            "Linux {} {} {} {} GNU/Linux",
            self.hostname,
            self.kernel,
            self.build(),
            self.cpu.machine
        )
    }

    /// The kernel's build, as `uname -v` shows it.
    #[must_use]
    pub fn build(&self) -> String {
        format!("#1 {}", self.built)
    }
}

/// The day at the beginning of a build date, as seconds since 1970.
fn seconds(built: &str) -> i64 {
    let day = built.get(..10).and_then(|day| day.parse::<jiff::civil::Date>().ok());
    let stamp = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok());
    stamp.map_or(1_400_000_000, |stamp| stamp.timestamp().as_second() + 37_000)
}

/// FNV-1a.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Draws from a seed (splitmix64). Not a library's generator, because the
/// persona must not change when a library does; nothing secret depends on it.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    /// A place in a list of `length`.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(u32::try_from(length).unwrap_or(u32::MAX)) as usize
    }

    /// A random UUID (RFC 9562, version 4).
    pub(crate) fn uuid(&mut self) -> String {
        let mut part = |bound: u32| self.below(bound);
        let (a, b) = (part(u32::MAX), part(0x1_0000));
        let (c, d) = (0x4000 | part(0x1000), 0x8000 | part(0x4000));
        format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{:04x}{:08x}", part(0x1_0000), part(u32::MAX))
    }

    /// The next 64 random bits.
    pub(crate) fn mixed(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let mixed = self.mixed();
        u32::try_from(mixed % u64::from(bound.max(1))).unwrap_or(0)
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let index = self.below(u32::try_from(of.len()).unwrap_or(u32::MAX)) as usize;
        #[expect(
            clippy::indexing_slicing,
            reason = "below() keeps it in range; tables are not empty"
        )]
        &of[index]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn persona(seed: u64) -> Persona {
        let config = PersonaConfig { seed: Some(seed), ..PersonaConfig::default() };
        Persona::new(&config, &SensorId::new("a").unwrap())
    }

    #[test]
    fn a_seed_always_gives_the_same_device() {
        assert_eq!(format!("{:?}", persona(7)), format!("{:?}", persona(7)));
    }

    #[test]
    fn hardly_two_installations_share_a_name_or_a_page() {
        let all: Vec<Persona> = (0..1_000).map(persona).collect();
        let names: HashSet<_> = all.iter().map(|p| &p.hostname).collect();
        let pages: HashSet<_> =
            all.iter().map(|p| (p.product, &p.model, &p.firmware, &p.server)).collect();
        assert!(names.len() > 600 && pages.len() == 1_000, "{} {}", names.len(), pages.len());
    }

    #[test]
    fn no_name_is_one_that_honeypots_are_known_by() {
        for seed in 0..5_000 {
            let text = format!("{:?}", persona(seed)).to_lowercase();
            for known in ["svr04", "honey", "cowrie", "kippo", "dionaea", "palisade", "nas3"] {
                assert!(!text.contains(known), "{text}");
            }
        }
    }

    #[test]
    fn the_configured_name_is_used() {
        let config = PersonaConfig {
            hostname: Some("edge".to_owned()),
            seed: Some(1),
            ..PersonaConfig::default()
        };
        let persona = Persona::new(&config, &SensorId::new("a").unwrap());
        assert!(persona.uname().starts_with("Linux edge "));
    }
}
