//! Lines of the agent's own standard input, to its end. What was read and is
//! not in the spool when the agent crashes is lost: there is no reading it again.

use std::io::Read as _;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Ended, Health, Outlet, Place, Source};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Reads that wait for this task.
const READS: usize = 4;

/// Reads until the end of the input or of the agent.
pub(crate) async fn run(source: Arc<Source>, outlet: Outlet) {
    let mut health = Health::new(source.name.clone());
    let (sender, receiver) = mpsc::channel(READS);
    // A thread of its own: a read cannot be interrupted, and must not keep the
    // process from ending.
    let thread = std::thread::Builder::new().name("stdin".into()).spawn(move || read(&sender));
    if let Err(error) = thread {
        let _ = health.failed(&outlet, &error.to_string(), "see the reason").await;
        return;
    }
    match hand_over(&source, &outlet, receiver).await {
        Ok(Ok(())) => tracing::info!("standard input has ended"),
        Ok(Err(reason)) => {
            let _ = health.failed(&outlet, &reason, "see the reason").await;
        }
        Err(Ended) => {}
    }
}

fn read(sender: &mpsc::Sender<Result<Vec<u8>, String>>) {
    let mut input = std::io::stdin().lock();
    loop {
        let mut buffer = vec![0; READ_BYTES];
        let sent = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                buffer.truncate(count);
                sender.blocking_send(Ok(buffer))
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = sender.blocking_send(Err(error.to_string()));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Cuts what is read into lines. The inner error is why no more can be read.
async fn hand_over(
    source: &Arc<Source>,
    outlet: &Outlet,
    mut input: mpsc::Receiver<Result<Vec<u8>, String>>,
) -> Result<Result<(), String>, Ended> {
    let mut cut = Lines::new(source.max_line_bytes());
    loop {
        let read = tokio::select! {
            biased;
            () = outlet.cancel().cancelled() => return Err(Ended),
            read = input.recv() => read,
        };
        let (lines, ended) = match read {
            Some(Ok(bytes)) => (cut.push(&bytes), None),
            // The last line needs no newline.
            None => (cut.end().into_iter().collect(), Some(Ok(()))),
            Some(Err(reason)) => (Vec::new(), Some(Err(reason))),
        };
        for line in lines {
            let place = Place::Stream { start: line.start };
            outlet.line(source, line.bytes, line.truncated, place).await?;
        }
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

/// Cuts a stream into lines.
struct Lines {
    max_bytes: usize,
    bytes: Vec<u8>,
    /// Bytes of the line so far, also those that are left out.
    length: u64,
    start: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Cut {
    bytes: Vec<u8>,
    truncated: bool,
    start: u64,
}

impl Lines {
    fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: Vec::new(), length: 0, start: 0 }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<Cut> {
        let mut out = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = self.max_bytes.saturating_sub(self.bytes.len());
            self.bytes.extend(text.iter().take(room));
            self.length += text.len() as u64;
            if part.len() > text.len() {
                out.push(self.take());
            }
        }
        out
    }

    fn end(&mut self) -> Option<Cut> {
        (self.length > 0).then(|| self.take())
    }

    fn take(&mut self) -> Cut {
        let bytes = std::mem::take(&mut self.bytes);
        let truncated = self.length > bytes.len() as u64;
        let start = self.start;
        self.start += std::mem::take(&mut self.length) + 1;
        Cut { bytes, truncated, start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_reads_end() {
        for size in 1..12 {
            let mut lines = Lines::new(8);
            let text = b"one\n\n0123456789\nlast";
            let mut out: Vec<Cut> = text.chunks(size).flat_map(|part| lines.push(part)).collect();
            out.extend(lines.end());
            let cut =
                |bytes: &[u8], truncated, start| Cut { bytes: bytes.into(), truncated, start };
            assert_eq!(
                out,
                [
                    cut(b"one", false, 0),
                    cut(b"", false, 4),
                    cut(b"01234567", true, 5),
                    cut(b"last", false, 16)
                ],
                "{size}"
            );
            assert_eq!(lines.end(), None);
        }
    }
}
