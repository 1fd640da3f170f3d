//! An auth.log of a server under attack for a day, line by line: sessions of
//! sshd in the forms that its versions write, between the lines of other
//! programs. The same for every run.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use super::{Random, zipf};

/// Addresses that attack.
const ATTACKERS: u64 = 20_000;
/// Sessions that go on at the same time.
const LANES: usize = 16;
const SECS_PER_DAY: usize = 86_400;

const USERS: &[&str] = &[
    "root",
    "admin",
    "ubuntu",
    "user",
    "test",
    "oracle",
    "postgres",
    "git",
    "pi",
    "deploy",
    "hadoop",
    "tomcat",
    "www-data",
    "minecraft",
    "ftpuser",
    "nagios",
    "jenkins",
    "es",
    "guest",
    "support",
    "ansible",
    "vagrant",
    "centos",
    "ec2-user",
    "backup",
    "dev",
];

/// The n-th address, outside of the special ranges.
fn address(n: u64) -> Ipv4Addr {
    let bits = Random::new(n).next() as u32;
    let [a, b, c, d] = bits.to_be_bytes();
    let a = match a % 212 + 11 {
        127 | 169 | 172 | 192 => 5,
        a => a,
    };
    Ipv4Addr::new(a, b, c, d.max(1))
}

/// A session of sshd that goes on: the lines that are left, the last first.
type Session = Vec<String>;

/// One of so many sessions ends with a login that succeeds.
const BREAK_INS: u64 = 4000;

/// Lines of a session that guesses a password in the end, the last first.
fn break_in(random: &mut Random, pid: u64) -> Session {
    let ip = address(zipf(random.next(), ATTACKERS));
    let user = USERS.get(zipf(random.next(), USERS.len() as u64) as usize).copied().unwrap_or("x");
    let mut lines = Vec::new();
    for turn in 0..6 + random.next() % 20 {
        let port = 20_000 + turn;
        lines.push(format!("sshd[{pid}]: Failed password for {user} from {ip} port {port} ssh2"));
    }
    lines.push(format!("sshd[{pid}]: Accepted password for {user} from {ip} port 30000 ssh2"));
    lines.push(format!(
        "sshd[{pid}]: pam_unix(sshd:session): session opened for user {user}(uid=1001) by (uid=0)"
    ));
    lines.reverse();
    lines
}

/// Lines of one session of sshd, the last first.
fn session(random: &mut Random, pid: u64) -> Session {
    if random.next().is_multiple_of(BREAK_INS) {
        return break_in(random, pid);
    }
    let ip = address(zipf(random.next(), ATTACKERS));
    let port = 1024 + random.next() % 64_000;
    let user = USERS.get(zipf(random.next(), USERS.len() as u64) as usize).copied().unwrap_or("x");
    let say = |message: String| format!("sshd[{pid}]: {message}");
    let pam = |user: &str| {
        say(format!(
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}{user}"
        ))
    };
    let mut lines = match random.next() % 16 {
        0..5 => {
            let name = format!("{user}{}", random.next() % 50);
            vec![
                say(format!("Invalid user {name} from {ip} port {port}")),
                say("pam_unix(sshd:auth): check pass; user unknown".to_owned()),
                pam(""),
                say(format!("Failed password for invalid user {name} from {ip} port {port} ssh2")),
                say(format!("Received disconnect from {ip} port {port}:11: Bye Bye [preauth]")),
                say(format!("Disconnected from invalid user {name} {ip} port {port} [preauth]")),
            ]
        }
        5..10 => {
            let mut lines = vec![pam(&format!("  user={user}"))];
            for _ in 0..1 + random.next() % 5 {
                lines.push(say(format!("Failed password for {user} from {ip} port {port} ssh2")));
            }
            lines.push(say(format!(
                "Connection closed by authenticating user {user} {ip} port {port} [preauth]"
            )));
            lines
        }
        10 => vec![
            pam("  user=root"),
            say(format!("message repeated 2 times: [ Failed password for root from {ip} port {port} ssh2]")),
            say(format!("error: maximum authentication attempts exceeded for root from {ip} port {port} ssh2 [preauth]")),
            say("Disconnecting authenticating user root: Too many authentication failures [preauth]".to_owned()),
        ],
        11..13 => vec![say(format!("Connection closed by {ip} port {port} [preauth]"))],
        13 => vec![say(format!("Unable to negotiate with {ip} port {port}: no matching key exchange method found. Their offer: diffie-hellman-group1-sha1 [preauth]"))],
        14 => vec![say(format!("banner exchange: Connection from {ip} port {port}: invalid format"))],
        _ => {
            let ip = Ipv4Addr::new(203, 0, 113, (random.next() % 40) as u8 + 1);
            vec![
                say(format!("Accepted publickey for deploy from {ip} port {port} ssh2: ED25519 SHA256:c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTU")),
                say("pam_unix(sshd:session): session opened for user deploy(uid=1000) by (uid=0)".to_owned()),
            ]
        }
    };
    lines.reverse();
    lines
}

/// A line of another program.
fn noise(random: &mut Random) -> String {
    let n = random.next() % 60_000;
    match random.next() % 6 {
        0..3 => format!("CRON[{n}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"),
        3 => "sudo:   deploy : TTY=pts/0 ; PWD=/srv ; USER=root ; COMMAND=/usr/bin/systemctl reload nginx".to_owned(),
        4 => format!("systemd-logind[612]: New session {n} of user deploy."),
        _ => format!("systemd[1]: Started session-{n}.scope - Session {n} of User deploy."),
    }
}

/// Writes an auth.log: seven lines of ten by sshd.
pub(crate) fn auth_log(lines: usize, out: &mut impl Write) -> io::Result<()> {
    let mut random = Random::new(2026);
    let mut lanes: Vec<Session> = vec![Vec::new(); LANES];
    for n in 0..lines {
        let second = n * SECS_PER_DAY / lines;
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        write!(out, "Nov 19 {h:02}:{m:02}:{s:02} web01 ")?;
        if random.next() % 10 < 3 {
            writeln!(out, "{}", noise(&mut random))?;
            continue;
        }
        let place = (random.next() % LANES as u64) as usize;
        let Some(lane) = lanes.get_mut(place) else { continue };
        if lane.is_empty() {
            *lane = session(&mut random, 1000 + n as u64 % 4_000_000);
        }
        writeln!(out, "{}", lane.pop().unwrap_or_default())?;
    }
    Ok(())
}
