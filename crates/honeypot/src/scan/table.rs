//! Who touched which ports lately, from captured packets, accepted connections
//! and what was said in them; and whose touches are a scan. Logic apart from
//! sockets and clocks; bounded by the number of sources.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::ports::Ports;
use crate::ScansConfig;

/// Most sources that are remembered; beyond, the one that was silent longest is
/// forgotten, and counted.
pub const MAX_SOURCES: usize = 1_024;
/// Most addresses of ours that are counted for one source.
const MAX_TARGETS: usize = 64;
/// Most scans that one look tells; the others wait for the next.
const MAX_TOLD: usize = 64;

/// A way to look at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The beginning of a connection was captured.
    Syn,
    /// A connection was accepted.
    Connect,
    /// A datagram came.
    Datagram,
    /// Packets without flags.
    Null,
    /// FIN alone.
    Fin,
    /// FIN, PSH and URG.
    Xmas,
    /// Questions to the system itself.
    Os,
    /// Words that scanners say to learn a version.
    Version,
    /// A script of a scanner.
    Script,
}

impl How {
    fn as_str(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Connect => "connect",
            Self::Datagram => "datagram",
            Self::Null => "null",
            Self::Fin => "fin",
            Self::Xmas => "xmas",
            Self::Os => "os-detection",
            Self::Version => "version-detection",
            Self::Script => "script",
        }
    }

    /// Whether no honest client does so.
    fn gives_away(self) -> bool {
        !matches!(self, Self::Syn | Self::Connect | Self::Datagram)
    }
}

/// One touch of a source.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'a> {
    /// Who.
    pub source: IpAddr,
    /// Which address of ours.
    pub target: IpAddr,
    /// Which port, where it has one.
    pub port: Option<u16>,
    /// In which way.
    pub how: How,
    /// The tool that alone does so, where one is known.
    pub tool: Option<&'a str>,
}

/// A scan of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The source; of an IPv6 network the address that was seen first.
    pub source: IpAddr,
    /// The address of ours that was touched first.
    pub target: IpAddr,
    /// How many addresses of ours were touched; counted up to 64.
    pub targets: usize,
    /// The ports, such as `22-25,80`.
    pub ports: String,
    /// How many ports.
    pub port_count: u32,
    /// The one port, where there was one alone.
    pub port: Option<u16>,
    /// In which ways, such as `syn,connect`; `half-open` where a port that we
    /// serve was asked to open a connection and none came of it.
    pub kinds: String,
    /// The tool, where one is known.
    pub tool: Option<String>,
    /// Captured packets.
    pub packets: u64,
    /// Connections that were accepted; without one the source may be a lie.
    pub connections: u64,
    /// From the first touch to the last.
    pub lasted: Duration,
    /// From the first touch until now.
    pub since: Duration,
}

/// What is known of a source.
#[derive(Debug)]
struct Source {
    address: IpAddr,
    first: Instant,
    last: Instant,
    target: IpAddr,
    targets: BTreeSet<IpAddr>,
    ports: Ports,
    connected: Ports,
    kinds: BTreeSet<How>,
    tool: Option<String>,
    packets: u64,
    connections: u64,
    told: bool,
}

/// The sources of one zone.
#[derive(Debug)]
pub struct Table {
    config: ScansConfig,
    /// The ports that are served here.
    served: BTreeSet<u16>,
    sources: HashMap<IpAddr, Source>,
    evicted: u64,
}

impl Table {
    /// Nobody yet.
    #[must_use]
    pub fn new(config: ScansConfig, served: impl IntoIterator<Item = u16>) -> Self {
        let served = served.into_iter().collect();
        Self { config, served, sources: HashMap::new(), evicted: 0 }
    }

    /// Further ports that are served.
    pub fn serve(&mut self, ports: impl IntoIterator<Item = u16>) {
        self.served.extend(ports);
    }

    /// Notes a touch.
    pub fn touch(&mut self, touch: &Touch<'_>, now: Instant) {
        let key = network(touch.source);
        if !self.sources.contains_key(&key) && self.sources.len() >= MAX_SOURCES {
            self.make_room();
        }
        let window = Duration::from_secs(self.config.window_secs);
        let new = || Source {
            address: touch.source.to_canonical(),
            first: now,
            last: now,
            target: touch.target.to_canonical(),
            targets: BTreeSet::new(),
            ports: Ports::default(),
            connected: Ports::default(),
            kinds: BTreeSet::new(),
            tool: None,
            packets: 0,
            connections: 0,
            told: false,
        };
        let source = self.sources.entry(key).or_insert_with(new);
        if source.told && now.duration_since(source.first) >= window {
            *source = new();
        }
        source.last = now;
        if source.told {
            return;
        }
        if source.targets.len() < MAX_TARGETS {
            source.targets.insert(touch.target.to_canonical());
        }
        source.kinds.insert(touch.how);
        if let Some(port) = touch.port {
            source.ports.insert(port);
        }
        match touch.how {
            How::Connect => {
                source.connections = source.connections.saturating_add(1);
                if let Some(port) = touch.port {
                    source.connected.insert(port);
                }
            }
            How::Datagram | How::Version | How::Script => {}
            _ => source.packets = source.packets.saturating_add(1),
        }
        // The first is the most telling: a scanner's packets come before its words.
        if let (None, Some(tool)) = (&source.tool, touch.tool) {
            source.tool = Some(tool.to_owned());
        }
    }

    /// The scans that are over, or whose window is; each is told once. What was
    /// no scan and is silent is forgotten.
    pub fn due(&mut self, now: Instant) -> Vec<Scan> {
        let window = Duration::from_secs(self.config.window_secs);
        let quiet = Duration::from_secs(self.config.quiet_secs);
        self.take(now, |source| {
            now.duration_since(source.last) >= quiet || now.duration_since(source.first) >= window
        })
    }

    /// All scans that were not told.
    pub fn rest(&mut self, now: Instant) -> Vec<Scan> {
        self.take(now, |_| true)
    }

    fn take(&mut self, now: Instant, is_due: impl Fn(&Source) -> bool) -> Vec<Scan> {
        let window = Duration::from_secs(self.config.window_secs);
        let (config, served) = (&self.config, &self.served);
        let mut told = Vec::new();
        self.sources.retain(|_, source| {
            if source.told {
                return now.duration_since(source.first) < window;
            }
            if !is_due(source) || told.len() >= MAX_TOLD {
                return true;
            }
            if !source.is_scan(config) {
                return false;
            }
            told.push(source.scan(served, now));
            source.forget();
            now.duration_since(source.first) < window
        });
        told
    }

    /// Sources that were forgotten for want of room since the last time.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    fn make_room(&mut self) {
        // Those that are no scan first.
        let oldest = self
            .sources
            .iter()
            .min_by_key(|(_, source)| (!source.told && source.is_scan(&self.config), source.last));
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.sources.remove(&key);
            self.evicted += 1;
        }
    }
}

impl Source {
    fn is_scan(&self, config: &ScansConfig) -> bool {
        self.tool.is_some()
            || self.kinds.iter().any(|how| how.gives_away())
            || self.ports.count() >= u32::from(config.min_ports)
    }

    fn scan(&self, served: &BTreeSet<u16>, now: Instant) -> Scan {
        let asked = self.kinds.contains(&How::Syn);
        let open = |port: u16| self.ports.contains(port) && !self.connected.contains(port);
        let half_open = asked && served.iter().any(|port| open(*port));
        let mut kinds: Vec<&str> = self.kinds.iter().map(|how| how.as_str()).collect();
        if half_open {
            kinds.insert(0, "half-open");
        }
        Scan {
            source: self.address,
            target: self.target,
            targets: self.targets.len(),
            ports: self.ports.text(),
            port_count: self.ports.count(),
            port: self.ports.iter().next().filter(|_| self.ports.count() == 1),
            kinds: kinds.join(","),
            tool: self.tool.clone(),
            packets: self.packets,
            connections: self.connections,
            lasted: self.last.duration_since(self.first),
            since: now.duration_since(self.first),
        }
    }

    /// Gives back the room of what was told.
    fn forget(&mut self) {
        self.told = true;
        (self.ports, self.connected) = (Ports::default(), Ports::default());
        self.targets.clear();
    }
}

/// What counts as one source: an IPv4 address or an IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn touch(source: &str, port: u16, how: How) -> Touch<'static> {
        let tool = None;
        Touch { source: ip(source), target: ip("192.0.2.1"), port: Some(port), how, tool }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn many_ports_of_one_source_are_one_scan_that_is_told_once() {
        let config = ScansConfig { min_ports: 3, quiet_secs: 10, window_secs: 100 };
        let (mut table, now) = (Table::new(config, [22, 80]), Instant::now());
        for (n, port) in [22, 23, 80, 22].into_iter().enumerate() {
            table.touch(&touch("198.51.100.7", port, How::Syn), now + SECOND * n as u32);
        }
        table.touch(&touch("198.51.100.7", 80, How::Connect), now + SECOND * 4);
        // Two ports are none.
        table.touch(&touch("198.51.100.8", 22, How::Connect), now);
        table.touch(&touch("198.51.100.8", 80, How::Connect), now);
        assert_eq!(table.due(now + SECOND * 9), []);
        let told = table.due(now + SECOND * 14);
        assert_eq!(told.len(), 1);
        let scan = &told[0];
        assert_eq!((scan.ports.as_str(), scan.port_count, scan.port), ("22-23,80", 3, None));
        assert_eq!(scan.kinds, "half-open,syn,connect");
        assert_eq!((scan.packets, scan.connections), (4, 1));
        assert_eq!((scan.lasted, scan.since), (SECOND * 4, SECOND * 14));
        // The same source goes on: it was told in this window.
        for port in 1..50 {
            table.touch(&touch("198.51.100.7", port, How::Syn), now + SECOND * 20);
        }
        assert_eq!(table.due(now + SECOND * 60), []);
        // In the next it is another.
        for port in 1..5 {
            table.touch(&touch("198.51.100.7", port, How::Syn), now + SECOND * 101);
        }
        assert_eq!(table.due(now + SECOND * 120)[0].ports, "1-4");
    }

    #[test]
    fn what_scanners_alone_do_is_a_scan_of_one_port_too() {
        let (mut table, now) = (Table::new(ScansConfig::default(), []), Instant::now());
        for how in [How::Null, How::Fin, How::Xmas, How::Os, How::Version, How::Script] {
            let source = format!("198.51.100.{}", how as u8);
            table.touch(&touch(&source, 23, how), now);
            assert_eq!(table.rest(now).len(), 1, "{how:?}");
        }
        let named = Touch { tool: Some("Mirai"), ..touch("203.0.113.1", 23, How::Syn) };
        table.touch(&named, now);
        let told = table.rest(now);
        assert_eq!((told[0].tool.as_deref(), told[0].port), (Some("Mirai"), Some(23)));
        for how in [How::Syn, How::Connect, How::Datagram] {
            table.touch(&touch("203.0.113.2", 23, how), now);
        }
        assert_eq!(table.rest(now), []);
    }

    #[test]
    fn a_scan_without_an_end_is_told_when_its_window_is_over() {
        let config = ScansConfig { min_ports: 3, quiet_secs: 10, window_secs: 60 };
        let (mut table, now) = (Table::new(config, []), Instant::now());
        let mut told = 0;
        for second in 0..120 {
            table.touch(&touch("198.51.100.7", second, How::Connect), now + SECOND * second.into());
            told += table.due(now + SECOND * second.into()).len();
        }
        assert_eq!(told, 1);
        assert_eq!(table.due(now + SECOND * 200).len(), 1);
    }

    #[test]
    fn sources_are_bounded_and_those_without_a_scan_go_first() {
        let (mut table, now) = (Table::new(ScansConfig::default(), []), Instant::now());
        for port in 1..10 {
            table.touch(&touch("198.51.100.7", port, How::Syn), now);
        }
        for n in 0..MAX_SOURCES as u32 + 99 {
            let source = IpAddr::V4((0x0100_0000 + n).into());
            let touch = Touch { source, ..touch("203.0.113.1", 80, How::Syn) };
            table.touch(&touch, now + SECOND);
        }
        assert_eq!(table.sources.len(), MAX_SOURCES);
        assert_eq!((table.take_evicted(), table.take_evicted()), (100, 0));
        assert_eq!(table.rest(now + SECOND).len(), 1);
        // Addresses of one IPv6 network are one source.
        for n in 0..9u16 {
            let source = format!("2001:db8::{n:x}");
            table.touch(&touch(&source, n, How::Syn), now);
        }
        let told = table.rest(now);
        assert_eq!((told.len(), told[0].port_count), (1, 9));
    }

    #[test]
    fn one_look_tells_so_many_scans_and_the_next_the_others() {
        let (mut table, now) = (Table::new(ScansConfig::default(), []), Instant::now());
        for n in 0..100u32 {
            let source = IpAddr::V4((0x0100_0000 + n).into());
            table.touch(&Touch { source, ..touch("203.0.113.1", 80, How::Null) }, now);
        }
        assert_eq!(table.rest(now).len(), MAX_TOLD);
        assert_eq!(table.rest(now).len(), 100 - MAX_TOLD);
        assert_eq!(table.rest(now).len(), 0);
    }
}
