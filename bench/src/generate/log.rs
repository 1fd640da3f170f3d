//! Lines of a server's log, the same for every run.

use std::io;
use std::net::Ipv4Addr;

use palisade_rules::SHIPPED_PARSERS;

use super::Random;

/// `Nov 20 20:07:14`.
const TIME_BYTES: usize = 15;

const USERS: &[&str] =
    &["root", "admin", "ubuntu", "user", "test", "oracle", "postgres", "git", "pi"];

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

/// An auth.log with the lines of all other programs strewn into it, one of five,
/// each with the time of the line before it.
///
/// # Errors
/// It cannot be written.
pub(crate) fn mixed_log(lines: usize, out: &mut impl io::Write) -> io::Result<()> {
    let heads =
        |line: &&str| line.starts_with("Nov 20 ") && !line.starts_with("Nov 20 20:07:17 imap");
    let others: Vec<&str> =
        SHIPPED_PARSERS.iter().flat_map(|(.., samples)| samples.lines()).filter(heads).collect();
    let mut others = others.iter().cycle();
    let mut auth = Vec::new();
    super::auth_sessions(lines * 4 / 5, &mut auth)?;
    for (number, line) in auth.split_inclusive(|byte| *byte == b'\n').enumerate() {
        out.write_all(line)?;
        if number.is_multiple_of(4)
            && let (Some(other), Some(time)) = (others.next(), line.get(..TIME_BYTES))
        {
            out.write_all(time)?;
            out.write_all(other.as_bytes().get(TIME_BYTES..).unwrap_or_default())?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}
