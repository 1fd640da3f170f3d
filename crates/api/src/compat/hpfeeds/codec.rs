//! Frames of hpfeeds: big-endian length (its own four bytes included), one
//! byte of opcode, data. Pure: bytes to frames and back; never more than a
//! frame of the largest size is asked for. Not who may send what; that is the
//! session's business.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes before the data of a frame: length and opcode.
pub(crate) const HEAD_BYTES: usize = 5;
/// Longest data of a frame, in bytes.
const MAX_DATA_BYTES: usize = 1024 * 1024;
/// Longest frame, in bytes, with its head.
pub(crate) const MAX_FRAME_BYTES: usize = HEAD_BYTES + MAX_DATA_BYTES;
/// Longest frame of a name and a few bytes: info, auth, subscribe.
const MAX_SMALL_FRAME_BYTES: usize = HEAD_BYTES + 256 + 256;
/// Bytes of the nonce that the broker draws.
pub(crate) const NONCE_BYTES: usize = 4;
/// Bytes of a SHA-1.
pub(crate) const DIGEST_BYTES: usize = 20;

/// What a frame says. Text is bytes: nobody promises UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The broker refuses and then closes.
    Error(Bytes),
    /// The broker's name and nonce, its first frame.
    Info { name: Bytes, nonce: Bytes },
    /// Who the client is: SHA-1 over nonce and secret.
    Auth { ident: Bytes, digest: [u8; DIGEST_BYTES] },
    /// A payload on a channel.
    Publish { ident: Bytes, channel: Bytes, payload: Bytes },
    /// The client wants a channel.
    Subscribe { ident: Bytes, channel: Bytes },
    /// The client no longer wants it.
    Unsubscribe { ident: Bytes, channel: Bytes },
}

/// The bytes are no frame; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length is negative, below the head's or above the bound.
    #[error("frame of {length} bytes; expected {HEAD_BYTES} to {most}")]
    Length { length: i32, most: usize },
    /// An opcode that nobody has defined.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// The data is shorter than its own lengths say, or longer.
    #[error("malformed {0} frame")]
    Malformed(&'static str),
}

const ERROR: u8 = 0;
const INFO: u8 = 1;
const AUTH: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 4;
const UNSUBSCRIBE: u8 = 5;

/// Takes the next frame off the front of `buffer`; `None` where it has not
/// come as a whole yet. `most` bounds it further, for a peer that has not yet
/// said who it is.
///
/// # Errors
/// [`FrameError`], as soon as the head is there; nothing of a frame that is
/// too long is waited for.
pub(crate) fn decode(buffer: &mut BytesMut, most: usize) -> Result<Option<Frame>, FrameError> {
    let Some((head, _)) = buffer.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [a, b, c, d, opcode] = *head;
    let length = i32::from_be_bytes([a, b, c, d]);
    let most = match opcode {
        ERROR | PUBLISH => MAX_FRAME_BYTES,
        INFO | AUTH | SUBSCRIBE | UNSUBSCRIBE => MAX_SMALL_FRAME_BYTES,
        other => return Err(FrameError::Opcode(other)),
    }
    .min(most);
    let whole = usize::try_from(length)
        .ok()
        .filter(|whole| (HEAD_BYTES..=most).contains(whole))
        .ok_or(FrameError::Length { length, most })?;
    if buffer.len() < whole {
        return Ok(None);
    }
    let mut data = buffer.split_to(whole).freeze();
    data.advance(HEAD_BYTES);
    read(opcode, data).map(Some)
}

fn read(opcode: u8, mut data: Bytes) -> Result<Frame, FrameError> {
    match opcode {
        ERROR => Ok(Frame::Error(data)),
        INFO => {
            let name = short(&mut data).ok_or(FrameError::Malformed("info"))?;
            if data.len() < NONCE_BYTES {
                return Err(FrameError::Malformed("info"));
            }
            Ok(Frame::Info { name, nonce: data })
        }
        AUTH => {
            let ident = short(&mut data).ok_or(FrameError::Malformed("auth"))?;
            let digest = data.as_ref().try_into().map_err(|_| FrameError::Malformed("auth"))?;
            Ok(Frame::Auth { ident, digest })
        }
        PUBLISH => {
            let ident = short(&mut data).ok_or(FrameError::Malformed("publish"))?;
            let channel = short(&mut data).ok_or(FrameError::Malformed("publish"))?;
            Ok(Frame::Publish { ident, channel, payload: data })
        }
        SUBSCRIBE => {
            let ident = short(&mut data).ok_or(FrameError::Malformed("subscribe"))?;
            Ok(Frame::Subscribe { ident, channel: data })
        }
        UNSUBSCRIBE => {
            let ident = short(&mut data).ok_or(FrameError::Malformed("unsubscribe"))?;
            Ok(Frame::Unsubscribe { ident, channel: data })
        }
        other => Err(FrameError::Opcode(other)),
    }
}

/// One length byte and so many bytes.
fn short(data: &mut Bytes) -> Option<Bytes> {
    let length = usize::from(*data.first()?);
    if data.len() <= length {
        return None;
    }
    data.advance(1);
    Some(data.split_to(length))
}

/// Whether a publish frame with these parts is within the bound.
pub(crate) fn fits(ident: &[u8], channel: &[u8], payload: &[u8]) -> bool {
    let names = ident.len() <= 255 && channel.len() <= 255;
    names && ident.len() + channel.len() + payload.len() + 2 <= MAX_DATA_BYTES
}

/// Writes an error frame.
pub(crate) fn error(message: &str) -> Bytes {
    frame(ERROR, &[message.as_bytes()])
}

/// Writes the broker's first frame.
pub(crate) fn info(name: &[u8], nonce: [u8; NONCE_BYTES]) -> Bytes {
    frame(INFO, &[&length(name), name, &nonce])
}

/// Writes the client's first frame.
pub(crate) fn auth(ident: &[u8], digest: &[u8; DIGEST_BYTES]) -> Bytes {
    frame(AUTH, &[&length(ident), ident, digest])
}

/// Writes a publish frame; the parts must [`fits`].
pub(crate) fn publish(ident: &[u8], channel: &[u8], payload: &[u8]) -> Bytes {
    frame(PUBLISH, &[&length(ident), ident, &length(channel), channel, payload])
}

/// Writes a subscribe frame.
pub(crate) fn subscribe(ident: &[u8], channel: &[u8]) -> Bytes {
    frame(SUBSCRIBE, &[&length(ident), ident, channel])
}

/// The length byte of a name; names are checked where they are configured.
fn length(name: &[u8]) -> [u8; 1] {
    [u8::try_from(name.len()).unwrap_or(u8::MAX)]
}

fn frame(opcode: u8, parts: &[&[u8]]) -> Bytes {
    let whole = HEAD_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = BytesMut::with_capacity(whole);
    bytes.put_i32(i32::try_from(whole).unwrap_or(i32::MAX));
    bytes.put_u8(opcode);
    parts.iter().for_each(|part| bytes.put_slice(part));
    bytes.freeze()
}

/// The answer to a nonce: SHA-1 over it and the secret.
pub(crate) fn digest(nonce: &[u8], secret: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(nonce);
    context.update(secret);
    let mut digest = [0; DIGEST_BYTES];
    digest.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    digest
}

/// Decodes as a connection would, for the fuzz target; what was written again
/// of each frame is what was read.
pub(crate) fn frames_of(bytes: &[u8]) -> usize {
    let mut buffer = BytesMut::from(bytes);
    let mut frames = 0;
    loop {
        let before = buffer.clone();
        match decode(&mut buffer, MAX_FRAME_BYTES) {
            Ok(Some(found)) => {
                let written = match &found {
                    Frame::Error(message) => frame(ERROR, &[message]),
                    Frame::Info { name, nonce } => frame(INFO, &[&length(name), name, nonce]),
                    Frame::Auth { ident, digest } => auth(ident, digest),
                    Frame::Publish { ident, channel, payload } => publish(ident, channel, payload),
                    Frame::Subscribe { ident, channel } => subscribe(ident, channel),
                    Frame::Unsubscribe { ident, channel } => {
                        frame(UNSUBSCRIBE, &[&length(ident), ident, channel])
                    }
                };
                assert!(before.starts_with(&written), "{found:?}");
                assert_eq!(before.len(), written.len() + buffer.len());
                frames += 1;
            }
            Ok(None) | Err(_) => return frames,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        decode(&mut BytesMut::from(bytes), MAX_FRAME_BYTES)
    }

    #[test]
    fn frames_are_written_as_the_protocol_says() {
        assert_eq!(info(b"@hp", *b"abcd").as_ref(), b"\x00\x00\x00\x0d\x01\x03@hpabcd");
        assert_eq!(publish(b"me", b"ch", b"xyz").as_ref(), b"\x00\x00\x00\x0e\x03\x02me\x02chxyz");
        assert_eq!(subscribe(b"me", b"ch").as_ref(), b"\x00\x00\x00\x0a\x04\x02mech");
        assert_eq!(error("no").as_ref(), b"\x00\x00\x00\x07\x00no");
        // sha1("abcdsecret"), by sha1sum.
        let digest = digest(b"abcd", b"secret");
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ee895c4fcd00f02507835e0e9554441bd8888388");
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_with_the_head_alone() {
        for length in [i32::MIN, -1, 0, 4, i32::try_from(MAX_FRAME_BYTES).unwrap() + 1, i32::MAX] {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(PUBLISH);
            assert!(matches!(one(&bytes), Err(FrameError::Length { .. })), "{length}");
        }
        let mut small = 1024_i32.to_be_bytes().to_vec();
        small.push(AUTH);
        assert!(matches!(one(&small), Err(FrameError::Length { .. })));
        assert_eq!(one(&[0, 0, 0, 5, 6]), Err(FrameError::Opcode(6)));
    }

    #[test]
    fn inner_lengths_that_lie_are_malformed() {
        for (opcode, data) in [
            (AUTH, &b""[..]),
            (AUTH, b"\x02me short"),
            (AUTH, b"\xffme"),
            (PUBLISH, b"\x02me"),
            (PUBLISH, b"\x02me\x09ch"),
            (SUBSCRIBE, b""),
            (INFO, b"\x01aabc"),
        ] {
            let bytes = frame(opcode, &[data]);
            assert!(matches!(one(&bytes), Err(FrameError::Malformed(_))), "{opcode} {data:?}");
        }
    }

    #[test]
    fn the_largest_payload_passes_and_one_byte_more_does_not_fit() {
        let payload = vec![b'x'; MAX_DATA_BYTES - 6];
        assert!(fits(b"me", b"ch", &payload));
        assert!(one(&publish(b"me", b"ch", &payload)).unwrap().is_some());
        assert!(!fits(b"me", b"ch", &vec![b'x'; MAX_DATA_BYTES - 5]));
    }

    proptest! {
        #[test]
        fn any_cut_of_a_stream_gives_the_same_frames(
            names in proptest::collection::vec(("[a-z.]{0,9}", "[a-z.]{0,9}", "\\PC{0,40}"), 1..6),
            step in 1usize..40,
        ) {
            let stream: Vec<u8> = names
                .iter()
                .flat_map(|(ident, channel, payload)| {
                    publish(ident.as_bytes(), channel.as_bytes(), payload.as_bytes())
                })
                .collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for part in stream.chunks(step) {
                buffer.extend_from_slice(part);
                while let Some(frame) = decode(&mut buffer, MAX_FRAME_BYTES).unwrap() {
                    found.push(frame);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(found.len(), names.len());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            frames_of(&bytes);
        }
    }
}
