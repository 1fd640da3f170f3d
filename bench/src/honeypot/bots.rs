//! Clients that try one password each at a terminal, many at the same time, all
//! on one thread with one buffer: they share the machine with what is measured,
//! and each microsecond here is one that the honeypot does not get.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Load, PATIENCE, address};

/// Most bytes of one read.
const READ_BYTES: usize = 4_096;
/// Most bytes that are read while one prompt is waited for.
const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// How often those are looked for who wait for too long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most clients that are told of at once.
const EVENTS: usize = 1_024;

/// What a client waits for.
#[derive(Clone, Copy)]
enum Prompt {
    Name,
    Password,
    Refusal,
}

impl Prompt {
    /// Any of these texts is it.
    fn texts(self) -> &'static [&'static [u8]] {
        match self {
            Self::Name => &[b"ogin: ", b"sername: "],
            Self::Password => &[b"assword: "],
            Self::Refusal => &[b"ncorrect", b"ailed", b"nvalid", b"denied"],
        }
    }
}

/// One client at a time; its token is its place in the list.
struct Place {
    stream: Option<TcpStream>,
    visit: usize,
    prompt: Prompt,
    /// What came since the last prompt.
    read: Vec<u8>,
    /// What is said, put together here.
    say: Vec<u8>,
    begun: Instant,
}

/// Whether a visit goes on.
enum Next {
    Wait,
    Done,
}

/// All of them.
struct Crowd {
    poll: Poll,
    target: SocketAddrV4,
    places: Vec<Place>,
    /// Visits that are still to begin, those under way, and those that failed.
    left: usize,
    open: usize,
    lost: usize,
}

/// Has all of them try a password; says how many got no answer. Blocks.
///
/// # Errors
/// The system does not tell of sockets.
pub(super) fn run(target: SocketAddr, load: Load) -> io::Result<usize> {
    let SocketAddr::V4(target) = target else {
        return Err(io::Error::other("only an address of IPv4 can be tried"));
    };
    let places = (0..load.at_once).map(|_| Place::new()).collect();
    let (poll, left) = (Poll::new()?, load.count);
    let mut crowd = Crowd { poll, target, places, left, open: 0, lost: 0 };
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
    Ok(crowd.lost)
}

impl Crowd {
    /// Begins the next visit at a place, if there is one.
    fn begin(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        while self.left > 0 {
            self.left -= 1;
            match place.connect(self.target, self.left, (&self.poll, index)) {
                Ok(()) => {
                    self.open += 1;
                    return;
                }
                Err(_) => self.lost += 1,
            }
        }
    }

    /// Something has come.
    fn serve(&mut self, Token(index): Token) {
        let Some(place) = self.places.get_mut(index) else { return };
        match place.go_on() {
            Ok(Next::Wait) => return,
            Ok(Next::Done) => {}
            Err(_) => self.lost += 1,
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
            let late = |place: &Place| place.stream.is_some() && place.begun.elapsed() > PATIENCE;
            if self.places.get(index).is_some_and(late) {
                self.lost += 1;
                self.end(index);
            }
        }
    }
}

impl Place {
    fn new() -> Self {
        let (read, say) = (Vec::new(), Vec::new());
        Self { stream: None, visit: 0, prompt: Prompt::Name, read, say, begun: Instant::now() }
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
        rustix::net::bind(&socket, &SocketAddrV4::new(address(visit), 0))?;
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let mut stream = TcpStream::from_std(socket.into());
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        self.stream = Some(stream);
        (self.visit, self.prompt, self.begun) = (visit, Prompt::Name, Instant::now());
        self.read.clear();
        Ok(())
    }

    /// Reads what came, and answers it.
    fn go_on(&mut self) -> io::Result<Next> {
        let Some(stream) = &mut self.stream else { return Ok(Next::Wait) };
        loop {
            let mut buffer = [0; READ_BYTES];
            let count = match stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.read.extend_from_slice(buffer.get(..count).unwrap_or_default());
            let is_there = |text: &&[u8]| self.read.windows(text.len()).any(|part| part == *text);
            if self.prompt.texts().iter().any(is_there) {
                self.read.clear();
                self.say.clear();
                match self.prompt {
                    Prompt::Name => {
                        self.say.extend_from_slice(b"root\r\n");
                        self.prompt = Prompt::Password;
                    }
                    Prompt::Password => {
                        write!(self.say, "password-{}\r\n", self.visit)?;
                        self.prompt = Prompt::Refusal;
                    }
                    Prompt::Refusal => return Ok(Next::Done),
                }
                // So few bytes are taken at once, or the connection is broken.
                stream.write_all(&self.say)?;
            }
            if self.read.len() > MAX_PROMPT_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            // Short of the room: there was no more, and the next bytes are told of.
            if count < READ_BYTES {
                return Ok(Next::Wait);
            }
        }
    }
}
