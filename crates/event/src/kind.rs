//! The event catalogue: every kind of event, its dotted name and meaning.
//!
//! A closed set on purpose: a match over it is checked by the compiler. A name
//! that is not in it is refused with [`UnknownKind`]; the hub then keeps the
//! record in quarantine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! kinds {
    ($($variant:ident $name:literal, $meaning:literal, $made_by:literal, $fields:literal;)*) => {
        /// What happened: a noun and a past participle, joined by a dot.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $(#[doc = $meaning] $variant,)*
        }

        impl EventKind {
            /// Every kind, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable dotted name, as in the wire form and in queries.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// One sentence: what the kind means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }

            /// Which part of Palisade makes it.
            #[must_use]
            pub fn made_by(self) -> &'static str {
                match self { $(Self::$variant => $made_by),* }
            }

            /// The fields that carry its substance, beside the common ones.
            #[must_use]
            pub fn fields(self) -> &'static str {
                match self { $(Self::$variant => $fields),* }
            }
        }

        impl FromStr for EventKind {
            type Err = UnknownKind;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    other => Err(UnknownKind(other.chars().take(64).collect())),
                }
            }
        }
    };
}

kinds! {
    ConnectionOpened "connection.opened",
        "A client connected to a honeypot service.",
        "honeypot", "source, target, session, fingerprints (os, distance, link), attributes.syn_source, syn_signature, mtu, os_match, syn_tool";
    ConnectionProbed "connection.probed",
        "A client connected to a real service and spoke no word, or not its protocol.",
        "log parser", "source, request (what was sent), attributes.reason";
    ConnectionClosed "connection.closed",
        "A client left a real service before it had logged in.",
        "log parser", "source, credentials.username, attributes.reason";
    AuthAttempted "auth.attempted",
        "Someone tried to log in, with or without success.",
        "honeypot, log parser", "source, credentials, attributes.method, bait (whose credentials these are)";
    AuthExhausted "auth.exhausted",
        "A client used up its login attempts in one connection and was cut off.",
        "log parser", "source, credentials.username";
    UserProbed "user.probed",
        "A login name that does not exist or may not log in was named.",
        "log parser", "source, credentials.username";
    CommandEntered "command.entered",
        "An attacker typed a command line into a honeypot shell.",
        "honeypot", "source, session, request (the line)";
    HttpRequested "http.requested",
        "An attacker sent a request to a honeypot web server.",
        "honeypot", "source, session, request (method and target), fingerprints (user_agent, ja4), cve, attributes.headers, body, status, header_order, http_client, language, signature, technique";
    DataReceived "data.received",
        "A client sent bytes that are not the protocol of the honeypot service.",
        "honeypot", "source, session (not of datagrams), request (the bytes), fingerprints.ja4, attributes.protocol, scanner, spoofable (datagrams)";
    PayloadCaptured "payload.captured",
        "An attacker sent or fetched a file, which was kept.",
        "honeypot, honeypot networks, log parser", "source, session, payload, payload_name, attributes.payload_md5, size, contents (the first 64 KiB), truncated, parts (hashes of its pieces)";
    PayloadPart "payload.part",
        "A piece of a captured file; the hub puts them together and keeps no such event.",
        "honeypot", "source, session, payload (of the whole file), attributes.contents";
    PayloadExecuted "payload.executed",
        "An attacker started a file of their own in a honeypot shell; nothing really ran.",
        "honeypot", "source, session, payload, payload_name, attributes.arguments";
    DownloadAttempted "download.attempted",
        "An attacker asked for a file from elsewhere, in a honeypot shell or by an exploit.",
        "honeypot", "source, session, request (the address), payload (of a file that came), attributes.tool, outcome, bytes, status (of HTTP)";
    KeyPlanted "key.planted",
        "An attacker put a public key where SSH looks for it.",
        "honeypot", "source, session, request (the key), attributes.path, fingerprint";
    PasswordChanged "password.changed",
        "An attacker changed a password in a honeypot shell.",
        "honeypot", "source, session, credentials";
    UserAdded "user.added",
        "An attacker made a user in a honeypot shell.",
        "honeypot", "source, session, credentials.username";
    StartupChanged "startup.changed",
        "An attacker set something up to start by itself: cron, a service, a profile.",
        "honeypot", "source, session, request (the line), attributes.path";
    ClientIdentified "client.identified",
        "A client of a honeypot said what software it is, or was recognised.",
        "honeypot, log parser", "source, session, client, fingerprints, attributes.sni, alpn, failure (of a TLS handshake)";
    TunnelRequested "tunnel.requested",
        "A client of the SSH honeypot asked to be passed on to another address, or to listen for it; nothing is opened.",
        "honeypot", "source, session, attributes.direction (forward or reverse), host, port";
    RequestReceived "request.received",
        "A client asked something of a honeypot service that speaks another protocol than HTTP.",
        "honeypot", "source, session, request, cve, fingerprints (user_agent, ja4), attributes.protocol";
    PluginRecorded "plugin.recorded",
        "A plug-in of the honeypots has recorded a row of the columns that it declares.",
        "honeypot", "analyzer (the plug-in), source, session, request (the row as text), attributes.plugin, and one attribute for each column that is not NULL";
    PluginFailed "plugin.failed",
        "A plug-in of the honeypots has failed, in one session or when it was loaded; no other is touched by it.",
        "honeypot", "analyzer (the plug-in), session, attributes.plugin, reason, file, line";
    PluginReported "plugin.reported",
        "What a plug-in of the honeypots is and has done since their start; told when that changes.",
        "honeypot", "analyzer (the plug-in), attributes.plugin, about, origin (shipped or folder), state (serving or failed), reason, digest, ports, columns, sessions, datagrams, rows, refused, refused_by, faults, last_fault, last_fault_at, loads";
    RequestAnswered "request.answered",
        "A real web server answered a request; kept where it failed or looks like an attack.",
        "log parser", "source, request (the target), fingerprints.user_agent, attributes.method, attributes.status";
    RequestRefused "request.refused",
        "A real service refused what a client asked of it, such as to relay a mail.",
        "log parser", "source, credentials.username, request, attributes.reason";
    PrivilegeGranted "privilege.granted",
        "A user of the machine got the rights of another one (su, sudo).",
        "log parser", "credentials.username, request (the command), attributes.target_user";
    PrivilegeRefused "privilege.refused",
        "A user of the machine was refused the rights of another one (su, sudo).",
        "log parser", "credentials.username, request (the command), attributes.target_user, attributes.reason";
    SessionRecorded "session.recorded",
        "A part of what the terminal of a honeypot session showed and what was typed there.",
        "honeypot", "session, attributes.asciicast (lines of asciicast v2), part (from 0), started_ms, width, height, term, last, truncated";
    SessionClosed "session.closed",
        "A honeypot session ended.",
        "honeypot", "session, attributes.reason, duration_ms, bytes_in, bytes_out; where there were some: logins_failed, logins_accepted, commands, downloads, payloads; recorded";
    SourceFailed "source.failed",
        "A log source cannot be read; it is tried again.",
        "agent", "attributes.source, attributes.reason";
    SourceRecovered "source.recovered",
        "A log source that had failed is read again.",
        "agent", "attributes.source";
    SensorFailed "sensor.failed",
        "The process of the honeypots or the fetcher ended by itself and is started again, or the honeypots were not drained at the last end.",
        "agent", "attributes.process (honeypots, fetcher), reason, wait_secs (until it is started), exit_code, signal, at_most (events that are lost)";
    LossRecorded "loss.recorded",
        "Events were dropped because a bound was reached or a disk was full; says how many and why.",
        "agent, hub", "attributes.records, attributes.bytes, attributes.reason, attributes.outbound";
    LineMatched "line.matched",
        "A line of a log that is watched as it is, for its words and the address in it.",
        "log parser", "source, request (the line)";
    ScenarioTriggered "scenario.triggered",
        "A scenario has seen what it looks for: too many failures, a break-in, a touched honeypot.",
        "agent, hub", "source, attributes.scenario, group, count, reason, verdict, evidence (event ids), simulated";
    DecisionMade "decision.made",
        "It was decided what is done about somebody, such as a ban, and for how long.",
        "agent, hub", "source, attributes.type, scope, value, duration_secs, until, scenario, reason, evidence, alert, simulated, by, note";
    KnockAccepted "knock.accepted",
        "Somebody knocked as agreed, at ports or by a link, and is let in and spared for a while.",
        "agent, hub", "source, attributes.method, until, by (whose link)";
    DecisionLifted "decision.lifted",
        "What was decided about somebody is over before its time.",
        "hub", "source, attributes.scope, value, by, reason";
    HostReported "host.reported",
        "What a machine is and has: one section of its inventory, at the agent's start and after each change (docs/HOSTS.md).",
        "agent, hub", "attributes.section, snapshot, part, parts, digest, count, left_out, unseen, data (JSON)";
    HostSampled "host.sampled",
        "How busy a machine is: load, memory, disks, traffic.",
        "agent, hub", "attributes.cpu_pct, load1, mem_total, mem_used, swap_used, disk_used, disk_worst_pct, net_recv, net_sent, uptime_secs and others";
    HostChanged "host.changed",
        "Something on a machine was added, removed or changed: a package, an account, a listening port, a USB device.",
        "agent", "attributes.section, action, item, before, after";
    HostAlerted "host.alerted",
        "A machine is in trouble: a value is over its threshold, a unit has failed, its clock is off, it is silent.",
        "agent, hub", "attributes.rule, subject, level, value, threshold, unit, message, since, alert";
    HostRecovered "host.recovered",
        "The trouble of a machine is over.",
        "agent, hub", "attributes.rule, subject, level, value, threshold, unit, message, since, alert";
    AuditCompleted "audit.completed",
        "The security settings of a machine were checked; says how many checks it passed.",
        "agent", "attributes.score, passed, failed, not_judged, not_applicable, catalogue, failed_checks, unjudged, duration_ms";
    FindingOpened "finding.opened",
        "A check of the audit fails on a machine where it did not fail before.",
        "agent", "attributes.check, title, severity, area, evidence, why, fix, reference, since";
    FindingClosed "finding.closed",
        "A check of the audit that failed on a machine does not fail any more.",
        "agent", "attributes.check, title, severity, area, reason";
    FileChanged "file.changed",
        "A watched file was created, deleted, or its content, mode or owner changed.",
        "agent", "attributes.path, change, old_hash, new_hash, old_mode, new_mode, old_owner, new_owner, old_size, new_size, how, user, process";
    SensorChecked "sensor.checked",
        "What honeypots are known by was tried on those of a sensor, at its start.",
        "agent", "attributes.shown, checked (how many), report (JSON)";
    ScanDetected "scan.detected",
        "A source has looked at many ports of ours, or did what scanners alone do; told once in a while.",
        "honeypot", "source, target, attributes.ports, port_count, kinds, tool, targets, packets, connections, started_ms, duration_ms, reason (connected or unanswered), spoofable";
}

impl EventKind {
    /// Whether a machine tells by it what it is and how it is, which is nobody's but
    /// its operator's.
    #[must_use]
    pub fn is_of_host(self) -> bool {
        matches!(
            self,
            Self::HostReported
                | Self::HostSampled
                | Self::HostChanged
                | Self::HostAlerted
                | Self::HostRecovered
                | Self::AuditCompleted
                | Self::FindingOpened
                | Self::FindingClosed
                | Self::FileChanged
        )
    }

    /// Whether it tells of something that an attacker did, so that it counts as
    /// an alert of a honeypot network. Not: the end of a connection that was
    /// counted when it began, what real services refuse in their daily work, and
    /// reports of our own health.
    #[must_use]
    pub fn is_attack(self) -> bool {
        match self {
            Self::ConnectionOpened
            | Self::ScanDetected
            | Self::ConnectionProbed
            | Self::AuthAttempted
            | Self::AuthExhausted
            | Self::UserProbed
            | Self::CommandEntered
            | Self::HttpRequested
            | Self::DataReceived
            | Self::PayloadCaptured
            | Self::PayloadExecuted
            | Self::DownloadAttempted
            | Self::KeyPlanted
            | Self::PasswordChanged
            | Self::UserAdded
            | Self::StartupChanged
            | Self::TunnelRequested
            | Self::RequestReceived
            | Self::ClientIdentified => true,
            Self::ConnectionClosed
            | Self::RequestAnswered
            | Self::RequestRefused
            | Self::PrivilegeGranted
            | Self::PrivilegeRefused
            | Self::SessionRecorded
            | Self::PayloadPart
            | Self::PluginRecorded
            | Self::PluginFailed
            | Self::PluginReported
            | Self::SessionClosed
            | Self::SourceFailed
            | Self::SourceRecovered
            | Self::SensorFailed
            | Self::SensorChecked
            | Self::LossRecorded
            | Self::LineMatched
            | Self::ScenarioTriggered
            | Self::DecisionMade
            | Self::KnockAccepted
            | Self::DecisionLifted
            | Self::HostReported
            | Self::HostSampled
            | Self::HostChanged
            | Self::HostAlerted
            | Self::HostRecovered
            | Self::AuditCompleted
            | Self::FindingOpened
            | Self::FindingClosed
            | Self::FileChanged => false,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is not in the event catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown event kind '{}'; docs/EVENTS.md lists the known ones", .0.escape_default())]
pub struct UnknownKind(String);

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::parsed::parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_dotted_unique_and_parses_back() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().split('.').count(), 2, "{kind}");
            assert!(seen.insert(kind.as_str()));
            assert_eq!(kind.as_str().parse::<EventKind>().as_ref(), Ok(kind));
        }
    }

    #[test]
    fn ends_daily_work_and_reports_of_our_own_health_are_no_attacks() {
        let others: Vec<&str> = EventKind::ALL
            .iter()
            .filter(|kind| !kind.is_attack())
            .map(|kind| kind.as_str())
            .collect();
        assert_eq!(
            others,
            [
                "connection.closed",
                "payload.part",
                "plugin.recorded",
                "plugin.failed",
                "plugin.reported",
                "request.answered",
                "request.refused",
                "privilege.granted",
                "privilege.refused",
                "session.recorded",
                "session.closed",
                "source.failed",
                "source.recovered",
                "sensor.failed",
                "loss.recorded",
                "line.matched",
                "scenario.triggered",
                "decision.made",
                "knock.accepted",
                "decision.lifted",
                "host.reported",
                "host.sampled",
                "host.changed",
                "host.alerted",
                "host.recovered",
                "audit.completed",
                "finding.opened",
                "finding.closed",
                "file.changed",
                "sensor.checked"
            ]
        );
    }
}
