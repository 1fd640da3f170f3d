//! Literals: the one place where values become SQL. ClickHouse 18.16 has no
//! query parameters, so texts are quoted here, and ids and addresses are hex.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Appends a text as a string literal.
pub(super) fn text(sql: &mut String, value: &str) {
    sql.push('\'');
    for c in value.chars() {
        match c {
            '\'' => sql.push_str("\\'"),
            '\\' => sql.push_str("\\\\"),
            '\0' => sql.push_str("\\0"),
            c => sql.push(c),
        }
    }
    sql.push('\'');
}

/// Appends 16 bytes (an id, an address) as a `FixedString(16)`.
pub(super) fn bytes16(sql: &mut String, value: u128) {
    let _ = write!(sql, "toFixedString(unhex('{value:032x}'), 16)");
}

/// The 16 bytes that an address is stored as: IPv4 mapped to IPv6.
pub(super) fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Appends a name (database, table, cluster) in backquotes. Names of the
/// settings are checked to be plain; this is the second lock on the door.
pub(super) fn name(name: &str) -> String {
    let plain: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    format!("`{plain}`")
}

/// A regular expression (RE2) that matches whole texts as the pattern's steps
/// say. Whatever is no letter or digit stands in a class of its own: old
/// servers look for literal parts of an expression and misread `\x41`.
pub(super) fn regex_char(regex: &mut String, c: char) {
    match c {
        '\\' | ']' | '^' | '-' | '[' => {
            regex.push_str("[\\");
            regex.push(c);
            regex.push(']');
        }
        c if c.is_ascii_control() => {
            let _ = write!(regex, "[\\x{:02x}]", c as u32);
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() && c != ' ' => {
            regex.push('[');
            regex.push(c);
            regex.push(']');
        }
        c => regex.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_inside_its_quotes() {
        let quoted = |value: &str| {
            let mut sql = String::new();
            text(&mut sql, value);
            sql
        };
        assert_eq!(quoted("a"), "'a'");
        assert_eq!(quoted("'; DROP TABLE events --"), "'\\'; DROP TABLE events --'");
        assert_eq!(quoted("\\'"), "'\\\\\\''");
        assert_eq!(quoted("\\"), "'\\\\'");
        assert_eq!(quoted("\0\n"), "'\\0\n'");
        // Read back by the rules of ClickHouse's lexer, every text is one literal.
        for value in ["\\\\'", "'", "\\\0'", "é'\\", "\u{fffd}\\"] {
            let literal = quoted(value);
            let mut inside = literal[1..literal.len() - 1].chars();
            let mut back = String::new();
            while let Some(c) = inside.next() {
                match c {
                    '\\' => match inside.next().unwrap() {
                        '0' => back.push('\0'),
                        c => back.push(c),
                    },
                    '\'' => panic!("{literal} ends early"),
                    c => back.push(c),
                }
            }
            assert_eq!(back, value);
        }
    }

    #[test]
    fn ids_and_addresses_are_hex() {
        let mut sql = String::new();
        bytes16(&mut sql, address_bits("192.0.2.1".parse().unwrap()));
        assert_eq!(sql, "toFixedString(unhex('00000000000000000000ffffc0000201'), 16)");
    }
}
