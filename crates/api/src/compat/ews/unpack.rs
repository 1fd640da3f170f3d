//! Unpacks a message as it comes in: a piece of input at a time, and never
//! more output than one step of the decoder makes.

use std::io::{self, Write as _};

use http::{HeaderMap, header};

use crate::body::MAX_ZSTD_WINDOW_LOG;

/// How a message is packed.
pub(crate) enum Unpack {
    /// As it is.
    Identity,
    /// gzip (RFC 1952).
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    /// Zstandard (RFC 8878).
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Unpack {
    /// By `Content-Encoding`; `None` for one that is not known.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let Some(name) = headers.get(header::CONTENT_ENCODING) else { return Some(Self::Identity) };
        let name = name.as_bytes().trim_ascii();
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            return Some(Self::Identity);
        }
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))));
        }
        if name.eq_ignore_ascii_case(b"zstd") {
            let mut decoder = zstd::stream::write::Decoder::new(Vec::new()).ok()?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).ok()?;
            return Some(Self::Zstd(Box::new(decoder)));
        }
        None
    }

    /// Takes some of `input` and appends what that makes to `out`; how much
    /// was taken.
    ///
    /// # Errors
    /// It is not packed this way.
    pub(crate) fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Identity => {
                out.extend_from_slice(input);
                Ok(input.len())
            }
            Self::Gzip(decoder) => {
                let taken = decoder.write(input)?;
                out.append(decoder.get_mut());
                Ok(taken)
            }
            Self::Zstd(decoder) => {
                let taken = decoder.write(input)?;
                out.append(decoder.get_mut());
                Ok(taken)
            }
        }
    }

    /// Nothing follows: what is left is appended to `out`.
    ///
    /// # Errors
    /// It is cut short.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Identity => {}
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                out.append(decoder.get_mut());
            }
            Self::Zstd(decoder) => {
                decoder.flush()?;
                out.append(decoder.get_mut());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(name: &'static str, packed: &[u8], most: usize) -> Option<Vec<u8>> {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, name.parse().unwrap())]);
        let mut unpack = Unpack::of(&headers)?;
        let (mut rest, mut out) = (packed, Vec::new());
        while !rest.is_empty() && out.len() <= most {
            let before = out.len();
            let taken = unpack.step(rest.get(..1000).unwrap_or(rest), &mut out).ok()?;
            assert!(out.len() - before <= 256 * 1024, "one step made {}", out.len() - before);
            rest = rest.get(taken..).unwrap();
        }
        if out.len() <= most {
            unpack.end(&mut out).ok()?;
        }
        Some(out)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn all_three_ways_come_out_the_same() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(unpack("identity", &plain, usize::MAX).unwrap(), plain);
        assert_eq!(unpack("GZIP", &gzip(&plain), usize::MAX).unwrap(), plain);
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        assert_eq!(unpack("zstd", &zstd, usize::MAX).unwrap(), plain);
        assert_eq!(unpack("br", &plain, usize::MAX), None);
        assert_eq!(unpack("gzip", b"no gzip at all", usize::MAX), None);
    }

    #[test]
    fn a_bomb_comes_out_in_small_pieces() {
        let plain = vec![0u8; 64 * 1024 * 1024];
        for (name, bomb) in
            [("gzip", gzip(&plain)), ("zstd", zstd::encode_all(&plain[..], 3).unwrap())]
        {
            let out = unpack(name, &bomb, 1024 * 1024).unwrap();
            assert!(out.len() < 2 * 1024 * 1024, "{name}: {}", out.len());
        }
    }
}
