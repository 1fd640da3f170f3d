//! The form of a segment file, format 1, and nothing that touches a disk.
//!
//! All numbers are little-endian. A file is a header and frames, back to back:
//!
//! ```text
//! header  magic "PALSPOOL" · format u32 · crc u32 · mark u64 · first u64 · before u64
//! frame   mark u64 · crc u32 · payload bytes u32 · records u32 · first u64 · payload
//! payload (length u32 · bytes) for each record
//! ```
//!
//! One append is one frame. `first` is the sequence number of the first
//! record; the file is named after the `first` of its header, and `before` is
//! the number after the last record of the segment before it. Numbers grow
//! from frame to frame but may leave gaps. The header's checksum (CRC-32C,
//! RFC 3720 appendix B.4) covers all its other fields; that of a frame covers
//! the payload and then the fields after the checksum, in this order so that
//! the payload can be summed before its number is known.
//!
//! `mark` is drawn at random when the spool is created. It is where reading
//! goes on after damage, and because nobody outside knows it, no record can
//! contain something that passes for a frame.

use std::io;
use std::path::{Path, PathBuf};

/// The format this build writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;
/// Length of a file's header.
pub(crate) const HEADER_BYTES: usize = 40;
/// Length of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 28;
/// Length prefix of a record: the least a record takes.
pub(crate) const RECORD_PREFIX_BYTES: usize = 4;

const MAGIC: [u8; 8] = *b"PALSPOOL";
const SUFFIX: &str = ".segment";

/// The path of the segment whose first record has this number.
pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SUFFIX}"))
}

/// The numbers of the first records of a folder's segments, ascending; other files are none of our business; none
/// where there is no folder.
pub(crate) fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut firsts = Vec::new();
    for entry in entries {
        firsts.extend(entry?.file_name().to_str().and_then(parse_name));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The number in a segment's file name; `None` for any other file.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// Cuts `N` bytes off the front.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(head)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).copied().map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).copied().map(u64::from_le_bytes)
}

/// What stands at the beginning of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// At most [`FORMAT`], or the file is not read.
    pub(crate) format: u32,
    /// What every frame of the file begins with.
    pub(crate) mark: u64,
    /// Least sequence number in the file.
    pub(crate) first: u64,
    /// Number after the last record of the segment before; those from it to
    /// `first` were never acknowledged.
    pub(crate) before: u64,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let format = self.format.to_le_bytes();
        let mut numbers = [0; 24];
        let parts = [self.mark, self.first, self.before].map(u64::to_le_bytes);
        for (to, from) in numbers.iter_mut().zip(parts.as_flattened()) {
            *to = *from;
        }
        let crc = header_crc(format, &numbers).to_le_bytes();
        let mut bytes = [0; HEADER_BYTES];
        let parts = MAGIC.iter().chain(&format).chain(&crc).chain(&numbers);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = *from;
        }
        bytes
    }

    /// `None` where the bytes are too few or damaged. A later format keeps
    /// these fields, so that it can be told from damage.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let magic = take::<8>(&mut bytes)?;
        let format = take_u32(&mut bytes)?;
        let crc = take_u32(&mut bytes)?;
        let numbers = take::<24>(&mut bytes)?;
        if *magic != MAGIC || crc != header_crc(format.to_le_bytes(), numbers) {
            return None;
        }
        let mut numbers = numbers.as_slice();
        Some(Self {
            format,
            mark: take_u64(&mut numbers)?,
            first: take_u64(&mut numbers)?,
            before: take_u64(&mut numbers)?,
        })
    }
}

fn header_crc(format: [u8; 4], numbers: &[u8; 24]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&MAGIC), &format), numbers)
}

/// What stands at the beginning of a frame, not yet verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) mark: u64,
    pub(crate) crc: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) count: u32,
    pub(crate) first: u64,
}

impl FrameHeader {
    /// `None` where the bytes are too few.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        Some(Self {
            mark: take_u64(&mut bytes)?,
            crc: take_u32(&mut bytes)?,
            payload_bytes: take_u32(&mut bytes)?,
            count: take_u32(&mut bytes)?,
            first: take_u64(&mut bytes)?,
        })
    }

    /// Length of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }

    /// Number after the last record; `None` where it would overflow.
    pub(crate) fn end(&self) -> Option<u64> {
        self.first.checked_add(u64::from(self.count))
    }

    fn summed_fields(&self) -> [u8; 16] {
        let mut fields = [0; 16];
        let parts = self.payload_bytes.to_le_bytes().into_iter().chain(self.count.to_le_bytes());
        for (to, from) in fields.iter_mut().zip(parts.chain(self.first.to_le_bytes())) {
            *to = from;
        }
        fields
    }

    /// Whether checksum, lengths and count agree with this payload.
    pub(crate) fn verify(&self, payload: &[u8]) -> bool {
        let crc = crc32c::crc32c_append(crc32c::crc32c(payload), &self.summed_fields());
        if crc != self.crc
            || self.count == 0
            || payload.len() as u64 != u64::from(self.payload_bytes)
        {
            return false;
        }
        let (mut count, mut bytes) = (0_u64, 0);
        for record in Records::of(payload) {
            count += 1;
            bytes += RECORD_PREFIX_BYTES + record.len();
        }
        count == u64::from(self.count) && bytes == payload.len()
    }
}

/// The records of a payload, in order.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Of a payload that [`FrameHeader::verify`] has passed.
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        let length = usize::try_from(take_u32(&mut rest)?).ok()?;
        let (record, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(record)
    }
}

/// A frame as it goes to disk, but for its number and mark.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Room for the header, then the payload.
    bytes: Vec<u8>,
    payload_bytes: u32,
    payload_crc: u32,
    count: u32,
}

impl Frame {
    /// Bytes the frame of these records takes on disk.
    pub(crate) fn bytes_of(records: &[Vec<u8>]) -> u64 {
        let payload = records.iter().fold(0_u64, |sum, record| {
            sum.saturating_add((RECORD_PREFIX_BYTES + record.len()) as u64)
        });
        payload.saturating_add(FRAME_HEADER_BYTES as u64)
    }

    /// `None` where a length does not fit the format; the caller has checked
    /// [`Frame::bytes_of`] against a bound far below.
    pub(crate) fn encode(records: &[Vec<u8>]) -> Option<Self> {
        let length = usize::try_from(Self::bytes_of(records)).ok()?;
        let mut bytes = Vec::with_capacity(length);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        for record in records {
            bytes.extend_from_slice(&u32::try_from(record.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(record);
        }
        let payload = bytes.get(FRAME_HEADER_BYTES..)?;
        Some(Self {
            payload_bytes: u32::try_from(payload.len()).ok()?,
            payload_crc: crc32c::crc32c(payload),
            count: u32::try_from(records.len()).ok()?,
            bytes,
        })
    }

    /// Bytes it takes on disk.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Records in it.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Puts mark and number in; then it can be written.
    pub(crate) fn seal(&mut self, mark: u64, first: u64) -> &[u8] {
        let mut header = FrameHeader {
            mark,
            crc: 0,
            payload_bytes: self.payload_bytes,
            count: self.count,
            first,
        };
        header.crc = crc32c::crc32c_append(self.payload_crc, &header.summed_fields());
        let parts = mark.to_le_bytes().into_iter().chain(header.crc.to_le_bytes());
        for (to, from) in self.bytes.iter_mut().zip(parts.chain(header.summed_fields())) {
            *to = from;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comes_back_and_no_flipped_bit_passes() {
        let header = Header { format: FORMAT, mark: 0x1122_3344_5566_7788, first: 42, before: 40 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "bit {bit}");
        }
        for cut in 0..HEADER_BYTES {
            assert_eq!(Header::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn frame_comes_back_and_no_flipped_bit_passes() {
        let records = [b"one".to_vec(), Vec::new(), vec![0xff; 40]];
        let mut frame = Frame::encode(&records).unwrap();
        let bytes = frame.seal(7, 9).to_vec();
        assert_eq!(bytes.len() as u64, Frame::bytes_of(&records));
        let read = |bytes: &[u8]| -> Option<(u64, Vec<Vec<u8>>)> {
            let header = FrameHeader::decode(bytes)?;
            let payload = &bytes[FRAME_HEADER_BYTES..];
            let records = Records::of(payload).map(<[u8]>::to_vec);
            (header.mark == 7 && header.verify(payload)).then(|| (header.first, records.collect()))
        };
        assert_eq!(read(&bytes), Some((9, records.to_vec())));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn only_names_of_segments_are_taken() {
        let path = path(Path::new("/x"), 17);
        assert_eq!(path.to_str(), Some("/x/00000000000000000017.segment"));
        assert_eq!(parse_name("00000000000000000017.segment"), Some(17));
        for other in [
            "17.segment",
            "checkpoint",
            "+0000000000000000017.segment",
            "99999999999999999999.segment",
            "00000000000000000017.segment.tmp",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
