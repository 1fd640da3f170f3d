//! Runs a plug-in against its transcripts, and checks that it can be loaded.
//! Needs no network, no zone and no time.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use palisade_event::SensorId;
use tokio::sync::mpsc;

use super::conn::{Ended, MAX_EVENTS, Visit};
use super::datagram;
use super::dialog::Dialog;
use super::facts::Facts;
use super::manifest::Manifest;
use super::run::{talk, tell_fault};
use super::source::Source;
use super::stats::PluginStats;
use super::transcript::{MAX_TRANSCRIPT_BYTES, Transcript, Transport};
use super::vm::Vm;
use super::wire::Wire;
use crate::session::Zone;
use crate::{Closed, PersonaConfig, Session, Stats};

/// Whose machine transcripts are played on.
const SEED: u64 = 1;
/// Its system where a transcript names none.
const SYSTEM: &str = "debian12";
/// The client of transcripts, of RFC 5737.
const PEER: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 40_000);
/// The service's address in transcripts.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Most transcripts of a plug-in.
const MAX_TRANSCRIPTS: usize = 1_000;

/// How a transcript has ended: its file, and what differed.
pub type Played = (String, Result<(), String>);

/// A zone that tells its events to `out`, on the machine of transcripts with
/// this system.
fn zone(
    out: mpsc::Sender<palisade_event::Event>,
    system: Option<&str>,
) -> Result<Arc<Zone>, String> {
    let server = Some(system.unwrap_or(SYSTEM).to_owned());
    let config = PersonaConfig { seed: Some(SEED), server, ..PersonaConfig::default() };
    let sensor = SensorId::new("rehearsal").map_err(|error| error.to_string())?;
    Zone::new(&config, sensor, None, out, Arc::new(Stats::default())).map(Arc::new)
}

/// The machine of transcripts, made once.
fn facts() -> Result<Arc<Facts>, String> {
    static MADE: OnceLock<Arc<Facts>> = OnceLock::new();
    if let Some(facts) = MADE.get() {
        return Ok(Arc::clone(facts));
    }
    let (out, _told) = mpsc::channel(1);
    let facts = Arc::new(Facts::of(&*zone(out, None)?));
    Ok(Arc::clone(MADE.get_or_init(|| facts)))
}

/// Loads a plug-in as a worker thread does, and says what it declares.
///
/// # Errors
/// One sentence with the place.
pub fn check(source: &Source) -> Result<Manifest, String> {
    // A thread of its own: the caller's may be one that must not be blocked.
    let loaded = std::thread::scope(|scope| {
        let load = || {
            let vm = Vm::load(source, facts()?, Arc::default(), true);
            vm.map(|vm| (*vm.manifest).clone()).map_err(|fault| fault.to_string())
        };
        scope.spawn(load).join()
    });
    loaded.unwrap_or_else(|_| Err("it cannot be loaded".to_owned()))
}

/// Plays every transcript (`transcripts/*.txt`) of a plug-in's folder.
///
/// # Errors
/// The plug-in cannot be read or loaded; says why.
pub fn test(folder: &Path) -> Result<Vec<Played>, String> {
    let source = Source::read(folder)?;
    check(&source)?;
    let place = folder.join("transcripts");
    let cannot = |error| format!("{}: {error}", place.display());
    let mut files = Vec::new();
    if place.is_dir() {
        for entry in std::fs::read_dir(&place).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_some_and(|ending| ending == "txt") {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.len() > MAX_TRANSCRIPTS {
        return Err(format!("{}: more than {MAX_TRANSCRIPTS} transcripts", place.display()));
    }
    let mut played = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = read(&path);
        played.push((name, text.and_then(|text| play(&source, &text))));
    }
    Ok(played)
}

fn read(path: &Path) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_TRANSCRIPT_BYTES as u64 {
        return Err(format!("a transcript has at most {MAX_TRANSCRIPT_BYTES} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Plays one transcript.
///
/// # Errors
/// The first difference, or what went wrong in the script.
pub fn play(source: &Source, text: &str) -> Result<(), String> {
    let transcript = Transcript::parse(text).map_err(|error| error.to_string())?;
    let played = std::thread::scope(|scope| {
        let play = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .map_err(|error| error.to_string())?;
            runtime.block_on(converse_with(source, transcript))
        };
        scope.spawn(play).join()
    });
    played.unwrap_or_else(|_| Err("it cannot be played".to_owned()))
}

async fn converse_with(source: &Source, transcript: Transcript) -> Result<(), String> {
    // Nobody reads while the script goes on: room for all that it may tell.
    let (out, told) = mpsc::channel(MAX_EVENTS as usize + 256);
    let zone = zone(out, transcript.system)?;
    let stats = Arc::new(PluginStats::default());
    let facts = Arc::new(Facts::of(&zone));
    let vm = Vm::load(source, facts, stats, true).map_err(|fault| fault.to_string())?;
    let manifest = &vm.manifest;
    let (ports, transport) = match transcript.transport {
        Transport::Tcp => (&manifest.tcp, "TCP"),
        Transport::Tls => (&manifest.tls, "TLS"),
        Transport::Udp => (&manifest.udp, "UDP"),
    };
    let port = transcript.port.or(ports.first().copied());
    let port = port.ok_or(format!("the plug-in has no {transport} port; name one after @"))?;
    let (peer, server) = (SocketAddr::from(PEER), SocketAddr::from((SERVER, port)));
    let tls = transcript.transport == Transport::Tls;
    let dialog = Rc::new(RefCell::new(Dialog::new(transcript.steps, told, tls)));
    let category = Some(manifest.category.clone());
    if transcript.transport == Transport::Udp {
        let mut faults = Ok(());
        loop {
            let next = dialog.borrow_mut().next_datagram();
            let Some(bytes) = next else { break };
            let session = datagram::session(&zone, category.clone(), peer, server);
            let answer = datagram::answer(&vm, session, &bytes).await;
            match answer {
                Ok(Some(answer)) => {
                    let _ = dialog.borrow_mut().write(&answer);
                }
                Ok(None) => {}
                Err(why) => faults = faults.and(Err(why)),
            }
        }
        dialog.borrow_mut().end();
        let wrong = dialog.borrow_mut().wrong();
        return faults.and(wrong.map_or(Ok(()), Err));
    }
    let session = Session::new(Arc::clone(&zone), category, peer, server);
    let visit = Visit::new(session, Wire::Dialog(Rc::clone(&dialog)));
    let ended = talk(&vm, &visit).await;
    if let (Some(mut parts), Err(Ended::Fault(fault))) = (visit.finish(), &ended) {
        // Told as in a zone, so that transcripts may expect it.
        let told = (&vm.inside.stats, &vm.inside.name);
        let _ = tell_fault(told.0, told.1, &mut parts.session, fault).await;
    }
    let expected = dialog.borrow().expects_fault();
    dialog.borrow_mut().end();
    let wrong = dialog.borrow_mut().wrong();
    match (ended, wrong) {
        (Err(Ended::Fault(fault)), _) if !expected => Err(fault.to_string()),
        (_, Some(wrong)) => Err(wrong),
        (Err(Ended::Closed(Closed::Idle)), None) => {
            Err("a read runs out, and the script has set no conn:timeout".to_owned())
        }
        _ => Ok(()),
    }
}
