//! JA4, the fingerprint of a TLS client by FoxIO (BSD licence;
//! github.com/FoxIO-LLC/ja4, `technical_details/JA4.md`): what it offers,
//! counted and hashed in an order that shuffling does not change. Of the JA4+
//! suite this is the only part that is free, and the only one that is here.

use ring::digest::{SHA256, digest};

use super::client_hello::ClientHello;

/// Hex digits of a hash that are kept.
const HASH_DIGITS: usize = 12;
/// The hash of nothing.
const NOTHING: &str = "000000000000";
const SERVER_NAME: u16 = 0x0000;
const PROTOCOLS: u16 = 0x0010;

/// The fingerprint of a client that came by TCP.
#[must_use]
pub fn ja4(hello: &ClientHello) -> String {
    let ciphers: Vec<u16> = real(&hello.ciphers).collect();
    let extensions: Vec<u16> = real(&hello.extensions).collect();
    let name = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let start = format!(
        "t{}{name}{:02}{:02}{}",
        version(hello),
        ciphers.len().min(99),
        extensions.len().min(99),
        protocol(hello)
    );
    let hashed_ciphers =
        if ciphers.is_empty() { NOTHING.to_owned() } else { hash(&sorted(ciphers)) };
    let signatures: Vec<u16> = real(&hello.signatures).collect();
    let others: Vec<u16> = extensions
        .iter()
        .copied()
        .filter(|kind| !matches!(*kind, SERVER_NAME | PROTOCOLS))
        .collect();
    let hashed_extensions = if extensions.is_empty() {
        NOTHING.to_owned()
    } else if signatures.is_empty() {
        hash(&sorted(others))
    } else {
        hash(&format!("{}_{}", sorted(others), joined(&signatures)))
    };
    format!("{start}_{hashed_ciphers}_{hashed_extensions}")
}

/// Without the values that only keep servers tolerant (RFC 8701).
fn real(values: &[u16]) -> impl Iterator<Item = u16> + '_ {
    values.iter().copied().filter(|value| !is_grease(*value))
}

fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn version(hello: &ClientHello) -> &'static str {
    match real(&hello.versions).max().unwrap_or(hello.legacy_version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last letter of the first protocol; of its hex digits where they
/// are no letters or digits.
fn protocol(hello: &ClientHello) -> String {
    let Some((first, last)) =
        hello.protocols.first().and_then(|name| Some((*name.first()?, *name.last()?)))
    else {
        return "00".to_owned();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(first), char::from(last)].iter().collect();
    }
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0x0f)].iter().collect()
}

fn joined(values: &[u16]) -> String {
    let digits: Vec<String> = values.iter().map(|value| format!("{value:04x}")).collect();
    digits.join(",")
}

fn sorted(mut values: Vec<u16>) -> String {
    values.sort_unstable();
    joined(&values)
}

fn hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::client_hello::tests::message;
    use super::*;

    /// The example of the published description: Chrome by TCP.
    fn chrome() -> ClientHello {
        ClientHello {
            legacy_version: 0x0303,
            ciphers: vec![
                0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005,
                0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            versions: vec![0x3a3a, 0x0304, 0x0303],
            server_name: Some(b"example.com".to_vec()),
            protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }

    #[test]
    fn the_published_example_has_its_published_fingerprint() {
        assert_eq!(ja4(&chrome()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        let read = ClientHello::parse(&message(&chrome())).unwrap().unwrap();
        assert_eq!(ja4(&read), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn the_parts_are_hashed_as_published() {
        let ciphers = "002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9";
        assert_eq!(hash(ciphers), "8daaf6152771");
        let extensions = "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01";
        let signatures = "0403,0804,0401,0503,0805,0501,0806,0601";
        assert_eq!(hash(&format!("{extensions}_{signatures}")), "e5627efa2ab1");
        // The same client without signature algorithms.
        assert_eq!(hash(extensions), "6d807ffa2a79");
    }

    #[test]
    fn the_order_of_extensions_does_not_matter() {
        let mut shuffled = chrome();
        shuffled.extensions.reverse();
        shuffled.ciphers.rotate_left(5);
        assert_eq!(ja4(&shuffled), ja4(&chrome()));
    }

    #[test]
    fn what_is_not_offered_is_told() {
        let mut old =
            ClientHello { legacy_version: 0x0301, ciphers: vec![5], ..ClientHello::default() };
        assert_eq!(ja4(&old), format!("t10i010000_{}_{NOTHING}", hash("0005")));
        (old.ciphers, old.legacy_version) = (Vec::new(), 0x0300);
        assert_eq!(ja4(&old), format!("ts3i000000_{NOTHING}_{NOTHING}"));
        for (protocol, wanted) in [
            (&b"h2"[..], "h2"),
            (b"http/1.1", "h1"),
            (b"a", "aa"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"0\xab", "3b"),
        ] {
            old.protocols = vec![protocol.to_vec()];
            assert!(ja4(&old).starts_with(&format!("ts3i0000{wanted}_")), "{}", ja4(&old));
        }
    }
}
