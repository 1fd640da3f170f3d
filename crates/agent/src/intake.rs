//! The way into the pipeline for events that are made outside of the agent, and
//! the word back that they are safe.

use palisade_event::Event;
use tokio::sync::{mpsc, watch};

/// The agent's end. Dropping its sender tells the agent that no more come.
#[derive(Debug)]
pub struct Intake {
    events: mpsc::Receiver<Event>,
    confirmed: watch::Sender<u64>,
}

impl Intake {
    /// A way for `bound` events at a time: where to put them, and how many of
    /// them, in the order they were put, are on disk (or can never be).
    #[must_use]
    pub fn channel(bound: usize) -> (mpsc::Sender<Event>, watch::Receiver<u64>, Self) {
        let (sender, events) = mpsc::channel(bound);
        let (confirmed, heard) = watch::channel(0);
        (sender, heard, Self { events, confirmed })
    }

    pub(crate) async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    pub(crate) fn try_recv(&mut self) -> Result<Event, mpsc::error::TryRecvError> {
        self.events.try_recv()
    }

    /// So many more are on disk.
    pub(crate) fn confirm(&self, more: u64) {
        if more > 0 {
            self.confirmed.send_modify(|count| *count += more);
        }
    }
}

/// Without the word back.
impl From<mpsc::Receiver<Event>> for Intake {
    fn from(events: mpsc::Receiver<Event>) -> Self {
        Self { events, confirmed: watch::channel(0).0 }
    }
}
