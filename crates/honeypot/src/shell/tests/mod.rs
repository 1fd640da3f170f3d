//! The shell as attackers use it.

mod bombs;
mod giveaways;
mod language;
mod machine;

use std::sync::Arc;

use palisade_event::{SensorId, Timestamp};

use super::vfs::Visitors;
use super::*;
use crate::{Persona, PersonaConfig};

/// A Thursday in January 2026.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_767_871_234_000);

pub(super) fn config(seed: u64) -> PersonaConfig {
    PersonaConfig {
        seed: Some(seed),
        prompt: Some("\\w # ".to_owned()),
        server: Some("debian12".to_owned()),
        ..PersonaConfig::default()
    }
}

pub(super) fn world(seed: u64, server: bool) -> Arc<World> {
    let config = config(seed);
    let persona = Persona::new(&config, &SensorId::new("a").unwrap());
    let made =
        if server { World::server(&persona, &config) } else { World::device(&persona, &config) };
    Arc::new(made.unwrap())
}

pub(super) fn who(tty: bool, door: Door) -> Who {
    Who {
        user: "root".to_owned(),
        address: "198.51.100.7".parse().unwrap(),
        port: 40_022,
        door,
        tty,
    }
}

pub(super) fn device() -> Shell {
    Shell::new(&world(1, false), &Visitors::default(), &who(true, Door::Telnet), NOW)
}

pub(super) fn server() -> Shell {
    Shell::new(&world(1, true), &Visitors::default(), &who(true, Door::Ssh), NOW)
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What lines print, one after the other in one shell.
pub(super) fn typed(shell: &mut Shell, lines: &[&str]) -> String {
    lines.iter().map(|line| text(&shell.run(line.as_bytes(), NOW).output)).collect()
}

/// What a line prints on a server.
pub(super) fn bash(line: &str) -> String {
    typed(&mut server(), &[line])
}

/// What a line prints on a device.
pub(super) fn ash(line: &str) -> String {
    typed(&mut device(), &[line])
}
