//! What the parent makes of the stream of one zone: what it hears, and what it
//! answers. The zone may be in the hands of an intruder.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use palisade_event::{Event, HostName, SensorId};
use palisade_honeypot::Stats;
use palisade_honeypot::plugin::Change;
use palisade_honeypot::zone_stream::{FromZone, MAX_FRAME_BYTES, MAX_UNCONFIRMED_EVENTS, ToZone};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::descriptors;
use super::parent::ZoneCounters;
use super::process::Frames;

/// Bytes of events that may wait here to be safe; then the zone is not heard,
/// and so do the attackers wait.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// How the way from the zone came to its end.
pub(super) enum Heard {
    /// It said that it has ended.
    Ended,
    /// It closed the stream.
    Closed,
    /// Nobody takes events any more.
    Unheard,
}

/// Events that were put and not yet confirmed.
pub(super) struct Waiting {
    /// Of each: how many had been put with it, its number in the zone, its bytes.
    events: Mutex<VecDeque<(u64, u64, usize)>>,
    /// For how many bytes more there is room.
    room: Semaphore,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { events: Mutex::default(), room: Semaphore::new(MAX_WAITING_BYTES) }
    }
}

impl Waiting {
    fn events(&self) -> MutexGuard<'_, VecDeque<(u64, u64, usize)>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hearing side of one process.
pub(super) struct Hearing<'a> {
    /// Who observed what it tells.
    pub(super) sensor: &'a SensorId,
    /// On which machine.
    pub(super) host: Option<&'a HostName>,
    pub(super) events: &'a mpsc::Sender<Event>,
    pub(super) put: &'a mut u64,
    pub(super) waiting: &'a Waiting,
    pub(super) nudge: &'a Notify,
    pub(super) stats: &'a Stats,
    pub(super) before: BTreeMap<String, u64>,
    pub(super) counters: &'a ZoneCounters,
    pub(super) others: &'a mut mpsc::Receiver<Event>,
}

impl Hearing<'_> {
    /// Hears until the end; what breaks the rules is an error.
    pub(super) async fn hear(&mut self, frames: &mut Frames) -> Result<Heard, String> {
        let mut last = 0;
        loop {
            let next = tokio::select! {
                next = frames.next() => next?,
                Some(event) = self.others.recv() => {
                    if self.events.send(event).await.is_err() {
                        return Ok(Heard::Unheard);
                    }
                    *self.put += 1;
                    continue;
                }
            };
            let Some((frame, bytes)) = next else { return Ok(Heard::Closed) };
            match frame {
                FromZone::Event { number, event } => {
                    if number != last + 1 {
                        return Err("it left out events".to_owned());
                    }
                    last = number;
                    match event {
                        Ok(mut event) => {
                            // Who saw it is not for the zone to say.
                            event.sensor = self.sensor.clone();
                            event.host = self.host.cloned();
                            if self.events.send(*event).await.is_err() {
                                return Ok(Heard::Unheard);
                            }
                            *self.put += 1;
                        }
                        Err(why) => {
                            let before =
                                self.counters.events_refused.fetch_add(1, Ordering::Relaxed);
                            // The first, and then ever more rarely: it may be a flood.
                            if before == 0 || before.is_power_of_two() {
                                tracing::error!(
                                    ?why,
                                    before,
                                    "the honeypots told what is not for them to tell; their process may be in the hands of an intruder"
                                );
                            }
                        }
                    }
                    self.await_confirmation(number, bytes).await?;
                }
                FromZone::Counters(counters) => self.stats.show(&self.before, &counters),
                FromZone::Ended => return Ok(Heard::Ended),
                FromZone::Ready(_) | FromZone::Failed(_) => {
                    return Err("it said twice how it started".to_owned());
                }
            }
        }
    }

    /// Notes that an event waits; returns where there is room for the next.
    async fn await_confirmation(&self, number: u64, bytes: usize) -> Result<(), String> {
        {
            let mut waiting = self.waiting.events();
            if waiting.len() as u64 >= MAX_UNCONFIRMED_EVENTS {
                return Err("it did not wait for confirmation".to_owned());
            }
            waiting.push_back((*self.put, number, bytes));
        }
        self.nudge.notify_one();
        // A frame is shorter than the room; it is given back with the confirmation.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(room) = self.waiting.room.acquire_many(bytes).await {
            room.forget();
        }
        Ok(())
    }
}

/// What tells the zone of a changed plug-in; nothing where it does not fit.
fn plugin_frame(change: &Change) -> Vec<u8> {
    // Texts can always be written.
    let (text, frame): (_, fn(Vec<u8>) -> ToZone) = match change {
        Change::Code(source) => (serde_json::to_vec(source), ToZone::Plugin),
        Change::Serve(order, _) => (serde_json::to_vec(order), ToZone::Serve),
    };
    let text = text.unwrap_or_default();
    if text.len() >= MAX_FRAME_BYTES {
        tracing::error!(plugin = %change.name(), "a changed plug-in is too long to be handed on; it is used after the next start");
        return Vec::new();
    }
    frame(text).encode()
}

/// Hands a change on; where the zone is gone, the next one starts with it.
async fn hand_on(writer: &mut OwnedWriteHalf, change: &Change) {
    let frame = plugin_frame(change);
    if frame.is_empty() {
        return;
    }
    let sockets = change.sockets();
    if let Ok(sent) = descriptors::send_with(writer.as_ref(), &frame, &sockets).await {
        let _ = writer.write_all(frame.get(sent..).unwrap_or_default()).await;
    }
}

/// Confirms what is safe, and tells the zone to end when it is time. Returns
/// where it has not ended in time.
pub(super) async fn answer(
    writer: &mut OwnedWriteHalf,
    (safe, changes): (&mut watch::Receiver<u64>, &mut mpsc::Receiver<Change>),
    mut made: impl FnMut(Change),
    (waiting, nudge): (&Waiting, &Notify),
    stop: &CancellationToken,
    patience: Duration,
) -> String {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    let answers = async {
        let (mut told, mut safe_known, mut watched) = (false, true, true);
        loop {
            let count = *safe.borrow_and_update();
            let mut confirmed = None;
            {
                let mut events = waiting.events();
                while let Some((_, number, bytes)) = events.pop_front_if(|(put, ..)| *put <= count)
                {
                    confirmed = Some(number);
                    waiting.room.add_permits(bytes);
                }
            }
            let mut frames = Vec::new();
            frames.extend(
                confirmed.map(|number| ToZone::Confirmed(number).encode()).unwrap_or_default(),
            );
            if stop.is_cancelled() && !told {
                told = true;
                frames.extend(ToZone::End.encode());
            }
            // Where the other end is gone, the hearing side sees that too.
            let _ = writer.write_all(&frames).await;
            tokio::select! {
                changed = safe.changed(), if safe_known => safe_known = changed.is_ok(),
                () = nudge.notified() => {}
                changed = changes.recv(), if watched => {
                    watched = changed.is_some();
                    if let Some(change) = changed {
                        hand_on(writer, &change).await;
                        made(change);
                    }
                }
                () = stop.cancelled(), if !told => {}
            }
        }
    };
    tokio::select! {
        () = late => "it did not end in time".to_owned(),
        () = answers => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use palisade_event::{EventId, EventKind, Timestamp};
    use palisade_honeypot::zone_stream::{Confinement, Refused};
    use tokio::net::UnixStream;

    use super::*;

    fn event(kind: EventKind, sensor: &str) -> Event {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Event::new(EventId::new(now, rand::random()), kind, now, SensorId::new(sensor).unwrap())
    }

    /// What comes of a zone that says `said` and no more, and the events that
    /// were taken.
    async fn heard(said: Vec<Vec<u8>>) -> (Result<Heard, String>, Vec<Event>, u64) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let speaking = tokio::spawn(async move {
            let (_, mut writer) = theirs.into_split();
            // Where nobody listens any more, the rest is not said.
            let _ = writer.write_all(&said.concat()).await;
        });
        let (reader, _writer) = ours.into_split();
        let mut frames = Frames::new(reader);
        let sensor = SensorId::new("ours").unwrap();
        let (events, mut taken) = mpsc::channel(4_096);
        let waiting = Waiting::default();
        let counters = ZoneCounters::default();
        let mut put = 0;
        let mut hearing = Hearing {
            sensor: &sensor,
            host: None,
            events: &events,
            put: &mut put,
            waiting: &waiting,
            nudge: &Notify::new(),
            stats: &Stats::default(),
            before: BTreeMap::new(),
            counters: &counters,
            others: &mut mpsc::channel(1).1,
        };
        let heard = hearing.hear(&mut frames).await;
        drop(frames);
        speaking.await.unwrap();
        drop(events);
        let mut all = Vec::new();
        while let Some(event) = taken.recv().await {
            all.push(event);
        }
        (heard, all, counters.events_refused.into_inner())
    }

    #[tokio::test]
    async fn what_a_zone_tells_is_the_parents_and_what_it_may_not_tell_is_refused() {
        let attack = FromZone::encode_event(1, &event(EventKind::AuthAttempted, "somebody-else"));
        let decision = FromZone::encode_event(2, &event(EventKind::DecisionMade, "ours"));
        let garbage = FromZone::Event { number: 3, event: Err(Refused::Malformed) }.encode();
        let said = vec![attack, decision, garbage, FromZone::Ended.encode()];
        let (end, taken, refused) = heard(said).await;
        assert!(matches!(end, Ok(Heard::Ended)));
        assert_eq!((taken.len(), refused), (1, 2));
        assert_eq!(taken[0].sensor.as_str(), "ours");
    }

    #[tokio::test]
    async fn a_zone_that_breaks_the_rules_of_the_stream_is_not_heard_any_more() {
        let attack = |number| FromZone::encode_event(number, &event(EventKind::AuthAttempted, "a"));
        let gap = vec![attack(1), attack(3)];
        let unasked = vec![FromZone::Ready(Confinement::default()).encode()];
        let unbounded = (1..=MAX_UNCONFIRMED_EVENTS + 1).map(attack).collect();
        let nonsense = vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()];
        for (said, why) in [
            (gap, "left out"),
            (unasked, "twice"),
            (unbounded, "did not wait"),
            (nonsense, "a frame of"),
        ] {
            let (end, ..) = heard(said).await;
            let reason = end.err().unwrap();
            assert!(reason.contains(why), "{reason}");
        }
        let (end, ..) = heard(vec![attack(1)]).await;
        assert!(matches!(end, Ok(Heard::Closed)));
    }
}
