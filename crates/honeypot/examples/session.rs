//! The processor time of a 45-command session, as the peers were measured.
//! Argument: how many sessions.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for developers")]

use std::sync::Arc;
use std::time::Instant;

use palisade_event::{SensorId, Timestamp};
use palisade_honeypot::shell::vfs::Visitors;
use palisade_honeypot::shell::{Door, Shell, Who, World};
use palisade_honeypot::{Persona, PersonaConfig};

/// What an automated session of 2025 types, from the first token to the key.
const COMMANDS: &str = include_str!("session.txt");

/// Lines that use up everything they may.
const BOMBS: [&str; 9] = [
    "while :; do :; done",
    ":(){ :|:& };:",
    "yes",
    "i=0; while [ $i -lt 999999999 ]; do i=$((i+1)); done",
    "x=a; while :; do x=$x$x; done",
    "find / -exec find / \\;",
    "for i in $(seq 3000); do > /tmp/f$i; done; echo /tmp/* /tmp/* /tmp/*",
    "seq 20000 | sed 's/.*/&&&&&&&&&&/;s/.*/&&&&&&&&&&/;s/.*/&&&&&&&&&&/' | sort | uniq -c | md5sum",
    "awk 'BEGIN { while (1) x = x \"aaaaaaaa\" }'",
];

fn main() {
    let sessions: u32 = std::env::args().nth(1).map_or(200, |text| text.parse().unwrap());
    let config = PersonaConfig { seed: Some(7), ..PersonaConfig::default() };
    let persona = Persona::new(&config, &SensorId::new("a").unwrap());
    let now = Timestamp::from_millis(1_767_871_234_000);
    for (name, world, door) in [
        ("device", World::device(&persona, &config).unwrap(), Door::Telnet),
        ("server", World::server(&persona, &config).unwrap(), Door::Ssh),
    ] {
        let (world, mut bytes) = (Arc::new(world), 0);
        let begun = Instant::now();
        for _ in 0..sessions {
            let visitors = Visitors::default();
            let address = [192, 0, 2, 1].into();
            let who = Who { user: "root".to_owned(), address, port: 1, door, tty: true };
            let mut shell = Shell::new(&world, &visitors, &who, now);
            for line in COMMANDS.lines() {
                bytes += shell.run(line.as_bytes(), now).output.len();
            }
            shell.finish();
        }
        let each = begun.elapsed() / sessions;
        println!(
            "{name}: {each:?} a session of {} commands, {} bytes printed",
            COMMANDS.lines().count(),
            bytes / sessions as usize
        );
    }
    let world = Arc::new(World::server(&persona, &config).unwrap());
    for line in BOMBS {
        let address = [192, 0, 2, 1].into();
        let who = Who { user: "root".to_owned(), address, port: 1, door: Door::Ssh, tty: true };
        let mut shell = Shell::new(&world, &Visitors::default(), &who, now);
        let begun = Instant::now();
        shell.run(line.as_bytes(), now);
        println!("{:?}: {line}", begun.elapsed());
    }
}
