//! Files that honeypots deliver with their events. A small one is in its event,
//! a large one comes in pieces before it: each piece is kept until the event
//! that names them all, and put together then.
//!
//! A piece is kept by the file it belongs to and its own hash, so that files do
//! not share pieces. The file must have the hash its event says. What came
//! before may come again: a file that is kept needs no pieces.

use palisade_event::{AttributeValue, Event, EventKind, PayloadHash, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{MAX_PAYLOAD_BYTES, NewPayload, Payloads, busy, identity};
use crate::error::IngestError;

/// The attribute that carries a file, its beginning, or a piece of one.
const CONTENTS: &str = "contents";
/// The attribute that says the contents are a beginning.
const TRUNCATED: &str = "truncated";
/// The attribute that names the pieces, 64 hexadecimal digits each.
const PARTS: &str = "parts";
/// Digits of a hash.
const HASH_DIGITS: usize = 64;
/// Most pieces of a file. A piece has 64 KiB, but for the last.
const MAX_PARTS: usize = MAX_PAYLOAD_BYTES / (64 * 1024);

/// What became of an event that carried a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Nothing; most events carry none.
    Untouched,
    /// The file is kept, and not in the event any more.
    Moved,
    /// It was a piece, and nothing else: no event is kept.
    Piece,
}

impl Payloads {
    /// Takes a file or a piece out of an event; durable on return. Pieces that
    /// are not needed any more once the event is durable go to `done`. An event
    /// keeps what the store does not: the beginning of a file whose pieces are
    /// not all there, and bytes that are not those of its hash.
    pub(crate) async fn take_delivered(
        &self,
        event: &mut Event,
        now: Timestamp,
        done: &mut Vec<PayloadHash>,
    ) -> Result<Delivered, IngestError> {
        match event.kind {
            EventKind::PayloadPart => {
                if let (Some(file), Some(bytes)) = (event.payload, contents(event)) {
                    self.keep_piece(file, bytes, now).await?;
                }
                Ok(Delivered::Piece)
            }
            EventKind::PayloadCaptured => self.take_file(event, now, done).await,
            _ => Ok(Delivered::Untouched),
        }
    }

    async fn take_file(
        &self,
        event: &mut Event,
        now: Timestamp,
        done: &mut Vec<PayloadHash>,
    ) -> Result<Delivered, IngestError> {
        let Some(file) = event.payload else { return Ok(Delivered::Untouched) };
        let parts = match event.attributes.remove(PARTS) {
            Some(AttributeValue::Text(text)) => parts(text.as_bytes()),
            _ => Vec::new(),
        };
        let named = !parts.is_empty();
        let unkept = if named { Delivered::Moved } else { Delivered::Untouched };
        let bytes = match event.attributes.contains_key(TRUNCATED) {
            false => contents(event),
            true if self.is_kept(file).await? => {
                self.note(file, 0, now);
                event.attributes.remove(CONTENTS);
                event.attributes.remove(TRUNCATED);
                return Ok(Delivered::Moved);
            }
            true => self.put_together(file, &parts).await?,
        };
        let bytes = bytes.filter(|bytes| PayloadHash(Sha256::digest(bytes).into()) == file);
        let Some(bytes) = bytes else { return Ok(unkept) };
        let new = NewPayload { bytes, http: false, source: event.source };
        if let Some(Ok(kept)) = self.keep(vec![new], now).await?.pop() {
            event.payload = Some(kept);
            event.attributes.remove(CONTENTS);
            event.attributes.remove(TRUNCATED);
            done.extend(parts.into_iter().map(|piece| name(file, piece)));
            return Ok(Delivered::Moved);
        }
        Ok(unkept)
    }

    async fn is_kept(&self, file: PayloadHash) -> Result<bool, IngestError> {
        let known = self.state.payload(file).await;
        Ok(known.map_err(|error| busy(std::io::Error::other(error)))?.is_some_and(|one| one.kept))
    }

    async fn keep_piece(
        &self,
        file: PayloadHash,
        bytes: Vec<u8>,
        now: Timestamp,
    ) -> Result<(), IngestError> {
        let own = PayloadHash(Sha256::digest(&bytes).into());
        if self.is_kept(file).await? || self.is_kept(name(file, own)).await? {
            return Ok(());
        }
        let identity = identity::Identity { sha256: name(file, own).0, text: None };
        let new = NewPayload { bytes, http: false, source: None };
        self.add(new, &identity, None, now).await.map_err(busy)?;
        Ok(())
    }

    /// The bytes of all pieces one after the other; `None` where one is missing.
    async fn put_together(
        &self,
        file: PayloadHash,
        parts: &[PayloadHash],
    ) -> Result<Option<Vec<u8>>, IngestError> {
        let mut whole = Vec::new();
        for piece in parts {
            let bytes = self.bytes(name(file, *piece)).await;
            match bytes.map_err(|error| busy(std::io::Error::other(error.to_string())))? {
                Some(bytes) if whole.len() + bytes.len() <= MAX_PAYLOAD_BYTES => {
                    whole.extend(bytes);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(whole))
    }

    /// Removes pieces whose file is kept. One that cannot be removed goes when
    /// it is the one unseen for longest.
    pub(crate) async fn forget_pieces(&self, pieces: Vec<PayloadHash>) {
        for piece in pieces {
            let blobs = std::sync::Arc::clone(&self.blobs);
            let removed = match self.state.remove_payload(piece).await {
                Ok(()) => tokio::task::spawn_blocking(move || blobs.remove(piece)).await,
                Err(error) => Ok(Err(std::io::Error::other(error))),
            };
            match removed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a piece of a payload was not removed"),
                Err(error) => tracing::warn!(%error, "a piece of a payload was not removed"),
            }
        }
    }
}

/// The name by which a piece of a file is kept.
fn name(file: PayloadHash, piece: PayloadHash) -> PayloadHash {
    let mut hash = Sha256::new();
    hash.update(b"piece of a payload\0");
    hash.update(file.0);
    hash.update(piece.0);
    PayloadHash(hash.finalize().into())
}

fn contents(event: &Event) -> Option<Vec<u8>> {
    match event.attributes.get(CONTENTS) {
        Some(AttributeValue::Text(contents)) => Some(contents.as_bytes().to_vec()),
        _ => None,
    }
}

/// The hashes of pieces; none where one is malformed or there are too many.
fn parts(text: &[u8]) -> Vec<PayloadHash> {
    if text.len() > MAX_PARTS * HASH_DIGITS || !text.len().is_multiple_of(HASH_DIGITS) {
        return Vec::new();
    }
    let hash = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    text.chunks(HASH_DIGITS).map(hash).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_pieces_are_read_or_none_is() {
        let one = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(parts(one.repeat(2).as_bytes()), vec![one.parse().unwrap(); 2]);
        assert_eq!(parts(one.repeat(MAX_PARTS).as_bytes()).len(), MAX_PARTS);
        let wrong = [one.repeat(MAX_PARTS + 1), one[..63].to_owned(), one.replace('b', "x")];
        for text in wrong.iter().map(String::as_bytes).chain([&[0xff; 64][..], b""]) {
            assert_eq!(parts(text), vec![]);
        }
    }
}
