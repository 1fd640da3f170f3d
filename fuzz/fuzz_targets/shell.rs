//! Lexer, parser, evaluator and commands of the shell: lines of a device, then
//! the whole input as one script of a server.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use palisade_event::{SensorId, Timestamp};
use palisade_honeypot::shell::vfs::Visitors;
use palisade_honeypot::shell::{Door, MAX_OUTPUT_BYTES, MAX_PAUSE_MS, Shell, Who, World};
use palisade_honeypot::{Persona, PersonaConfig};

static WORLDS: LazyLock<[Arc<World>; 2]> = LazyLock::new(|| {
    let config = PersonaConfig::default();
    let sensor = SensorId::new("fuzz").expect("a name");
    let persona = Persona::new(&config, &sensor);
    [World::device(&persona, &config), World::server(&persona, &config)]
        .map(|world| Arc::new(world.expect("a shipped persona")))
});

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_millis(1_767_871_234_000);
    let [device, server] = &*WORLDS;
    let (address, visitors) = ([192, 0, 2, 1].into(), Visitors::default());
    let who = |tty| Who { user: "root".to_owned(), address, port: 1, door: Door::Telnet, tty };
    let mut shell = Shell::new(device, &visitors, &who(true), now);
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let reply = shell.run(line, now);
        assert!(reply.output.len() <= MAX_OUTPUT_BYTES);
        assert!(reply.pause.as_millis() <= u128::from(MAX_PAUSE_MS));
        let _ = (shell.prompt(), shell.completion(line));
    }
    shell.end_of_input(now);
    shell.finish();
    let mut script = Shell::new(server, &visitors, &who(false), now);
    let reply = script.exec(bytes, bytes.to_vec(), now);
    assert!(reply.output.len() <= MAX_OUTPUT_BYTES && reply.errors.len() <= MAX_OUTPUT_BYTES);
});
