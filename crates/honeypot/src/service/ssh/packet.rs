//! The binary packet protocol (RFC 4253, section 6): messages to bytes and
//! back, for one direction each. Not which keys are used when; the transport
//! knows.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::cipher::{Cipher, TAG_BYTES};
use super::mac::{MAX_TAG_BYTES, Mac};

/// Longest packet of a client that has logged in, as OpenSSH has it.
pub(super) const MAX_PACKET_BYTES: usize = 256 * 1024;
/// Longest packet of a client that has not: what RFC 4253 demands. OpenSSH
/// takes longer ones, but strangers must not be able to have us hold so much.
pub(super) const MAX_EARLY_PACKET_BYTES: usize = 35_000;

/// A packet that no client sends; the connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corrupt {
    /// OpenSSH closes without a word.
    Packet,
    /// The length of the padding, which OpenSSH tells.
    Padding(usize),
}

const CORRUPT: Corrupt = Corrupt::Packet;

/// Makes packets.
pub(super) struct Sealer {
    cipher: Cipher,
    block: usize,
    mac: Option<Mac>,
    number: u32,
    deflate: Option<Box<Compress>>,
}

/// Takes packets apart.
pub(super) struct Opener {
    cipher: Cipher,
    block: usize,
    mac: Option<Mac>,
    number: u32,
    inflate: Option<Box<Decompress>>,
    // Of the packet whose first block is decrypted already.
    length: Option<usize>,
    max_bytes: usize,
}

impl Sealer {
    /// Without cipher, as a connection begins.
    pub(super) fn plain() -> Self {
        Self { cipher: Cipher::None, block: 8, mac: None, number: 0, deflate: None }
    }

    /// Goes over to new keys. `restart`: numbers begin at 0 (strict kex).
    pub(super) fn rekey(&mut self, cipher: Cipher, block: usize, mac: Option<Mac>, restart: bool) {
        (self.cipher, self.block, self.mac) = (cipher, block, mac);
        if restart {
            self.number = 0;
        }
    }

    /// Compresses from now on.
    pub(super) fn compress(&mut self) {
        self.deflate = Some(Box::new(Compress::new(Compression::new(6), true)));
    }

    /// Appends the packet of a message to `out`.
    pub(super) fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let squeezed;
        let payload = match &mut self.deflate {
            Some(deflate) => {
                squeezed = compressed(deflate, payload);
                squeezed.as_slice()
            }
            None => payload,
        };
        let start = out.len();
        // Whether the length stays outside of the blocks.
        let apart = match (&self.cipher, &self.mac) {
            (Cipher::None, _) => false,
            (Cipher::Stream(_), mac) => mac.as_ref().is_some_and(|mac| mac.after),
            _ => true,
        };
        let framed = payload.len() + if apart { 1 } else { 5 };
        let mut padding = self.block - framed % self.block;
        if padding < 4 {
            padding += self.block;
        }
        let length = u32::try_from(1 + payload.len() + padding).unwrap_or(u32::MAX);
        out.reserve(framed + padding + 4 + MAX_TAG_BYTES);
        out.extend_from_slice(&length.to_be_bytes());
        out.push(u8::try_from(padding).unwrap_or(u8::MAX));
        out.extend_from_slice(payload);
        // OpenSSH pads with zeros until there is a cipher.
        let random: [u8; 32] =
            if matches!(self.cipher, Cipher::None) { [0; 32] } else { rand::random() };
        out.extend(random.iter().take(padding));
        let mut tag = [0; MAX_TAG_BYTES];
        match &mut self.cipher {
            Cipher::None => {}
            Cipher::Gcm(gcm) => gcm.seal(out, start),
            Cipher::ChaChaSeal(key) => {
                let mut tag = [0; TAG_BYTES];
                if let Some(packet) = out.get_mut(start..) {
                    key.seal_in_place(self.number, packet, &mut tag);
                }
                out.extend_from_slice(&tag);
            }
            Cipher::ChaChaOpen(_) => {}
            Cipher::Stream(stream) => {
                let packet = out.get_mut(start..).unwrap_or_default();
                match &self.mac {
                    Some(mac) if mac.after => {
                        stream.apply(packet.get_mut(4..).unwrap_or_default());
                        mac.tag(self.number, packet, &mut tag);
                    }
                    Some(mac) => {
                        mac.tag(self.number, packet, &mut tag);
                        stream.apply(packet);
                    }
                    None => stream.apply(packet),
                }
                let bytes = self.mac.as_ref().map_or(0, |mac| mac.tag_bytes);
                out.extend(tag.iter().take(bytes));
            }
        }
        self.number = self.number.wrapping_add(1);
    }
}

impl Opener {
    /// Without cipher, as a connection begins.
    pub(super) fn plain() -> Self {
        Self {
            cipher: Cipher::None,
            block: 8,
            mac: None,
            number: 0,
            inflate: None,
            length: None,
            max_bytes: MAX_EARLY_PACKET_BYTES,
        }
    }

    /// Goes over to new keys. `restart`: numbers begin at 0 (strict kex).
    pub(super) fn rekey(&mut self, cipher: Cipher, block: usize, mac: Option<Mac>, restart: bool) {
        (self.cipher, self.block, self.mac) = (cipher, block, mac);
        if restart {
            self.number = 0;
        }
    }

    /// Expects compressed messages from now on.
    pub(super) fn decompress(&mut self) {
        self.inflate = Some(Box::new(Decompress::new(true)));
    }

    /// Takes packets as long as OpenSSH does from now on.
    pub(super) fn trust(&mut self) {
        self.max_bytes = MAX_PACKET_BYTES;
    }

    /// The number of the next packet.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Takes one packet from the front of `inbox` and returns its message, or
    /// `None` where it is not complete.
    pub(super) fn open(&mut self, inbox: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Corrupt> {
        let apart = match (&self.cipher, &self.mac) {
            (Cipher::None, _) => false,
            (Cipher::Stream(_), mac) => mac.as_ref().is_some_and(|mac| mac.after),
            _ => true,
        };
        let Some(length) = self.length(inbox, apart)? else { return Ok(None) };
        let tag_bytes = match &self.cipher {
            Cipher::None => 0,
            Cipher::Stream(_) => self.mac.as_ref().map_or(0, |mac| mac.tag_bytes),
            _ => TAG_BYTES,
        };
        let body = 4 + length;
        let whole = body + tag_bytes;
        if inbox.len() < whole {
            return Ok(None);
        }
        let Some((packet, tag)) =
            inbox.get_mut(..whole).and_then(|whole| whole.split_at_mut_checked(body))
        else {
            return Ok(None);
        };
        let number = self.number;
        let good = match &mut self.cipher {
            Cipher::None => true,
            Cipher::ChaChaOpen(key) => (&*tag)
                .try_into()
                .is_ok_and(|tag: &[u8; TAG_BYTES]| key.open_in_place(number, packet, tag).is_ok()),
            Cipher::ChaChaSeal(_) => false,
            Cipher::Gcm(gcm) => gcm.open(inbox.get_mut(..whole).unwrap_or_default()),
            Cipher::Stream(stream) if apart => {
                let good = self.mac.as_ref().is_none_or(|mac| mac.verify(number, packet, tag));
                stream.apply(packet.get_mut(4..).unwrap_or_default());
                good
            }
            Cipher::Stream(stream) => {
                stream.apply(packet.get_mut(self.block..).unwrap_or_default());
                self.mac.as_ref().is_none_or(|mac| mac.verify(number, packet, tag))
            }
        };
        if !good {
            return Err(CORRUPT);
        }
        self.length = None;
        self.number = self.number.wrapping_add(1);
        let padding = usize::from(inbox.get(4).copied().unwrap_or(0));
        if padding < 4 || padding >= length {
            return Err(Corrupt::Padding(padding));
        }
        let payload = inbox.get(5..body - padding).unwrap_or_default();
        let payload = match &mut self.inflate {
            Some(inflate) => decompressed(inflate, payload)?,
            None => payload.to_vec(),
        };
        inbox.drain(..whole);
        Ok(Some(payload))
    }

    /// The length of the packet at the front, once it can be known.
    fn length(&mut self, inbox: &mut [u8], apart: bool) -> Result<Option<usize>, Corrupt> {
        if let Some(length) = self.length {
            return Ok(Some(length));
        }
        let first = if apart { 4 } else { self.block };
        let Some(front) = inbox.get_mut(..first) else { return Ok(None) };
        if !apart && let Cipher::Stream(stream) = &mut self.cipher {
            stream.apply(front);
        }
        let Some(four) = front.first_chunk::<4>().copied() else { return Ok(None) };
        let four = match &self.cipher {
            Cipher::ChaChaOpen(key) => key.decrypt_packet_length(self.number, four),
            _ => four,
        };
        let length = usize::try_from(u32::from_be_bytes(four)).unwrap_or(usize::MAX);
        let odd = if apart { length % self.block } else { (length % self.block + 4) % self.block };
        if length < 5 || length > self.max_bytes || odd != 0 {
            return Err(CORRUPT);
        }
        self.length = Some(length);
        Ok(Some(length))
    }
}

fn compressed(deflate: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    let mut left = payload;
    loop {
        let before = deflate.total_in();
        let done = deflate.compress_vec(left, &mut out, FlushCompress::Sync);
        let taken = usize::try_from(deflate.total_in() - before).unwrap_or(0);
        left = left.get(taken..).unwrap_or_default();
        let room = out.capacity() > out.len();
        if done.is_err() || (left.is_empty() && room) {
            return out;
        }
        out.reserve(256);
    }
}

fn decompressed(inflate: &mut Decompress, payload: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 64);
    let mut left = payload;
    loop {
        let before = inflate.total_in();
        let done = inflate.decompress_vec(left, &mut out, FlushDecompress::Sync);
        let taken = usize::try_from(inflate.total_in() - before).unwrap_or(0);
        left = left.get(taken..).unwrap_or_default();
        if out.len() > MAX_PACKET_BYTES {
            return Err(CORRUPT);
        }
        match done {
            Err(_) => return Err(CORRUPT),
            Ok(Status::StreamEnd) => return Ok(out),
            Ok(_) if left.is_empty() && out.capacity() > out.len() => return Ok(out),
            Ok(Status::BufError) if out.capacity() > out.len() => return Err(CORRUPT),
            Ok(_) => out.reserve(out.len().max(256)),
        }
    }
}
