//! Settings of the agent.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use palisade_event::HostName;
use palisade_rules::LogFormat;
use serde::{Deserialize, Serialize};

use crate::audit::AuditConfig;
use crate::detect::DetectConfig;
use crate::enforce::EnforceConfig;
use crate::fail2ban::Fail2banConfig;
use crate::health::HealthConfig;
use crate::integrity::IntegrityConfig;
use crate::inventory::InventoryConfig;
use crate::knock::KnockConfig;
use crate::uplink::Target;
use crate::zone;

/// Smallest spool that is accepted, in bytes: a few of the largest events.
const MIN_SPOOL_BYTES: u64 = 8 * 1024 * 1024;
/// Smallest segment of the spool.
const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
/// Most sources of one agent.
const MAX_SOURCES: usize = 256;
/// Most connections that a source of syslog may be set to take.
const MAX_SYSLOG_CONNECTIONS: usize = 4096;

/// Settings of the agent (`[agent]`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The queue on disk between here and the hub.
    pub spool: SpoolConfig,
    /// Logs to watch.
    pub sources: Vec<SourceConfig>,
    /// The hub to send to; none in `palisade up`, where it is this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubConfig>,
    /// The name of this machine in events; default: the one that each log
    /// line names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What is detected in the events, and what is decided then.
    pub detect: DetectConfig,
    /// How bans are enforced.
    pub enforce: EnforceConfig,
    /// fail2ban's jails, to run them as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail2ban: Option<Fail2banConfig>,
    /// Who knocks at the right ports is let in and spared for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knock: Option<KnockConfig>,
    /// Whether the machine itself is told of, as the four sections below say: `up`
    /// and `agent` do, honeypots alone do not.
    #[serde(skip)]
    pub machine: bool,
    /// What the machine is and has.
    pub inventory: InventoryConfig,
    /// Whether its security settings are as they should be.
    pub audit: AuditConfig,
    /// Whether it is well.
    pub health: HealthConfig,
    /// Which of its files change.
    pub integrity: IntegrityConfig,
}

/// Bounds of the spool (`[agent.spool]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolConfig {
    /// Bytes on disk that are never exceeded; beyond them the oldest events
    /// are dropped and a `loss.recorded` event says how many. Default 512 MiB.
    pub max_bytes: u64,
    /// Bytes of one segment file. Default 8 MiB.
    pub segment_bytes: u64,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self { max_bytes: 512 * 1024 * 1024, segment_bytes: 8 * 1024 * 1024 }
    }
}

/// The hub to send to (`[agent.hub]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubConfig {
    /// `https://HOST:PORT`, with a path where the hub has one; `http://` for
    /// loopback addresses alone.
    pub url: String,
    /// The file with the API key (`pal_…`).
    pub key_file: PathBuf,
    /// SHA-256 fingerprint of the hub's certificate in hex, colons allowed.
    /// With it no certificate authority is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// PEM file of the certificate authorities to trust; default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// One log to watch (`[[agent.sources]]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SourceConfig {
    /// A text file.
    File(FileSource),
    /// The systemd journal.
    Journal(JournalSource),
    /// Messages of syslog by network.
    Syslog(SyslogSource),
    /// Lines of the agent's own standard input.
    Stdin(StdinSource),
}

/// A text file that grows (`type = "file"`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// Its absolute path. It need not exist yet. With `*`, `?` or `[…]` in it,
    /// all files that match, also those that come later.
    pub path: PathBuf,
    /// What reads its lines.
    #[serde(default)]
    pub parser: LogFormat,
    /// The zone of times without one: `UTC`, `+01:00`, `Europe/Berlin`;
    /// default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Where to begin at the very first start.
    #[serde(default)]
    pub from: StartFrom,
}

/// The systemd journal (`type = "journal"`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalSource {
    /// Names of the programs to read (the journal's trusted field `_COMM`);
    /// default: those of OpenSSH's server where its parser reads and no units
    /// are named, else all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// Units to read (`_SYSTEMD_UNIT`), such as `dovecot` or `nginx.service`,
    /// beside the programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
    /// Matches as journalctl takes them (`FIELD=value`, `+` for "or"), instead of
    /// programs and units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
    /// Messages that begin with one of these are not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// What reads the messages; `syslog` chooses by the name of the program.
    #[serde(default)]
    pub parser: LogFormat,
    /// Where to begin at the very first start.
    #[serde(default)]
    pub from: StartFrom,
    /// The command; default `journalctl`, found in the search path.
    #[serde(default = "journalctl")]
    pub command: PathBuf,
}

impl JournalSource {
    /// The whole journal, from now on.
    #[must_use]
    pub fn new(parser: LogFormat) -> Self {
        Self {
            programs: Vec::new(),
            units: Vec::new(),
            matches: Vec::new(),
            ignore: Vec::new(),
            parser,
            from: StartFrom::End,
            command: journalctl(),
        }
    }

    /// The programs that are read; none: all.
    #[must_use]
    pub fn programs(&self) -> Vec<String> {
        let is_open = self.programs.is_empty() && self.units.is_empty() && self.matches.is_empty();
        match is_open && self.parser == LogFormat::Sshd {
            true => sshd_programs(),
            false => self.programs.clone(),
        }
    }
}

/// Messages of syslog by network (`type = "syslog"`). Whoever can reach the
/// address can write whatever log lines they like: let firewalls, `allow` or
/// certificates decide who that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSource {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// How messages come.
    #[serde(default)]
    pub transport: SyslogTransport,
    /// What reads the messages; the default chooses by the name of the program.
    #[serde(default = "by_program")]
    pub parser: LogFormat,
    /// The zone of times without one; default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Networks that may send; none listed: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// PEM file of our certificate and those that lead to its authority; for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key; for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// PEM file of the authorities whose clients may send; unset: no client is
    /// asked for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Most connections at once (TCP, TLS); one more is closed. Default 256.
    #[serde(default = "syslog_connections")]
    pub max_connections: usize,
    /// Seconds of silence after which a connection is closed. Default 3600.
    #[serde(default = "syslog_idle_secs")]
    pub idle_secs: u64,
}

/// How messages of syslog come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogTransport {
    /// One message a datagram (RFC 5426).
    #[default]
    Udp,
    /// Counted, or one a line (RFC 6587).
    Tcp,
    /// The same inside TLS (RFC 5425).
    Tls,
}

impl SyslogTransport {
    /// Its name in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Lines of the agent's own standard input (`type = "stdin"`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdinSource {
    /// What reads the lines.
    #[serde(default)]
    pub parser: LogFormat,
    /// The zone of times without one; default: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

fn by_program() -> LogFormat {
    LogFormat::Syslog
}

fn syslog_connections() -> usize {
    256
}

fn syslog_idle_secs() -> u64 {
    3600
}

/// Where a source begins at its very first start; later starts go on where
/// the last one ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartFrom {
    /// With what comes from now on.
    #[default]
    End,
    /// With everything that is there.
    Start,
}

fn sshd_programs() -> Vec<String> {
    ["sshd", "sshd-session", "sshd-auth"].map(String::from).to_vec()
}

fn journalctl() -> PathBuf {
    "journalctl".into()
}

impl SourceConfig {
    /// sshd's log in a file, from its end.
    #[must_use]
    pub fn sshd_file(path: impl AsRef<Path>) -> Self {
        Self::File(FileSource {
            path: path.as_ref().into(),
            parser: LogFormat::Sshd,
            zone: None,
            from: StartFrom::End,
        })
    }

    /// sshd's messages in the journal, from now on.
    #[must_use]
    pub fn sshd_journal() -> Self {
        Self::Journal(JournalSource::new(LogFormat::Sshd))
    }

    fn check(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match self {
            Self::File(file) => {
                if !file.path.is_absolute() || file.path.file_name().is_none() {
                    mistakes.push(format!(
                        "sources: path '{}' must be absolute and name a file",
                        file.path.display()
                    ));
                }
                if let Err(mistake) = zone::find(file.zone.as_deref()) {
                    mistakes.push(format!("sources: {mistake}"));
                }
                if is_pattern(&file.path)
                    && let Err(error) = glob::Pattern::new(&file.path.to_string_lossy())
                {
                    mistakes.push(format!(
                        "sources: path '{}' is no pattern: {error}",
                        file.path.display()
                    ));
                }
            }
            Self::Journal(journal) => {
                let plain = |c: char| {
                    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':' | '\\')
                };
                let good = |name: &String| !name.is_empty() && name.chars().all(plain);
                if !journal.programs.iter().chain(&journal.units).all(good) {
                    mistakes.push(
                        "sources: programs and units must be names of letters, digits, '.', '_', '-' or '@'"
                            .to_owned(),
                    );
                }
                let is_match = |text: &String| {
                    text == "+"
                        || text.split_once('=').is_some_and(|(field, _)| {
                            let part =
                                |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
                            !field.is_empty() && field.chars().all(part)
                        })
                };
                if let Some(wrong) = journal.matches.iter().find(|text| !is_match(text)) {
                    mistakes.push(format!(
                        "sources: matches: '{}' must be + or FIELD=value, such as _SYSTEMD_UNIT=ssh.service",
                        wrong.escape_debug()
                    ));
                }
                let by_name = !journal.programs.is_empty() || !journal.units.is_empty();
                if by_name && !journal.matches.is_empty() {
                    mistakes.push(
                        "sources: matches stand alone, without programs and units".to_owned(),
                    );
                }
                if journal.command.as_os_str().is_empty() {
                    mistakes.push("sources: command must not be empty".to_owned());
                }
            }
            Self::Syslog(syslog) => mistakes.extend(syslog.check()),
            Self::Stdin(stdin) => {
                if let Err(mistake) = zone::find(stdin.zone.as_deref()) {
                    mistakes.push(format!("sources: {mistake}"));
                }
            }
        }
        mistakes
    }
}

/// Whether a path stands for several files.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

impl SyslogSource {
    fn check(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(mistake) = zone::find(self.zone.as_deref()) {
            mistakes.push(format!("sources: {mistake}"));
        }
        if self.max_connections == 0 || self.max_connections > MAX_SYSLOG_CONNECTIONS {
            mistakes.push(format!(
                "sources: max_connections must be between 1 and {MAX_SYSLOG_CONNECTIONS}"
            ));
        }
        if self.idle_secs == 0 {
            mistakes.push("sources: idle_secs must be at least 1".to_owned());
        }
        let named = self.cert_file.is_some() && self.key_file.is_some();
        let any =
            self.cert_file.is_some() || self.key_file.is_some() || self.client_ca_file.is_some();
        match self.transport {
            SyslogTransport::Tls if !named => mistakes.push(
                "sources: transport 'tls' needs cert_file and key_file, both in PEM".to_owned(),
            ),
            SyslogTransport::Udp | SyslogTransport::Tcp if any => mistakes.push(format!(
                "sources: cert_file, key_file and client_ca_file are for transport 'tls', not '{}'",
                self.transport.as_str()
            )),
            _ => {}
        }
        mistakes
    }
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Several jails may read one log.
            Self::File(FileSource { path, parser: LogFormat::Jail(jail), .. }) => {
                write!(f, "{} ({})", path.display(), jail.jail().name())
            }
            Self::File(file) => write!(f, "{}", file.path.display()),
            Self::Journal(JournalSource { parser: LogFormat::Jail(jail), .. }) => {
                write!(f, "the journal ({})", jail.jail().name())
            }
            Self::Journal(journal) => {
                let mut names = journal.programs();
                names.extend(journal.units.iter().chain(&journal.matches).cloned());
                write!(f, "the journal ({})", names.join(", "))
            }
            Self::Syslog(syslog) => {
                write!(f, "syslog ({} {})", syslog.transport.as_str(), syslog.listen)
            }
            Self::Stdin(_) => f.write_str("standard input"),
        }
    }
}

impl Config {
    /// Checks everything that can be seen without starting.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        if self.spool.max_bytes < MIN_SPOOL_BYTES {
            mistakes.push(format!("spool.max_bytes must be at least {MIN_SPOOL_BYTES} (8 MiB)"));
        }
        if self.spool.segment_bytes < MIN_SEGMENT_BYTES
            || self.spool.segment_bytes.saturating_mul(2) > self.spool.max_bytes
        {
            mistakes.push(format!(
                "spool.segment_bytes must be between {MIN_SEGMENT_BYTES} and half of spool.max_bytes"
            ));
        }
        if self.sources.len() > MAX_SOURCES {
            mistakes.push(format!("sources: at most {MAX_SOURCES} are possible"));
        }
        let mut seen = std::collections::BTreeSet::new();
        for source in &self.sources {
            mistakes.extend(source.check());
            if !seen.insert(source.to_string()) {
                mistakes.push(format!("sources: {source} is listed twice"));
            }
        }
        mistakes.extend(self.detect.validate().err().unwrap_or_default());
        mistakes.extend(self.enforce.validate());
        mistakes.extend(self.inventory.mistakes());
        mistakes.extend(self.audit.mistakes());
        mistakes.extend(self.health.mistakes());
        mistakes.extend(self.integrity.mistakes());
        if let Some(knock) = &self.knock {
            mistakes.extend(knock.validate());
            if !self.detect.enabled {
                mistakes.push("knock: it needs detect.enabled = true".to_owned());
            }
        }
        if let Some(fail2ban) = &self.fail2ban {
            mistakes.extend(fail2ban.validate());
            if !self.detect.enabled {
                mistakes.push("fail2ban: its jails need detect.enabled = true".to_owned());
            }
        }
        if let Some(host) = &self.host
            && let Err(error) = HostName::new(host)
        {
            mistakes.push(format!("host: {error}"));
        }
        if let Some(hub) = &self.hub {
            if let Err(mistake) = Target::parse(&hub.url) {
                mistakes.push(mistake);
            }
            if let Some(pin) = &hub.pin
                && let Err(mistake) = crate::uplink::parse_pin(pin)
            {
                mistakes.push(mistake);
            }
            if hub.key_file.as_os_str().is_empty() {
                mistakes.push("hub.key_file is missing: the file with the API key".to_owned());
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
        let sources =
            vec![SourceConfig::sshd_file("/var/log/auth.log"), SourceConfig::sshd_journal()];
        assert_eq!(Config { sources, ..Config::default() }.validate(), Ok(()));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let config: Config = serde_json::from_value(serde_json::json!({
            "spool": {"max_bytes": 1, "segment_bytes": 1},
            "host": "not a host",
            "sources": [
                {"type": "file", "path": "auth.log", "zone": "Nowhere"},
                {"type": "journal", "programs": ["a b"]},
                {"type": "journal", "programs": ["a b"]},
            ],
            "hub": {"url": "http://hub.example", "pin": "12"},
        }))
        .unwrap();
        let mistakes = config.validate().unwrap_err();
        assert_eq!(mistakes.len(), 11, "{mistakes:#?}");
    }

    #[test]
    fn mistakes_of_sources_are_named() {
        for (source, wanted) in [
            (r#"{"type":"syslog","listen":"127.0.0.1:514","transport":"tls"}"#, "cert_file"),
            (r#"{"type":"syslog","listen":"127.0.0.1:514","key_file":"/k"}"#, "not 'udp'"),
            (
                r#"{"type":"syslog","listen":"127.0.0.1:514","max_connections":0}"#,
                "max_connections",
            ),
            (r#"{"type":"syslog","listen":"127.0.0.1:514","idle_secs":0}"#, "idle_secs"),
            (r#"{"type":"file","path":"/var/log/[.log"}"#, "is no pattern"),
            (r#"{"type":"journal","units":["a b"]}"#, "units"),
            (r#"{"type":"stdin","zone":"Nowhere"}"#, "Nowhere"),
        ] {
            let source: SourceConfig = serde_json::from_str(source).unwrap();
            let mistakes = source.check();
            assert_eq!(mistakes.len(), 1, "{source} {mistakes:?}");
            assert!(mistakes[0].contains(wanted), "{mistakes:?}");
        }
        let parser = r#"{"type":"stdin","parser":"smoke"}"#;
        let error = serde_json::from_str::<SourceConfig>(parser).unwrap_err().to_string();
        assert!(error.contains("unknown log format 'smoke'"), "{error}");
    }

    #[test]
    fn a_journal_without_names_is_that_of_sshd_unless_another_parser_reads() {
        let journal = |text: &str| match serde_json::from_str(text).unwrap() {
            SourceConfig::Journal(journal) => journal.programs(),
            other => panic!("{other}"),
        };
        assert_eq!(journal(r#"{"type":"journal"}"#), sshd_programs());
        assert!(journal(r#"{"type":"journal","units":["ssh"]}"#).is_empty());
        assert!(journal(r#"{"type":"journal","parser":"syslog"}"#).is_empty());
        assert_eq!(
            SourceConfig::sshd_journal().to_string(),
            "the journal (sshd, sshd-session, sshd-auth)"
        );
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        for (json, word) in [
            (r#"{"sourcs": []}"#, "sourcs"),
            (r#"{"sources": [{"type": "file", "path": "/a", "colour": 1}]}"#, "colour"),
            (r#"{"sources": [{"type": "fil", "path": "/a"}]}"#, "fil"),
        ] {
            let error = serde_json::from_str::<Config>(json).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
