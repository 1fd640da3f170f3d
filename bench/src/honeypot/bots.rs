//! Clients that try one password each at a terminal, many at the same time, all
//! on one thread with one buffer: they share the machine with what is measured,
//! and each microsecond here is one that the honeypot does not get.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::rate::{Load, prompts};
use super::subject::Protocol;
use super::talk::address;
use super::telnet::Options;
use super::tries::{PATIENCE, STEP, Tries};

/// Most bytes of one read.
const READ_BYTES: usize = 4_096;
/// Most bytes that are read while one prompt is waited for.
const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// How often those are looked for who wait for too long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most clients that are told of at once.
const EVENTS: usize = 1_024;

/// What a client waits for: its place among [`prompts`], the last is the refusal.
type Prompt = usize;

/// One client at a time; its token is its place in the list.
struct Place {
    stream: Option<TcpStream>,
    visit: usize,
    prompt: Prompt,
    /// Of telnet; elsewhere bytes are text.
    options: Option<Options>,
    /// What came since the last prompt.
    read: Vec<u8>,
    /// What is said, put together here; answers about options wait in it.
    say: Vec<u8>,
    begun: Instant,
    /// Since when the present prompt is waited for.
    waits: Instant,
}

/// Whether a visit goes on.
enum Next {
    Wait,
    Done,
}

/// All of them.
struct Crowd<'a> {
    poll: Poll,
    protocol: Protocol,
    target: SocketAddrV4,
    places: Vec<Place>,
    tries: &'a Tries,
    /// Visits under way.
    open: usize,
}

/// Has all of them try a password. Blocks.
///
/// # Errors
/// The system does not tell of sockets.
pub(super) fn run(
    protocol: Protocol,
    target: SocketAddr,
    load: Load,
    tries: &Tries,
) -> io::Result<()> {
    let SocketAddr::V4(target) = target else {
        return Err(io::Error::other("only an address of IPv4 can be tried"));
    };
    let places = (0..load.at_once).map(|_| Place::new()).collect();
    let mut crowd = Crowd { poll: Poll::new()?, protocol, target, places, tries, open: 0 };
    (0..load.at_once).for_each(|index| crowd.begin(index));
    let mut events = Events::with_capacity(EVENTS);
    let mut looked = Instant::now();
    while crowd.open > 0 {
        match crowd.poll.poll(&mut events, Some(LOOK_EVERY)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        events.iter().for_each(|event| crowd.serve(event.token()));
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            crowd.give_up();
        }
    }
    Ok(())
}

impl Crowd<'_> {
    /// Begins the next visit at a place, if there is one.
    fn begin(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        while let Some(visit) = self.tries.next() {
            place.options = (self.protocol == Protocol::Telnet).then(Options::default);
            match place.connect(self.target, visit, (&self.poll, index)) {
                Ok(()) => {
                    self.open += 1;
                    return;
                }
                Err(error) => self.tries.failed(format!("connecting: {error}")),
            }
        }
    }

    /// Something has come.
    fn serve(&mut self, Token(index): Token) {
        let Some(place) = self.places.get_mut(index) else { return };
        match place.go_on(self.protocol) {
            Ok(Next::Wait) => return,
            Ok(Next::Done) => self.tries.succeeded(),
            Err(error) => {
                let (what, _) = place.waits_for(self.protocol);
                self.tries.failed(format!("{what}: {error}"));
            }
        }
        self.end(index);
    }

    /// Ends a visit, and begins the next.
    fn end(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        place.stream = None;
        self.open -= 1;
        self.begin(index);
    }

    /// Ends those that wait for too long.
    fn give_up(&mut self) {
        for index in 0..self.places.len() {
            let Some(place) = self.places.get(index) else { return };
            // Until the first prompt it may be connecting still.
            let limit = if place.prompt == 0 { PATIENCE } else { STEP };
            if place.stream.is_some() && place.waits.elapsed() > limit {
                let (what, _) = place.waits_for(self.protocol);
                self.tries.failed(format!("{what}: nothing within {} s", limit.as_secs()));
                self.end(index);
            } else if place.stream.is_some() && place.begun.elapsed() > PATIENCE {
                self.tries.failed(format!("not done within {} s", PATIENCE.as_secs()));
                self.end(index);
            }
        }
    }
}

impl Place {
    fn new() -> Self {
        let (read, say, now) = (Vec::new(), Vec::new(), Instant::now());
        Self { stream: None, visit: 0, prompt: 0, options: None, read, say, begun: now, waits: now }
    }

    /// The prompt that is waited for: what it is, and its texts.
    fn waits_for(&self, protocol: Protocol) -> (&'static str, &'static [&'static [u8]]) {
        prompts(protocol).get(self.prompt).copied().unwrap_or_default()
    }

    fn connect(
        &mut self,
        target: SocketAddrV4,
        visit: usize,
        (poll, index): (&Poll, usize),
    ) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        // A port is looked for where it is known what for, not among all that are used;
        // and nothing is paced, which sets a timer for each packet.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        let _ = setsockopt(&socket, sockopt::TcpCongestion, &OsString::from("cubic"));
        rustix::net::bind(&socket, &SocketAddrV4::new(address(visit), 0))?;
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut stream = TcpStream::from_std(socket.into());
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        self.stream = Some(stream);
        (self.visit, self.prompt, self.begun) = (visit, 0, Instant::now());
        self.waits = self.begun;
        self.read.clear();
        self.say.clear();
        Ok(())
    }

    /// Reads what came, and answers it.
    fn go_on(&mut self, protocol: Protocol) -> io::Result<Next> {
        let Some(stream) = &mut self.stream else { return Ok(Next::Wait) };
        loop {
            let mut buffer = [0; READ_BYTES];
            let count = match stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("it hung up")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            match &mut self.options {
                Some(options) => options.take(bytes, &mut self.read, &mut self.say),
                None => self.read.extend_from_slice(bytes),
            }
            let (_, texts) = prompts(protocol).get(self.prompt).copied().unwrap_or_default();
            let is_there = |text: &&[u8]| self.read.windows(text.len()).any(|part| part == *text);
            if texts.iter().any(is_there) {
                self.read.clear();
                let ftp = protocol == Protocol::Ftp;
                let text = match self.prompt {
                    0 if ftp => "USER root\r\n".to_owned(),
                    0 => "root\r\n".to_owned(),
                    1 if ftp => format!("PASS password-{}\r\n", self.visit),
                    1 => format!("password-{}\r\n", self.visit),
                    _ => return Ok(Next::Done),
                };
                (self.prompt, self.waits) = (self.prompt + 1, Instant::now());
                // Before the answers about options, as `Talk` says it.
                self.say.splice(..0, text.into_bytes());
            }
            if !self.say.is_empty() {
                // So few bytes are taken at once, or the connection is broken.
                stream.write_all(&self.say)?;
                self.say.clear();
            }
            if self.read.len() > MAX_PROMPT_BYTES {
                return Err(io::Error::other("it says too much"));
            }
            // Short of the room: there was no more, and the next bytes are told of.
            if count < READ_BYTES {
                return Ok(Next::Wait);
            }
        }
    }
}
