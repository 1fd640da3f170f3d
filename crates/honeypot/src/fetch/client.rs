//! The honeypots' end of the pair to the fetcher: sends wishes, puts answers
//! together. The fetcher may be dead, slow or in the hands of an intruder: then
//! a wish ends as one that got no answer in time.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as BlockingDatagram;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::reach::Reach;
use super::wire::{Answer, MAX_MESSAGE_BYTES, Wish};
use crate::FetchConfig;
use crate::shell::fetch::{Fetch, Outcome, Request, Withheld};

/// How long an answer may take beyond the time that a fetch may.
const MARGIN: Duration = Duration::from_secs(5);
/// Pause after the pair could not be read, which it always can.
const BACKOFF: Duration = Duration::from_secs(1);

/// Has files fetched by another process.
#[derive(Debug)]
pub struct Fetcher {
    shared: Arc<Shared>,
    reach: Reach,
    queue: usize,
    timeout: Duration,
    _reading: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    socket: UnixDatagram,
    waiting: Mutex<HashMap<u64, Waiting>>,
    most: usize,
}

/// A wish without its answer.
#[derive(Debug)]
struct Waiting {
    answer: Option<oneshot::Sender<Outcome>>,
    /// Its head, once that has come, and how many bytes the file has.
    head: Option<(Outcome, usize)>,
    bytes: Vec<u8>,
}

impl Fetcher {
    /// A fetcher at the other end of `pair`. Must be called within a runtime.
    ///
    /// # Errors
    /// `pair` cannot be waited for.
    pub fn new(pair: OwnedFd, config: &FetchConfig) -> io::Result<Self> {
        let socket = BlockingDatagram::from(pair);
        socket.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            socket: UnixDatagram::from_std(socket)?,
            waiting: Mutex::default(),
            most: config.max_bytes,
        });
        let reading = tokio::spawn(Arc::clone(&shared).read());
        Ok(Self {
            shared,
            reach: Reach::new(config, &[], &[]),
            queue: config.queue,
            timeout: config.timeout() + MARGIN,
            _reading: AbortOnDropHandle::new(reading),
        })
    }

    async fn ask(&self, request: Request) -> Outcome {
        let number = rand::random();
        let Some(message) = (Wish { number, request }).encode() else { return Outcome::Broken };
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.len() >= self.queue {
                return Outcome::Withheld(Withheld::QueueFull);
            }
            let wish = Waiting { answer: Some(answer), head: None, bytes: Vec::new() };
            waiting.insert(number, wish);
        }
        // Gives its place back, also where nobody waits for it any more.
        let _place = Place { shared: &self.shared, number };
        let asked = async {
            self.shared.socket.send(&message).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Outcome::Withheld(Withheld::Away),
        }
    }
}

/// A place in the queue.
struct Place<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.waiting().remove(&self.number);
    }
}

impl Fetch for Fetcher {
    fn fetch(&self, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(self.ask(request))
    }

    fn permits(&self, address: IpAddr) -> bool {
        self.reach.permits(address)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self: Arc<Self>) {
        let mut buffer = vec![0; MAX_MESSAGE_BYTES + 1];
        loop {
            match self.socket.recv(&mut buffer).await {
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default()),
                Err(error) => {
                    tracing::error!(%error, "cannot hear the fetcher");
                    tokio::time::sleep(BACKOFF).await;
                }
            }
        }
    }

    /// Takes a message; what does not fit is left out.
    fn take(&self, message: &[u8]) {
        let Ok(answer) = Answer::decode(message) else {
            tracing::warn!("the fetcher does not speak as agreed");
            return;
        };
        let mut waiting = self.waiting();
        let number = match &answer {
            Answer::Head { number, .. } | Answer::Data { number, .. } => *number,
        };
        let Some(wish) = waiting.get_mut(&number) else { return };
        let fits = match answer {
            Answer::Head { outcome, length, .. } => {
                let fits = wish.head.is_none() && length <= self.most;
                wish.head = Some((outcome, length));
                fits
            }
            Answer::Data { bytes, .. } => {
                wish.bytes.extend_from_slice(&bytes);
                wish.head.as_ref().is_some_and(|(_, length)| wish.bytes.len() <= *length)
            }
        };
        let complete = wish.head.as_ref().is_some_and(|(_, length)| wish.bytes.len() == *length);
        if fits && !complete {
            return;
        }
        let outcome = match wish.head.take() {
            Some((Outcome::Fetched { kind, millis, .. }, _)) if fits => {
                Outcome::Fetched { bytes: std::mem::take(&mut wish.bytes), kind, millis }
            }
            Some((outcome, _)) if fits => outcome,
            _ => Outcome::Broken,
        };
        if let Some(answer) = wish.answer.take() {
            // Who waited may have gone.
            let _ = answer.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::fetch::Url;

    fn request() -> Request {
        Request::new("wget", Url::parse("http://192.0.2.1/a").unwrap())
    }

    fn pair(config: &FetchConfig) -> (Fetcher, BlockingDatagram) {
        let (ours, theirs) = BlockingDatagram::pair().unwrap();
        (Fetcher::new(ours.into(), config).unwrap(), theirs)
    }

    /// Takes the next wish and answers with these messages, made of its number.
    fn answer(theirs: &BlockingDatagram, messages: impl FnOnce(u64) -> Vec<Vec<u8>>) {
        let mut buffer = [0; 4_096];
        let length = theirs.recv(&mut buffer).unwrap();
        let wish = Wish::decode(&buffer[..length]).unwrap();
        for message in messages(wish.number) {
            theirs.send(&message).unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_comes_in_pieces_and_what_is_not_asked_for_is_left_out() {
        let (fetcher, theirs) = pair(&FetchConfig::default());
        let file = Outcome::Fetched { bytes: vec![3; 100_000], kind: None, millis: 5 };
        let wanted = file.clone();
        let other = std::thread::spawn(move || {
            answer(&theirs, |number| {
                let mut all = vec![b"?".to_vec()];
                // Of another zone, before.
                all.extend(Answer::messages(number ^ 1, &Outcome::Refused));
                all.extend(Answer::messages(number, &file));
                all.extend(Answer::messages(number, &Outcome::Refused));
                all
            });
            theirs
        });
        assert_eq!(fetcher.fetch(request()).await, wanted);
        let _theirs = other.join().unwrap();
        assert!(fetcher.shared.waiting().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fetcher_that_sends_too_much_or_the_wrong_thing_is_not_believed() {
        let config = FetchConfig { max_bytes: 1_000, ..FetchConfig::default() };
        let (fetcher, theirs) = pair(&config);
        let other = std::thread::spawn(move || {
            let file = |size| Outcome::Fetched { bytes: vec![3; size], kind: None, millis: 5 };
            answer(&theirs, |number| Answer::messages(number, &file(1_001)));
            answer(&theirs, |number| Answer::messages(number, &file(9)).split_off(1));
            answer(&theirs, |number| {
                let mut all = Answer::messages(number, &file(9));
                all.truncate(1);
                all.extend(Answer::messages(number, &file(10)).split_off(1));
                all
            });
            theirs
        });
        for _ in 0..3 {
            assert_eq!(fetcher.fetch(request()).await, Outcome::Broken);
        }
        let _theirs = other.join().unwrap();
    }

    #[tokio::test]
    async fn a_dead_fetcher_is_waited_for_no_longer_than_a_slow_server_and_by_few() {
        let config = FetchConfig { queue: 2, ..FetchConfig::default() };
        let (mut fetcher, _theirs) = pair(&config);
        assert_eq!(fetcher.timeout, config.timeout() + MARGIN);
        fetcher.timeout = Duration::from_millis(1);
        let (one, two, three) = tokio::join!(
            fetcher.fetch(request()),
            fetcher.fetch(request()),
            fetcher.fetch(request())
        );
        let away = Outcome::Withheld(Withheld::Away);
        assert_eq!((one, two), (away.clone(), away));
        assert_eq!(three, Outcome::Withheld(Withheld::QueueFull));
        assert!(fetcher.shared.waiting().is_empty());
    }
}
