//! Reads ClickHouse's RowBinary answers: bounded, and every cut or odd byte an
//! error, as the bytes come from another machine.

use std::io::{self, BufRead, BufReader, Read};

/// Longest text of one value, in bytes: an event's texts in full, as JSON.
const MAX_VALUE_BYTES: u64 = 4 * 1024 * 1024;
/// Most bytes of one answer.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024 * 1024;

/// The rows of an answer, value by value.
pub(super) struct Rows<R> {
    reader: BufReader<io::Take<R>>,
}

fn bad(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<R: Read> Rows<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(64 * 1024, reader.take(MAX_ANSWER_BYTES)) }
    }

    /// Whether there is another row.
    pub(super) fn more(&mut self) -> io::Result<bool> {
        if !self.reader.fill_buf()?.is_empty() {
            return Ok(true);
        }
        if self.reader.get_ref().limit() == 0 {
            return Err(bad("the answer is longer than 1 GiB; ask for fewer events"));
        }
        Ok(false)
    }

    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> io::Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> io::Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> io::Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A `FixedString(16)`: an id or an address.
    pub(super) fn bytes16(&mut self) -> io::Result<u128> {
        Ok(u128::from_be_bytes(self.array()?))
    }

    /// A `String`.
    pub(super) fn text(&mut self) -> io::Result<String> {
        let length = self.length()?;
        let mut bytes = Vec::with_capacity(length.min(64 * 1024) as usize);
        let read = (&mut self.reader).take(length).read_to_end(&mut bytes)?;
        if read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        String::from_utf8(bytes).map_err(|_| bad("a text is no UTF-8"))
    }

    /// LEB128, as ClickHouse writes lengths.
    fn length(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for place in 0..5 {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                if value > MAX_VALUE_BYTES {
                    return Err(bad("a text is longer than 4 MiB"));
                }
                return Ok(value);
            }
        }
        Err(bad("a length has more than five bytes"))
    }
}

/// Appends a `String` as RowBinary writes it.
pub(super) fn put_text(to: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    while length >= 0x80 {
        to.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
    to.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_and_cut_or_odd_ones_are_errors() {
        let long = "é".repeat(40_000);
        let mut bytes = Vec::new();
        for text in ["", "a", &long] {
            put_text(&mut bytes, text.as_bytes());
        }
        let mut rows = Rows::new(bytes.as_slice());
        assert_eq!(rows.text().unwrap(), "");
        assert_eq!(rows.text().unwrap(), "a");
        assert_eq!(rows.text().unwrap(), long);
        assert!(!rows.more().unwrap());
        assert!(Rows::new(&bytes[2..bytes.len() - 1]).text().is_err());
        assert!(Rows::new([1, 0xff].as_slice()).text().is_err());
        assert!(Rows::new([0xff; 9].as_slice()).text().is_err());
        assert!(Rows::new([0xff, 0xff, 0xff, 0x7f].as_slice()).text().is_err());
    }
}
