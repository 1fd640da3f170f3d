//! Tries the SSH service: its version line, its lists, and the two malformed
//! openings that detectors send.

use super::wire::{Line, Until};
use super::{Finding, Subject, Tell, excerpt};
use crate::service::ssh::kex::Offer;
use crate::service::ssh::profile;
use crate::{ServiceConfig, SshAccept, System};

/// Version lines that honeypots have where nobody has changed them.
const KNOWN_VERSIONS: [&str; 7] = [
    "SSH-2.0-OpenSSH_5.1p1 Debian-4",
    "SSH-2.0-OpenSSH_5.1p1 Debian-5",
    "SSH-2.0-OpenSSH_6.0p1 Debian-4+deb7u2",
    "SSH-2.0-OpenSSH_6.6.1p1 Ubuntu-2ubuntu2",
    "SSH-2.0-OpenSSH_6.6.1p1 Ubuntu-2ubuntu2.8",
    "SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.10",
    "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3",
];
/// Libraries that no server of a distribution is made of.
const KNOWN_LIBRARIES: [&str; 5] =
    ["SSH-2.0-libssh", "SSH-2.0-paramiko", "SSH-2.0-Twisted", "SSH-2.0-Go", "SSH-2.0-russh"];
/// HASSH of Cowrie 3.1 as a server.
const KNOWN_HASSH: [&str; 1] = ["38d91038b3306f392bffd7a5edbaeb59"];
const KEXINIT: u8 = 20;
/// What we say we are, to be told the lists.
const HELLO: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n";

const VERSION: Subject = Subject {
    id: "ssh-version",
    looks_at: "the version line",
    known_from: "defaults of Cowrie, Kippo, OpenCanary, Heralding and T-Pot; Metasploit ssh_version",
    advice: "remove ssh.version, or set it to that of a current package",
};
const LISTS: Subject = Subject {
    id: "ssh-kexinit",
    looks_at: "whether the algorithms are those of the program that the version line names",
    known_from: "ssh-audit; Cowrie offers cast128-cbc and hmac-md5 as OpenSSH 9.2",
    advice: "remove ssh.version, or choose ssh.server so that both are of one release",
};
const HASSH: Subject = Subject {
    id: "ssh-hassh-server",
    looks_at: "HASSH of the server: MD5 of its lists",
    known_from: "HASSH lists of Shodan and Zeek: Cowrie's is 38d91038b3306f392bffd7a5edbaeb59",
    advice: "choose ssh.server; its lists give the HASSH of the real package",
};
const SYSTEM: Subject = Subject {
    id: "ssh-version-system",
    looks_at: "whether the version line names the distribution that the shell shows",
    known_from: "Metasploit ssh_honeypot (EXTENDED_CHECKS), and anybody who reads /etc/os-release",
    advice: "set ssh.server and persona.server to the same release, or neither",
};
const MAJOR: Subject = Subject {
    id: "ssh-bad-version",
    looks_at: "the answer to a client that says SSH-1337",
    known_from: "nuclei template cowrie-ssh-honeypot-detect: Twisted adds \"bad version 1337\"",
    advice: "report it: OpenSSH says \"Protocol major versions differ.\" and no more",
};
const NEWLINES: Subject = Subject {
    id: "ssh-newlines",
    looks_at: "the answer to a version line with eight line feeds behind it",
    known_from: "Metasploit detect_kippo: Kippo answers \"bad packet length 168430090\"",
    advice: "report it: OpenSSH ends the connection without such a text",
};
const ANY_PASSWORD: Subject = Subject {
    id: "ssh-any-password",
    looks_at: "whether passwords that nobody can have are let in",
    known_from: "bots and detectors log in with two random passwords",
    advice: "set ssh.accept to a list or to probabilities: { list = [\"root:admin123\"] }",
};
const DELAY: Subject = Subject {
    id: "ssh-failure-delay",
    looks_at: "the time that a wrong password takes",
    known_from: "Cowrie answers after one second, to a millisecond; PAM after about two, never the same",
    advice: "leave ssh.fail_delay_ms and ssh.fail_jitter_ms at their defaults",
};
const HOST_KEY: Subject = Subject {
    id: "ssh-host-key",
    looks_at: "whether the host key is the same tomorrow, and nobody else's",
    known_from: "Shodan finds honeypots of one image by their host key",
    advice: "keep ssh.host_keys in a folder of this machine; never copy it to another",
};

/// The first packet after the version line, and the line.
fn hello(heard: &[u8]) -> (String, Option<Offer>) {
    let end = heard.iter().position(|byte| *byte == b'\n').unwrap_or(heard.len());
    let line = excerpt(heard.get(..end).unwrap_or_default());
    (line, packet(heard).and_then(Offer::parse))
}

/// The payload of the first packet (RFC 4253, section 6), once it is there whole.
fn packet(heard: &[u8]) -> Option<&[u8]> {
    let start = heard.iter().position(|byte| *byte == b'\n')? + 1;
    let rest = heard.get(start..)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (padding, payload) = rest.get(..length)?.split_first()?;
    let payload = payload.get(..payload.len().checked_sub(usize::from(*padding))?)?;
    (payload.first() == Some(&KEXINIT)).then_some(payload)
}

pub(super) async fn try_on(
    line: &Line<'_>,
    service: &ServiceConfig,
    place: &str,
    tells: &mut Vec<Tell>,
) {
    let (version, offer) =
        hello(&line.ask(HELLO, Until::There(&|heard| packet(heard).is_some())).await);
    let known = KNOWN_VERSIONS.contains(&version.as_str())
        || KNOWN_LIBRARIES.iter().any(|library| version.starts_with(library));
    tells.push(VERSION.tell(place, Finding::of(known || version.is_empty(), version.as_str())));

    let expected = profile::offer_of(&version);
    let found = match (&offer, &expected) {
        (None, _) => Finding::shown("no KEXINIT came"),
        (_, None) => Finding::shown(format!("nobody knows which lists {version} has")),
        (Some(ours), Some(real)) if ours == real => {
            Finding::hidden("all ten lists are those of the package, in their order")
        }
        _ => Finding::shown(format!("the lists are not those of {version}")),
    };
    tells.push(LISTS.tell(place, found));

    let hassh = offer.as_ref().map(Offer::hassh_server).unwrap_or_default();
    let real = expected.as_ref().map(Offer::hassh_server).unwrap_or_default();
    let telling = hassh != real || hassh.is_empty() || KNOWN_HASSH.contains(&hassh.as_str());
    tells.push(HASSH.tell(place, Finding::of(telling, hassh)));

    let (name, says) = match line.zone.server.system() {
        System::Ubuntu => ("Ubuntu", version.contains(" Ubuntu-")),
        System::Debian => ("Debian", version.contains(" Debian-")),
        System::BusyBox => ("BusyBox", true),
    };
    tells.push(SYSTEM.tell(place, Finding::of(!says, format!("{version}; the shell is {name}'s"))));

    let heard = line.ask(b"SSH-1337-OpenSSH_9.0\r\n", Until::End).await;
    let answer = after_line(&heard);
    let right = answer.starts_with(b"Protocol major versions differ.");
    let telling = !right || excerpt(answer).contains("bad version");
    tells.push(MAJOR.tell(place, Finding::of(telling, excerpt(answer))));

    let heard = line.ask(b"SSH-2.0-OpenSSH_9.2p1\n\n\n\n\n\n\n\n\n", Until::End).await;
    let text = String::from_utf8_lossy(&heard);
    let known = ["168430090", "mismatch", "bad packet"].into_iter().find(|t| text.contains(t));
    let seen = known.unwrap_or("none of the known texts");
    tells.push(NEWLINES.tell(place, Finding::of(known.is_some(), seen)));

    let ssh = service.ssh.clone().unwrap_or_default();
    let found = match &ssh.accept {
        SshAccept::Always => Finding::shown("every password is let in"),
        SshAccept::After(tries) => {
            Finding::shown(format!("any password is let in at the {tries}. try of an address"))
        }
        SshAccept::Never => Finding::hidden("no password is let in"),
        SshAccept::List(list) if list.iter().any(|entry| entry.ends_with(":*")) => {
            Finding::shown("the list has a user who may have any password")
        }
        SshAccept::List(_) => Finding::hidden("those of a list"),
        SshAccept::Probability(chances) => {
            let most = chances.values().copied().fold(0.0, f64::max);
            Finding::of(most > 0.2, format!("up to {:.0} of 100 random passwords", most * 100.0))
        }
    };
    tells.push(ANY_PASSWORD.tell(place, found));
    let (delay, jitter) = (ssh.fail_delay_ms, ssh.fail_jitter_ms);
    let seen = format!("{delay} ms and up to {jitter} more");
    tells.push(DELAY.tell(place, Finding::of(jitter < 50 || delay < 100, seen)));
    let found = match &ssh.host_keys {
        Some(folder) => Finding::hidden(format!("kept in {}", folder.display())),
        None => Finding::shown("made anew at each start"),
    };
    tells.push(HOST_KEY.tell(place, found));
}

/// What comes after the version line.
fn after_line(heard: &[u8]) -> &[u8] {
    let end = heard.iter().position(|byte| *byte == b'\n').map_or(heard.len(), |end| end + 1);
    heard.get(end..).unwrap_or_default()
}
