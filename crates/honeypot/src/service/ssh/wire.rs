//! The data types of RFC 4251, section 5: reading that cannot fail loudly and
//! writing that cannot fail. Not messages; those are where they are used.

/// Reads one message from its front. Every read is `None` where the message
/// is too short; nothing is read twice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A `byte`.
    pub fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A `boolean`: anything but 0 is true.
    pub fn bool(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    /// A `uint32`.
    pub fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A `uint64`.
    pub fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// A `string`: any bytes.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.bytes(length)
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Writes messages.
pub trait Put {
    /// A `byte`.
    fn put_u8(&mut self, value: u8);
    /// A `uint32`.
    fn put_u32(&mut self, value: u32);
    /// A `uint64`.
    fn put_u64(&mut self, value: u64);
    /// A `string`.
    fn put_string(&mut self, value: &[u8]);
    /// An `mpint` of a number without sign, big-endian, zeros in front allowed.
    fn put_mpint(&mut self, value: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_string(&mut self, value: &[u8]) {
        self.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.extend_from_slice(value);
    }

    fn put_mpint(&mut self, value: &[u8]) {
        let zeros = value.iter().take_while(|byte| **byte == 0).count();
        let value = value.get(zeros..).unwrap_or_default();
        let sign = value.first().is_some_and(|first| first & 0x80 != 0);
        self.put_u32(u32::try_from(value.len() + usize::from(sign)).unwrap_or(u32::MAX));
        if sign {
            self.push(0);
        }
        self.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_shows_them() {
        // RFC 4251, section 5.
        for (value, written) in [
            (&[][..], &[0, 0, 0, 0][..]),
            (&[0, 0], &[0, 0, 0, 0]),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
            (&[0, 9, 0xa3], &[0, 0, 0, 2, 9, 0xa3]),
        ] {
            let mut out = Vec::new();
            out.put_mpint(value);
            assert_eq!(out, written);
        }
    }

    #[test]
    fn a_short_message_is_no_message() {
        let mut reader = Reader::new(&[0, 0, 0, 5, b'a']);
        assert_eq!(reader.string(), None);
        assert_eq!(Reader::new(&[1, 2, 3]).u32(), None);
        assert_eq!(Reader::new(&[]).bool(), None);
    }
}
