//! Collects what is due and makes events of it. Blocks; knows no clock but the one
//! it is handed.

use std::path::Path;

use palisade_event::{
    AttributeValue, Event, EventId, EventKind, HostName, SensorId, Timestamp, Untrusted,
};

use super::config::InventoryConfig;
use super::known::{Change, Known, object, parts};
use super::root::{Meta, Root};
use super::sample::{Sample, Sampler};
use super::section::Section;
use super::{certificates, hardware, interfaces, people, software, system};

/// Bytes of the data of one event; the rest of it must fit beside.
const PART_BYTES: usize = 60_000;
/// Most changes of one section that are told one by one.
const MAX_CHANGES: usize = 200;
/// Longest text of an entry before or after a change, in bytes.
const MAX_CHANGE_BYTES: usize = 4_096;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// What changes often.
    Often,
    /// The rest.
    Seldom,
    /// The buses alone: something was plugged in or out.
    Devices,
}

/// Who tells.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) sensor: SensorId,
    pub(crate) host: Option<HostName>,
}

impl Teller {
    /// An event of this machine.
    pub(crate) fn event(&self, kind: EventKind, now: Timestamp) -> Event {
        let id = EventId::new(now, rand::random());
        let mut event = Event::new(id, kind, now, self.sensor.clone());
        event.host.clone_from(&self.host);
        event
    }
}

/// The collector.
#[derive(Debug)]
pub(crate) struct Collector {
    root: Root,
    teller: Teller,
    config: InventoryConfig,
    known: Known,
    sampler: Sampler,
    last: Sample,
    /// What the files of packages were when they were last read.
    packages: Option<Vec<Option<Meta>>>,
    /// Units that had failed at the last look; none where they were not seen.
    failed: Option<Vec<String>>,
}

impl Collector {
    pub(crate) fn new(root: Root, teller: Teller, config: &InventoryConfig, folder: &Path) -> Self {
        Self {
            root,
            teller,
            config: config.clone(),
            known: Known::open(folder.join("inventory.json")),
            sampler: Sampler::default(),
            last: Sample::default(),
            packages: None,
            failed: None,
        }
    }

    /// Takes a sample.
    pub(crate) fn sample(&mut self, clock_step_ms: i64, now: Timestamp) -> (Sample, Event) {
        let mut sample = self.sampler.look(&self.root);
        sample.clock_step_ms = clock_step_ms;
        self.last = sample.clone();
        let event = self.teller.event(EventKind::HostSampled, now);
        let mut event = sample.describe(event);
        if clock_step_ms != 0 {
            event = event.with("clock_step_ms", AttributeValue::Integer(clock_step_ms));
        }
        (sample, event)
    }

    /// Looks at what is due, and makes events of what was not told yet.
    pub(crate) fn collect(&mut self, due: Due, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let snapshot = format!("{:032x}", EventId::new(now, rand::random()).as_u128());
        for (name, section) in self.sections(due) {
            if name == "units" {
                let names = section.entries.iter().map(|entry| entry.key.clone()).collect();
                self.failed = section.unseen.is_empty().then_some(names);
            }
            let (told, changes) = self.known.see(name, &section);
            if told {
                self.report(name, &section, &snapshot, now, &mut events);
            }
            self.changed(name, changes, now, &mut events);
        }
        events
    }

    /// Writes down what was told, once that is in the spool. Blocks.
    pub(crate) fn save(&mut self) {
        self.known.save();
    }

    /// Units that have failed, where that could be seen.
    pub(crate) fn failed_units(&self) -> Option<&[String]> {
        self.failed.as_deref()
    }

    fn sections(&mut self, due: Due) -> Vec<(&'static str, Section)> {
        let root = &self.root;
        let on = |name: &str| !self.config.disable.iter().any(|own| own == name);
        let mut found = Vec::new();
        let mut look = |name: &'static str, collect: &dyn Fn(&Root) -> Section| {
            if on(name) {
                found.push((name, collect(root)));
            }
        };
        match due {
            Due::Devices => look("devices", &hardware::devices),
            Due::Often => {
                look("devices", &hardware::devices);
                look("disks", &hardware::disks);
                look("interfaces", &interfaces::collect);
                look("sockets", &software::sockets);
                look("sessions", &people::sessions);
                look("modules", &software::modules);
                look("containers", &software::containers);
                look("units", &software::failed_units);
            }
            Due::Seldom => {
                let sample = &self.last;
                look("system", &|root| system::collect(root, sample));
                look("accounts", &people::accounts);
                look("sudoers", &people::sudoers);
                look("keys", &people::keys);
                look("schedules", &software::schedules);
                let more = &self.config.certificates;
                look("certificates", &|root| certificates::collect(root, more));
                if on("packages") || on("updates") {
                    let files = package_files(root);
                    if self.packages.as_ref() != Some(&files) {
                        let (packages, updates) = software::packages(root);
                        for (name, section) in [("packages", packages), ("updates", updates)] {
                            if on(name) {
                                found.push((name, section));
                            }
                        }
                        self.packages = Some(files);
                    }
                }
            }
        }
        found
    }

    fn report(
        &self,
        name: &str,
        section: &Section,
        snapshot: &str,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        let parts = match name {
            "system" => vec![object(section)],
            _ => parts(section, PART_BYTES),
        };
        let (count, total) = (section.entries.len() as u64, parts.len() as u64);
        let digest = section.digest();
        for (part, data) in (0u64..).zip(parts) {
            let mut event = self
                .teller
                .event(EventKind::HostReported, now)
                .with("section", name)
                .with("snapshot", snapshot)
                .with("digest", digest.as_str())
                .with("part", part)
                .with("parts", total)
                .with("count", count)
                .with("data", Untrusted::from(data));
            if section.left_out > 0 {
                event = event.with("left_out", section.left_out as u64);
            }
            if !section.unseen.is_empty() && part == 0 {
                let unseen = serde_json::to_string(&section.unseen).unwrap_or_default();
                event = event.with("unseen", Untrusted::from(unseen));
            }
            events.push(event);
        }
    }

    fn changed(&self, name: &str, changes: Vec<Change>, now: Timestamp, events: &mut Vec<Event>) {
        // What the machine is changes with each start, and stands in its section.
        if name == "system" {
            return;
        }
        let more = changes.len().saturating_sub(MAX_CHANGES);
        for change in changes.into_iter().take(MAX_CHANGES) {
            let mut event = self
                .teller
                .event(EventKind::HostChanged, now)
                .with("section", name)
                .with("action", change.action)
                .with("item", Untrusted::from(cut(change.item)));
            for (key, text) in [("before", change.before), ("after", change.after)] {
                if let Some(text) = text {
                    event = event.with(key, Untrusted::from(cut(text)));
                }
            }
            events.push(event);
        }
        if more > 0 {
            let event = self.teller.event(EventKind::HostChanged, now).with("section", name);
            let item = format!("{more} more");
            events.push(
                event
                    .with("action", "changed")
                    .with("item", item.as_str())
                    .with("left_out", more as u64),
            );
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_CHANGE_BYTES {
        let end = (0..=MAX_CHANGE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The files that change with packages and with the lists of what is available.
fn package_files(root: &Root) -> Vec<Option<Meta>> {
    [
        "/var/lib/dpkg/status",
        "/lib/apk/db/installed",
        "/var/lib/rpm/rpmdb.sqlite",
        "/usr/lib/sysimage/rpm/rpmdb.sqlite",
        "/var/lib/rpm/Packages",
        "/var/lib/apt/lists",
    ]
    .iter()
    .map(|path| root.meta(path).ok())
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;

    use super::*;

    fn collector(root: Root, folder: &Path) -> Collector {
        let teller = Teller { sensor: SensorId::new("web-1").unwrap(), host: None };
        Collector::new(root, teller, &InventoryConfig::default(), folder)
    }

    #[test]
    fn the_first_look_tells_all_sections_the_second_what_changed() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::create_dir_all(folder.path().join("proc/net")).unwrap();
        std::fs::write(etc.join("passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let root = Root::pretend(folder.path(), true, Map::new(), Map::new()).unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut collector = collector(root, data.path());
        let now = Timestamp::from_millis(1_800_000_000_000);
        let mut told = Map::new();
        for due in [Due::Often, Due::Seldom] {
            for event in collector.collect(due, now) {
                event.validate().unwrap();
                assert_eq!(event.kind, EventKind::HostReported);
                let AttributeValue::Text(name) = &event.attributes["section"] else { panic!() };
                told.insert(name.to_lossy().into_owned(), event);
            }
        }
        let names: Vec<&str> = told.keys().map(String::as_str).collect();
        let mut all = super::super::SECTIONS.to_vec();
        all.sort_unstable();
        assert_eq!(names, all);
        // What cannot be seen is said.
        assert!(told["packages"].attributes.contains_key("unseen"));
        assert_eq!(collector.collect(Due::Seldom, now).len(), 0);
        std::fs::write(etc.join("passwd"), "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n")
            .unwrap();
        let events = collector.collect(Due::Seldom, now);
        let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::HostReported, EventKind::HostChanged]);
        assert_eq!(events[1].attributes["item"], AttributeValue::from("toor"));
    }

    #[test]
    fn a_change_is_told_again_until_it_is_written_down_that_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        let users = |text: &str| std::fs::write(etc.join("passwd"), text).unwrap();
        users("root:x:0:0::/root:/bin/sh\n");
        let data = tempfile::tempdir().unwrap();
        let started = || {
            let root = Root::pretend(folder.path(), true, Map::new(), Map::new()).unwrap();
            collector(root, data.path())
        };
        let now = Timestamp::from_millis(1_800_000_000_000);
        let changes = |collector: &mut Collector| {
            let events = collector.collect(Due::Seldom, now);
            events.iter().filter(|event| event.kind == EventKind::HostChanged).count()
        };
        let mut first = started();
        assert_eq!(changes(&mut first), 0);
        first.save();
        users("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n");
        assert_eq!(changes(&mut first), 1);
        // As after a crash before its event was in the spool.
        let mut second = started();
        assert_eq!(changes(&mut second), 1);
        second.save();
        assert_eq!(changes(&mut started()), 0);
    }

    #[test]
    fn a_machine_that_shows_nothing_is_told_without_harm() {
        let folder = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        for running in [true, false] {
            let root = Root::pretend(folder.path(), running, Map::new(), Map::new()).unwrap();
            let mut collector = collector(root, data.path());
            let (_, event) = collector.sample(0, Timestamp::from_millis(-5));
            assert!(!event.attributes.contains_key("mem_total"));
            for event in collector.collect(Due::Often, Timestamp::from_millis(i64::MAX / 2)) {
                event.validate().unwrap();
            }
        }
    }
}
