//! Kills the process with SIGKILL at random moments while honeypots post EWS
//! messages. A sender keeps a message until it is answered OK and sends it
//! again, as the poster of T-Pot does. In the end, when all is answered, the
//! store has exactly the alerts of those messages: none missing, none twice,
//! none more.

#![allow(clippy::disallowed_methods, reason = "a load at a steady rate waits by the clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::ews::{self, Poster};
use crate::generate::Random;
use crate::process::{self, Process};
use crate::table::print;

const SENDERS: usize = 4;
/// Most alerts of one message.
const MOST_ALERTS: u64 = 100;
/// Longest life of the process under load.
const MOST_ALIVE_MS: u64 = 900;
/// Longest pause of a sender between two messages.
const MOST_PAUSE_MS: u64 = 12;
/// How long everything acknowledged may take to be found.
const PATIENCE: Duration = Duration::from_secs(600);

/// One honeypot: what it has to send, and what was answered OK.
struct Sender {
    number: usize,
    made: u64,
    random: Random,
    spool: Vec<(String, Vec<String>)>,
    answered: BTreeSet<String>,
    resent: u64,
}

impl Sender {
    fn make(&mut self) {
        let (mut text, mut sessions) = (String::new(), Vec::new());
        let at = ews::second();
        for _ in 0..1 + self.random.next() % MOST_ALERTS {
            let session = format!("s{}-{}", self.number, self.made);
            self.made += 1;
            ews::alert(&mut text, &at, &session, &mut self.random);
            sessions.push(session);
        }
        self.spool.push((ews::message(&text), sessions));
    }

    /// Posts until the hub is gone; some messages twice though they were OK.
    fn post(&mut self, url: &str) {
        let mut poster = Poster::new(url, !self.random.next().is_multiple_of(3));
        loop {
            if self.spool.is_empty() {
                self.make();
            }
            let Some((message, sessions)) = self.spool.last() else { return };
            match poster.post(message) {
                Ok(true) => self.answered.extend(sessions.iter().cloned()),
                Ok(false) | Err(_) => return,
            }
            if self.random.next().is_multiple_of(8) {
                self.resent += 1;
                if !poster.post(message).unwrap_or(false) {
                    return;
                }
            }
            self.spool.pop();
            std::thread::sleep(Duration::from_millis(self.random.next() % MOST_PAUSE_MS));
        }
    }
}

pub(crate) async fn run(rounds: u32) -> anyhow::Result<()> {
    let home = tempfile::tempdir_in(".")?;
    let data = home.path().join("data");
    process::settings(home.path(), &data)?;
    ews::add_user(home.path())?;
    let mut random = Random::new(u64::from(std::process::id()));
    let mut senders: Vec<Sender> = (0..SENDERS)
        .map(|number| Sender {
            number,
            made: 0,
            random: Random::new(random.next()),
            spool: Vec::new(),
            answered: BTreeSet::new(),
            resent: 0,
        })
        .collect();
    let (begin, mut unanswered) = (Instant::now(), 0);
    for round in 0..rounds {
        let palisade = Process::up(home.path())?;
        let url = palisade.url.clone();
        let alive = Duration::from_millis(20 + random.next() % MOST_ALIVE_MS);
        std::thread::scope(|scope| {
            for sender in &mut senders {
                let url = url.as_str();
                scope.spawn(move || sender.post(url));
            }
            std::thread::sleep(alive);
            palisade.kill()
        })?;
        unanswered += senders.iter().filter(|sender| !sender.spool.is_empty()).count();
        if round % 20 == 19 {
            let answered: usize = senders.iter().map(|sender| sender.answered.len()).sum();
            eprintln!("{} of {rounds} kills, {answered} alerts answered OK", round + 1);
        }
    }
    // The last messages, until they are OK.
    let palisade = Process::up(home.path())?;
    for sender in &mut senders {
        let mut poster = Poster::new(&palisade.url, true);
        while let Some((message, sessions)) = sender.spool.pop() {
            anyhow::ensure!(poster.post(&message)?, "a message was not answered OK in the end");
            sender.answered.extend(sessions);
        }
    }
    let answered: BTreeSet<&String> = senders.iter().flat_map(|sender| &sender.answered).collect();
    let stored = stored(home.path(), &data, answered.len()).await?;
    palisade.kill()?;
    let missing = answered.iter().filter(|session| !stored.contains_key(**session)).count();
    let more = stored.keys().filter(|session| !answered.contains(session)).count();
    let twice = stored.values().filter(|count| **count > 1).count();
    let resent: u64 = senders.iter().map(|sender| sender.resent).sum();
    print(
        &format!(
            "{rounds} times kill -9 while honeypots post, {:.0} s",
            begin.elapsed().as_secs_f64()
        ),
        &[
            "alerts answered OK",
            "messages cut off",
            "sent twice",
            "stored",
            "missing",
            "more",
            "doubled",
        ],
        &[vec![
            answered.len().to_string(),
            unanswered.to_string(),
            resent.to_string(),
            stored.values().map(|count| u64::from(*count)).sum::<u64>().to_string(),
            missing.to_string(),
            more.to_string(),
            twice.to_string(),
        ]],
    );
    anyhow::ensure!(missing + more + twice == 0, "the store is not what was answered");
    Ok(())
}

/// How often each session is in the store, once nothing more comes.
async fn stored(
    home: &std::path::Path,
    data: &std::path::Path,
    expected: usize,
) -> anyhow::Result<BTreeMap<String, u32>> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = usize::MAX;
    loop {
        let found = super::verdict::sessions(home, data, &format!("sensor:{}", ews::USER)).await?;
        let count = found.values().map(|count| *count as usize).sum();
        if (count >= expected && count == last) || Instant::now() > deadline {
            return Ok(found);
        }
        last = count;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
