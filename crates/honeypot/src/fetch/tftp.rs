//! Reading a file by TFTP (RFC 1350): what is asked, and what the blocks of an
//! answer mean. Without options, so that a block has at most 512 bytes.

/// Bytes of a whole block; a shorter one is the last.
pub const BLOCK_BYTES: usize = 512;
/// Longest datagram that is of interest.
pub const MAX_DATAGRAM_BYTES: usize = 4 + BLOCK_BYTES;
/// Longest name of a file, in bytes.
pub const MAX_NAME_BYTES: usize = 400;

const READ: u16 = 1;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
/// The code of an error that says there is no such file.
const NO_SUCH_FILE: u16 = 1;

/// The request for a file, as bytes (mode octet); `None` where its name cannot
/// be one.
#[must_use]
pub fn request(name: &str) -> Option<Vec<u8>> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        return None;
    }
    Some([READ.to_be_bytes().as_slice(), name.as_bytes(), b"\0octet\0"].concat())
}

/// That a block has come.
#[must_use]
pub fn acknowledgement(block: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (ACK.to_be_bytes(), block.to_be_bytes());
    [a, b, c, d]
}

/// What a datagram of the server brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new block: say so, and wait for the next.
    More(u16),
    /// The last block: say so; the file is complete.
    Complete(u16),
    /// A block that had come already: say so again.
    Again(u16),
    /// Nothing of interest.
    Ignored,
    /// The server has no such file.
    NoSuchFile,
    /// The server does not want to.
    Refused,
    /// The file is larger than it may be.
    TooLarge,
}

/// A file as it comes.
#[derive(Debug)]
pub struct Transfer {
    bytes: Vec<u8>,
    most: usize,
    /// The number of the block that comes next; it begins anew after 65,535.
    next: u16,
    begun: bool,
}

impl Transfer {
    /// Nothing yet of a file of at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most, next: 1, begun: false }
    }

    /// Takes a datagram.
    pub fn take(&mut self, datagram: &[u8]) -> Step {
        let Some(([a, b, c, d], data)) = datagram.split_first_chunk::<4>() else {
            return Step::Ignored;
        };
        let number = u16::from_be_bytes([*c, *d]);
        match u16::from_be_bytes([*a, *b]) {
            ERROR if number == NO_SUCH_FILE => Step::NoSuchFile,
            ERROR => Step::Refused,
            DATA if data.len() > BLOCK_BYTES => Step::Ignored,
            DATA if number == self.next => {
                if self.bytes.len() + data.len() > self.most {
                    return Step::TooLarge;
                }
                self.begun = true;
                self.bytes.extend_from_slice(data);
                self.next = self.next.wrapping_add(1);
                match data.len() < BLOCK_BYTES {
                    true => Step::Complete(number),
                    false => Step::More(number),
                }
            }
            DATA if self.begun && number == self.next.wrapping_sub(1) => Step::Again(number),
            _ => Step::Ignored,
        }
    }

    /// What has come.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
        [DATA.to_be_bytes().as_slice(), &block.to_be_bytes(), bytes].concat()
    }

    #[test]
    fn a_file_comes_block_by_block() {
        assert_eq!(request("a.sh").unwrap(), b"\0\x01a.sh\0octet\0");
        assert_eq!(acknowledgement(258), [0, 4, 1, 2]);
        let mut transfer = Transfer::new(1_000);
        assert_eq!(transfer.take(&data(0, b"")), Step::Ignored, "no block has this number");
        assert_eq!(transfer.take(&data(1, &[1; 512])), Step::More(1));
        assert_eq!(transfer.take(&data(1, &[1; 512])), Step::Again(1));
        assert_eq!(transfer.take(&data(3, b"x")), Step::Ignored);
        assert_eq!(transfer.take(&data(2, &[2; 488])), Step::Complete(2));
        assert_eq!(transfer.into_bytes().len(), 1_000);
    }

    #[test]
    fn numbers_of_blocks_begin_anew_and_a_file_has_an_end() {
        let mut transfer = Transfer::new(40 * 1024 * 1024);
        for n in 1..=70_000u32 {
            let block = (n & 0xffff) as u16;
            assert_eq!(transfer.take(&data(block, &[0; 512])), Step::More(block));
        }
        let mut transfer = Transfer::new(600);
        assert_eq!(transfer.take(&data(1, &[0; 512])), Step::More(1));
        assert_eq!(transfer.take(&data(2, &[0; 89])), Step::TooLarge);
    }

    #[test]
    fn what_a_server_refuses_or_makes_up_is_no_file() {
        let mut transfer = Transfer::new(1_000);
        assert_eq!(transfer.take(b"\0\x05\0\x01no\0"), Step::NoSuchFile);
        assert_eq!(transfer.take(b"\0\x05\0\x02no\0"), Step::Refused);
        assert_eq!(transfer.take(&data(1, &[0; 513])), Step::Ignored);
        for wrong in [b"".as_slice(), b"\0\x03\0", b"\0\x06blksize\0", b"\0\x01a\0octet\0"] {
            assert_eq!(transfer.take(wrong), Step::Ignored);
        }
        assert_eq!(request(""), None);
        assert_eq!(request("a\0netascii"), None);
        assert_eq!(request(&"a".repeat(MAX_NAME_BYTES + 1)), None);
    }

    proptest! {
        #[test]
        fn no_datagrams_panic_or_store_more_than_they_may(
            datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..20)
        ) {
            let mut transfer = Transfer::new(30);
            for datagram in &datagrams {
                let _ = transfer.take(datagram);
            }
            prop_assert!(transfer.into_bytes().len() <= 30);
        }
    }
}
