//! The requests of an SFTP client: any bytes after the version.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use palisade_event::{SensorId, Timestamp};
use palisade_honeypot::service::ssh::sftp::{MAX_ANSWER_BYTES, MAX_MESSAGE_BYTES, Sftp};
use palisade_honeypot::shell::vfs::Visitors;
use palisade_honeypot::shell::{Door, Shell, Who, World};
use palisade_honeypot::{Persona, PersonaConfig};

static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| {
    let config = PersonaConfig::default();
    let persona = Persona::new(&config, &SensorId::new("fuzz").expect("a name"));
    Arc::new(World::server(&persona, &config).expect("a shipped persona"))
});

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_millis(1_767_871_234_000);
    let who = Who {
        user: "root".to_owned(),
        address: [192, 0, 2, 1].into(),
        port: 1,
        door: Door::Ssh,
        tty: false,
    };
    let shell = Shell::new(&WORLD, &Visitors::default(), &who, now);
    let mut sftp = Sftp::new(shell, "/root".to_owned());
    sftp.feed(&[0, 0, 0, 5, 1, 0, 0, 0, 3], 1_767_871_234, &mut Vec::new()).expect("a version");
    // A length is a byte here, so that most of what comes is requests.
    let mut messages = Vec::new();
    let mut rest = bytes;
    while let Some((length, more)) = rest.split_first() {
        let (body, more) = more.split_at(more.len().min(usize::from(*length)));
        messages.extend_from_slice(&(body.len() as u32).to_be_bytes());
        messages.extend_from_slice(body);
        rest = more;
    }
    let mut piece = messages.as_slice();
    loop {
        let mut out = Vec::new();
        let goes_on = sftp.feed(piece, 1_767_871_234, &mut out).is_some();
        assert!(out.len() <= MAX_ANSWER_BYTES + MAX_MESSAGE_BYTES + 64);
        if !goes_on || !sftp.waits() {
            break;
        }
        piece = &[];
    }
});
