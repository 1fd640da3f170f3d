//! Who changed a file, where the kernel's audit has recorded it (auditd's log,
//! raw form): the newest record of the path, and of the same event the user and
//! the program.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Where auditd writes.
pub(super) const LOG: &str = "/var/log/audit/audit.log";
/// How much of the log's end is looked at, in bytes.
const TAIL_BYTES: u64 = 512 * 1024;

/// A user and a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Culprit {
    /// The user that signed in, also where it became root since.
    pub(super) uid: u32,
    pub(super) program: String,
}

/// Looks the newest change of a path up. Nothing where there is no such record.
pub(super) fn find(log: &Path, path: &str) -> Option<Culprit> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut text = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut text).ok()?;
    in_text(&String::from_utf8_lossy(&text), path)
}

fn in_text(text: &str, path: &str) -> Option<Culprit> {
    // Paths with spaces and the like are written as hexadecimal digits.
    let hex = path.bytes().fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02X}");
        text
    });
    let named = |line: &&str| {
        line.starts_with("type=PATH ")
            && field(line, "nametype").is_some_and(|kind| kind != "PARENT")
            && field(line, "name").is_some_and(|name| name == path || name == hex)
    };
    let event = text.lines().rev().find(named).and_then(event_of)?;
    let call = text
        .lines()
        .rev()
        .find(|line| line.starts_with("type=SYSCALL ") && event_of(line) == Some(event))?;
    let user = |name: &str| field(call, name).and_then(|text| text.parse::<u32>().ok());
    // Services never signed in.
    let uid = user("auid").filter(|uid| *uid != u32::MAX).or_else(|| user("uid"))?;
    Some(Culprit { uid, program: field(call, "exe")?.to_owned() })
}

/// `1700000000.123:456` of `msg=audit(1700000000.123:456):`.
fn event_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("msg=audit(")?;
    Some(rest.split_once(')')?.0)
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_record_of_a_path_names_user_and_program() {
        let text = "\
type=SYSCALL msg=audit(1700000000.100:41): arch=c000003e syscall=257 auid=1000 uid=0 comm=\"vi\" exe=\"/usr/bin/vi\"
type=PATH msg=audit(1700000000.100:41): item=0 name=\"/etc\" nametype=PARENT
type=PATH msg=audit(1700000000.100:41): item=1 name=\"/etc/passwd\" nametype=NORMAL
type=SYSCALL msg=audit(1700000000.200:42): arch=c000003e auid=4294967295 uid=33 exe=\"/usr/sbin/nginx\"
type=PATH msg=audit(1700000000.200:42): item=0 name=2F6574632F612062 nametype=CREATE
";
        let by = |path: &str| in_text(text, path).map(|by| (by.uid, by.program));
        assert_eq!(by("/etc/passwd"), Some((1000, "/usr/bin/vi".to_owned())));
        assert_eq!(by("/etc/a b"), Some((33, "/usr/sbin/nginx".to_owned())));
        assert_eq!(by("/etc"), None);
        assert_eq!(in_text("type=PATH name=\"/etc/passwd\" nametype=NORMAL", "/etc/passwd"), None);
    }
}
