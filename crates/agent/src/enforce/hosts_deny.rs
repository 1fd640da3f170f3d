//! Bans in `/etc/hosts.deny`, for services that ask TCP wrappers. Our lines
//! stand between two marks; all else in the file is left as it is.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use ipnet::IpNet;
use palisade_event::{DecisionTarget, Timestamp};

use super::{Change, Held, Take};

const BEGIN: &str = "# begin of palisade's bans; do not edit between the marks";
const END: &str = "# end of palisade's bans";
/// Largest file that is rewritten, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The enforcer.
#[derive(Debug)]
pub(super) struct HostsDeny {
    pub(super) path: PathBuf,
}

impl HostsDeny {
    pub(super) fn apply(&self, changes: &[Change]) -> Result<(), String> {
        let (others, mut ours) = self.read()?;
        for change in changes {
            match change.until {
                Some(until) => ours.insert(change.target, until),
                None => ours.remove(&change.target),
            };
        }
        let mut lines: Vec<(DecisionTarget, Timestamp)> = ours.into_iter().collect();
        lines.sort_unstable();
        let mut text = others;
        if !lines.is_empty() {
            text.push_str(BEGIN);
            text.push('\n');
            for (target, until) in lines {
                text.push_str(&format!("ALL: {} # until {until}\n", pattern(&target)));
            }
            text.push_str(END);
            text.push('\n');
        }
        self.write(&text).map_err(|error| self.failed(&error))
    }

    /// Gives whom our lines keep out.
    pub(super) fn list(&self, take: Take<'_>) -> Result<(), String> {
        for (target, until) in self.read()?.1 {
            take(target, Held { until: Some(until), dropped: 0 });
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<(), String> {
        let (others, ours) = self.read()?;
        match ours.is_empty() {
            true => Ok(()),
            false => self.write(&others).map_err(|error| self.failed(&error)),
        }
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("cannot rewrite {}: {error}", self.path.display())
    }

    /// What others wrote, and our lines.
    fn read(&self) -> Result<(String, HashMap<DecisionTarget, Timestamp>), String> {
        let text = match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > MAX_BYTES => {
                return Err(format!("{} has more than {MAX_BYTES} bytes", self.path.display()));
            }
            Ok(_) => fs::read_to_string(&self.path).map_err(|error| self.failed(&error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.failed(&error)),
        };
        let (mut others, mut ours) = (String::new(), HashMap::new());
        let mut is_ours = false;
        for line in text.split_inclusive('\n') {
            match line.trim_end() {
                BEGIN => is_ours = true,
                END => is_ours = false,
                line if is_ours => ours.extend(parsed(line)),
                _ => others.push_str(line),
            }
        }
        if !others.is_empty() && !others.ends_with('\n') {
            others.push('\n');
        }
        Ok((others, ours))
    }

    /// Replaces the file as a whole, with its mode.
    fn write(&self, text: &str) -> io::Result<()> {
        let beside = self.path.with_extension("palisade-new");
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        // What others wrote must be there also after a power cut.
        file.sync_all()?;
        if let Ok(metadata) = fs::metadata(&self.path) {
            fs::set_permissions(&beside, metadata.permissions())?;
        }
        fs::rename(&beside, &self.path)
    }
}

/// As hosts_access(5) writes it.
fn pattern(target: &DecisionTarget) -> String {
    match target {
        DecisionTarget::Ip(address) if address.is_ipv6() => format!("[{address}]"),
        DecisionTarget::Ip(address) => address.to_string(),
        DecisionTarget::Range(IpNet::V4(net)) => format!("{}/{}", net.network(), net.netmask()),
        DecisionTarget::Range(IpNet::V6(net)) => {
            format!("[{}]/{}", net.network(), net.prefix_len())
        }
    }
}

fn parsed(line: &str) -> Option<(DecisionTarget, Timestamp)> {
    let (pattern, until) = line.strip_prefix("ALL: ")?.split_once(" # until ")?;
    let until = until.parse().ok()?;
    let plain = pattern.replace(['[', ']'], "");
    if let Some((net, mask)) = plain.split_once('/')
        && let Ok(mask) = mask.parse()
    {
        let bits = ipnet::ip_mask_to_prefix(mask).ok()?;
        let net = IpNet::new(net.parse().ok()?, bits).ok()?;
        return Some((DecisionTarget::Range(net), until));
    }
    Some((plain.parse().ok()?, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_lines_come_and_go_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.deny");
        let before = "# mine\nsshd: 192.0.2.200\n";
        fs::write(&path, before).unwrap();
        let deny = HostsDeny { path: path.clone() };
        let until = Timestamp::from_millis(1_795_000_000_000);
        let targets = ["192.0.2.1", "198.51.100.0/24", "2001:db8::1", "2001:db8:1::/48"];
        let change =
            |text: &&str, until| Change { target: text.parse().unwrap(), until, replaces: false };
        let all: Vec<Change> = targets.iter().map(|text| change(text, Some(until))).collect();
        deny.apply(&all).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(before), "{text}");
        for line in [
            "ALL: 192.0.2.1 ",
            "ALL: 198.51.100.0/255.255.255.0 ",
            "ALL: [2001:db8::1] ",
            "ALL: [2001:db8:1::]/48 ",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let list = || {
            let mut all = HashMap::new();
            deny.list(&mut |target, held| {
                all.insert(target, held);
            })
            .unwrap();
            all
        };
        let listed = list();
        assert_eq!(listed.len(), 4);
        assert!(targets.iter().all(|t| listed[&t.parse().unwrap()].until == Some(until)));
        deny.apply(&[change(&"192.0.2.1", None)]).unwrap();
        assert_eq!(list().len(), 3);
        deny.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
}
