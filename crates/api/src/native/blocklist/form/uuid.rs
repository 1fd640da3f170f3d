//! UUIDs of version 5 (RFC 9562): the same name gives the same UUID, on every
//! hub and after every restart.

use ring::digest;

/// The namespace of our names, drawn once.
const NAMESPACE: [u8; 16] = [
    0x8f, 0x1d, 0x2a, 0x6e, 0x5b, 0x0c, 0x4f, 0x37, 0x9c, 0x61, 0xd4, 0x72, 0x0b, 0xe8, 0x35, 0xa9,
];

/// The UUID of a name, which begins with what it names.
pub(super) fn uuid(name: &str) -> String {
    of(NAMESPACE, name)
}

fn of(namespace: [u8; 16], name: &str) -> String {
    // SHA-1 is what version 5 is made of; nothing is kept safe by it.
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&namespace);
    context.update(name.as_bytes());
    let hash = context.finish();
    let mut bits = [0; 16];
    for (bit, byte) in bits.iter_mut().zip(hash.as_ref()) {
        *bit = *byte;
    }
    let bits = u128::from_be_bytes(bits);
    let bits = bits & !(0xf << 76) | (5 << 76);
    let bits = bits & !(0b11 << 62) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let mut text = String::with_capacity(36);
    for (place, digit) in hex.chars().enumerate() {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        // RFC 9562, A.4: the namespace of DNS and www.example.com.
        let dns = 0x6ba7b810_9dad_11d1_80b4_00c04fd430c8_u128.to_be_bytes();
        assert_eq!(of(dns, "www.example.com"), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    }
}
