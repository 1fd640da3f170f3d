//! Files that may be packed: gzip, xz, LZ4 and Zstandard, told by their first bytes.
//! apt keeps its lists so where `Acquire::GzipIndexes` is set, as in containers.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};

/// Most bytes that come out of one file; all of Debian unpacks to some 50 MB.
pub(crate) const MAX_UNPACKED_BYTES: u64 = 512 * 1024 * 1024;
/// Most memory that a packed file may ask for: xz by default takes 9 MiB.
const MAX_XZ_KIB: u32 = 72 * 1024;
const MAX_ZSTD_WINDOW_LOG: u32 = 26;

/// What a file holds, unpacked while it is read. Ends with an error where more
/// than [`MAX_UNPACKED_BYTES`] come out.
///
/// # Errors
/// It cannot be read.
pub(crate) fn unpacked(mut file: File) -> io::Result<impl Read> {
    let mut start = Vec::with_capacity(6);
    file.by_ref().take(6).read_to_end(&mut start)?;
    let magic = start.clone();
    let whole = BufReader::new(Cursor::new(start).chain(file));
    let inner: Box<dyn Read> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, MAX_XZ_KIB))
        }
        [0x04, 0x22, 0x4d, 0x18, ..] => Box::new(lz4_flex::frame::FrameDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(whole)?;
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(whole),
    };
    Ok(Bounded { inner, left: MAX_UNPACKED_BYTES })
}

/// Fails beyond its bound, where `take` would only end.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than {MAX_UNPACKED_BYTES} bytes"))
        })?;
        Ok(read)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;

    /// A text packed in each form, by the ends that apt gives to names.
    pub(crate) fn forms(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text).unwrap();
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        xz.write_all(text).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(text).unwrap();
        vec![
            ("", text.to_vec()),
            (".gz", gz.finish().unwrap()),
            (".xz", xz.finish().unwrap()),
            (".lz4", lz4.finish().unwrap()),
            (".zst", zstd::encode_all(text, 1).unwrap()),
        ]
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut text = Vec::new();
        unpacked(file)?.read_to_end(&mut text).map(|_| text)
    }

    #[test]
    fn each_form_is_unpacked_and_a_file_that_is_cut_is_said_so() {
        let text = "Package: openssl\nVersion: 3\n\n".repeat(20_000).into_bytes();
        for (form, packed) in forms(&text) {
            assert!(read(&packed).unwrap() == text, "{form}");
            if !form.is_empty() {
                assert!(read(&packed[..packed.len() / 2]).is_err(), "{form}");
            }
        }
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn what_unpacks_to_more_than_fits_is_refused() {
        let mut reader = Bounded { inner: io::repeat(0), left: 1_000_000 };
        let failed = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert!(failed.to_string().contains("unpacks to more than"), "{failed}");
    }
}
