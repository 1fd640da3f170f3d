//! The first message of a TLS client (RFC 8446, section 4.1.2; RFC 5246,
//! section 7.4.1.2), read out of the records that carry it. Pure, bounded;
//! checks no more than it needs.

/// Most bytes of records that a ClientHello is looked for in. With post-quantum
/// key shares real ones have some 2 kB.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;
/// Bytes before a record's content.
const RECORD_HEAD_BYTES: usize = 5;
/// Longest server name, as DNS has it.
const MAX_NAME_BYTES: usize = 255;

/// What a client offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The version of the message itself.
    pub legacy_version: u16,
    /// Cipher suites in the client's order.
    pub ciphers: Vec<u16>,
    /// Types of extensions in the client's order.
    pub extensions: Vec<u16>,
    /// Signature algorithms in the client's order.
    pub signatures: Vec<u16>,
    /// Versions of the extension `supported_versions`.
    pub versions: Vec<u16>,
    /// The server's name (SNI).
    pub server_name: Option<Vec<u8>>,
    /// Protocols (ALPN) in the client's order.
    pub protocols: Vec<Vec<u8>>,
}

/// The bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ClientHello")]
pub struct NoHello;

impl ClientHello {
    /// Reads the message at the start of `bytes`; `None` while more are
    /// needed, which ends after [`MAX_HELLO_BYTES`] at the latest.
    ///
    /// # Errors
    /// [`NoHello`] as soon as the bytes cannot become one.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, NoHello> {
        let bytes = bytes.get(..MAX_HELLO_BYTES).unwrap_or(bytes);
        let full = bytes.len() == MAX_HELLO_BYTES;
        let more = || if full { Err(NoHello) } else { Ok(None) };
        let mut message = Vec::new();
        let mut rest = bytes;
        loop {
            match rest {
                [0x16, 0x03, 0..=4, high, low, after @ ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    if length == 0 {
                        return Err(NoHello);
                    }
                    let taken = length.min(after.len());
                    let (content, after) = after.split_at(taken);
                    message.extend_from_slice(content);
                    rest = after;
                    if message.first().is_some_and(|kind| *kind != 1) {
                        return Err(NoHello);
                    }
                    if let [1, a, b, c, body @ ..] = message.as_slice() {
                        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                        if length > MAX_HELLO_BYTES {
                            return Err(NoHello);
                        }
                        if let Some(body) = body.get(..length) {
                            return read(body).map(Some).ok_or(NoHello);
                        }
                    }
                    if taken < length {
                        return more();
                    }
                }
                _ if begins_record(rest) => return more(),
                _ => return Err(NoHello),
            }
        }
    }
}

/// Whether fewer bytes than a record's head are the beginning of one.
fn begins_record(bytes: &[u8]) -> bool {
    bytes.len() < RECORD_HEAD_BYTES
        && match bytes {
            [] | [0x16] | [0x16, 0x03] => true,
            [0x16, 0x03, minor, ..] => *minor <= 4,
            _ => false,
        }
}

/// A cursor that only ever takes what is there.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.0.get(..count)?;
        self.0 = self.0.get(count..)?;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
    }

    /// A vector with a length of one byte, or of two.
    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.short()?);
        self.take(length)
    }
}

/// All pairs of bytes as numbers; a byte that is left over is left out.
fn shorts(bytes: &[u8]) -> Vec<u16> {
    let pairs = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk::<2>());
    pairs.map(|pair| u16::from_be_bytes(*pair)).collect()
}

fn read(body: &[u8]) -> Option<ClientHello> {
    let mut body = Cursor(body);
    let mut hello = ClientHello { legacy_version: body.short()?, ..ClientHello::default() };
    body.take(32)?;
    body.vector8()?;
    hello.ciphers = shorts(body.vector16()?);
    body.vector8()?;
    // The oldest clients end here.
    let Some(list) = body.vector16() else { return Some(hello) };
    let mut list = Cursor(list);
    while let Some(kind) = list.short() {
        let data = list.vector16()?;
        hello.extensions.push(kind);
        let mut data = Cursor(data);
        match kind {
            0x0000 => hello.server_name = server_name(&mut data),
            0x000d => hello.signatures = data.vector16().map(shorts).unwrap_or_default(),
            0x0010 => {
                let mut names = Cursor(data.vector16().unwrap_or_default());
                while let Some(name) = names.vector8() {
                    hello.protocols.push(name.to_vec());
                }
            }
            0x002b => hello.versions = data.vector8().map(shorts).unwrap_or_default(),
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(data: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let mut names = Cursor(data.vector16()?);
    while let Some(kind) = names.byte() {
        let name = names.vector16()?;
        if kind == 0 {
            return Some(name.get(..MAX_NAME_BYTES).unwrap_or(name).to_vec());
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello in one record.
    pub(crate) fn message(hello: &ClientHello) -> Vec<u8> {
        let vector16 = |bytes: Vec<u8>| {
            let length = u16::try_from(bytes.len()).unwrap();
            [length.to_be_bytes().to_vec(), bytes].concat()
        };
        let numbers = |list: &[u16]| list.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
        let mut extensions = Vec::new();
        for kind in &hello.extensions {
            let data = match kind {
                0 => {
                    let name = vector16(hello.server_name.clone().unwrap_or_default());
                    vector16([vec![0], name].concat())
                }
                0x0d => vector16(numbers(&hello.signatures)),
                0x10 => vector16(
                    hello
                        .protocols
                        .iter()
                        .flat_map(|p| [vec![u8::try_from(p.len()).unwrap()], p.clone()].concat())
                        .collect(),
                ),
                0x2b => {
                    let list = numbers(&hello.versions);
                    [vec![u8::try_from(list.len()).unwrap()], list].concat()
                }
                _ => Vec::new(),
            };
            extensions.extend(kind.to_be_bytes());
            extensions.extend(vector16(data));
        }
        let body = [
            hello.legacy_version.to_be_bytes().to_vec(),
            vec![7; 32],
            vec![0],
            vector16(numbers(&hello.ciphers)),
            vec![1, 0],
            vector16(extensions),
        ]
        .concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [vec![1, length[1], length[2], length[3]], body].concat();
        [vec![0x16, 3, 1], vector16(message)].concat()
    }

    pub(crate) fn sample() -> ClientHello {
        ClientHello {
            legacy_version: 0x0303,
            ciphers: vec![0x0a0a, 0x1301, 0xc02b],
            extensions: vec![0, 0x10, 0x0d, 0x2b, 0xff01],
            signatures: vec![0x0403, 0x0804],
            versions: vec![0x0304, 0x0303],
            server_name: Some(b"example.com".to_vec()),
            protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }

    #[test]
    fn a_message_is_read_however_it_is_cut_into_records() {
        let whole = message(&sample());
        assert_eq!(ClientHello::parse(&whole), Ok(Some(sample())));
        for cut in 0..whole.len() {
            assert_eq!(ClientHello::parse(&whole[..cut]), Ok(None), "{cut}");
        }
        // The same in records of seven bytes.
        let records: Vec<u8> = whole[5..]
            .chunks(7)
            .flat_map(|part| {
                [vec![0x16, 3, 1, 0, u8::try_from(part.len()).unwrap()], part.to_vec()].concat()
            })
            .collect();
        assert_eq!(ClientHello::parse(&records), Ok(Some(sample())));
    }

    #[test]
    fn what_is_none_is_refused_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x02",
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x00\x01\xff\xff\xff",
            b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
        ] {
            assert_eq!(ClientHello::parse(bytes), Err(NoHello), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decided_within_the_bound(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..150, with in any::<u8>()
        ) {
            let _ = ClientHello::parse(&bytes);
            let mut changed = message(&sample());
            let place = at % changed.len();
            changed[place] = with;
            let _ = ClientHello::parse(&changed);
            changed.resize(MAX_HELLO_BYTES, 0x16);
            prop_assert_ne!(ClientHello::parse(&changed), Ok(None));
        }
    }
}
