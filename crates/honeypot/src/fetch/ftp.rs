//! What an FTP server answers (RFC 959, RFC 2428), read line by line. The
//! server is the attacker's: lines and replies are bounded, and of the address
//! that it names for the data only the port counts.

/// Longest line of a reply, in bytes, with its end.
pub const MAX_LINE_BYTES: usize = 1_024;
/// Most lines of one reply.
pub const MAX_LINES: usize = 64;

/// The server does not speak FTP, or too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer is not one of FTP")]
pub struct Malformed;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its code, 100 to 599.
    pub code: u16,
    /// The text of its last line.
    pub text: Vec<u8>,
}

/// Reads replies from bytes as they come.
#[derive(Debug, Default)]
pub struct Replies {
    buffer: Vec<u8>,
    /// The code of the reply that goes on, and its lines.
    open: Option<(u16, usize)>,
}

impl Replies {
    /// Takes some bytes of the server.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next reply that is complete.
    ///
    /// # Errors
    /// [`Malformed`]: there is no way to go on.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, Malformed> {
        loop {
            let line_end = self.buffer.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n');
            let Some(line_end) = line_end else {
                let whole = self.buffer.len() < MAX_LINE_BYTES;
                return if whole { Ok(None) } else { Err(Malformed) };
            };
            let line: Vec<u8> = self.buffer.drain(..=line_end).collect();
            let line = line.trim_ascii_end();
            let (code, last) = match (self.open, code(line)) {
                // Within a reply of many lines anything goes but its end.
                (Some((open, _)), Some((code, true))) if code == open => (code, true),
                (Some((open, _)), _) => (open, false),
                (None, Some((code, last))) => (code, last),
                (None, None) => return Err(Malformed),
            };
            if last {
                self.open = None;
                let text = line.get(4..).unwrap_or_default().to_vec();
                return Ok(Some(Reply { code, text }));
            }
            let lines = self.open.map_or(1, |(_, lines)| lines + 1);
            if lines > MAX_LINES {
                return Err(Malformed);
            }
            self.open = Some((code, lines));
        }
    }
}

/// The code at the start of a line, and whether the reply ends with it.
fn code(line: &[u8]) -> Option<(u16, bool)> {
    let digits = line.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let last = match line.get(3) {
        Some(b' ') | None => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    (100..600).contains(&code).then_some((code, last))
}

/// The port that the answer to `EPSV` (229) or `PASV` (227) names.
#[must_use]
pub fn data_port(reply: &Reply) -> Option<u16> {
    let open = reply.text.iter().position(|byte| *byte == b'(');
    let inner = reply.text.get(open.map_or(0, |open| open + 1)..)?;
    let port = match reply.code {
        229 => {
            // (<d><d><d>port<d>)
            let delimiter = *inner.first()?;
            let rest = inner.strip_prefix(&[delimiter; 3])?;
            let end = rest.iter().position(|byte| *byte == delimiter)?;
            std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?
        }
        227 => {
            // Six numbers; the first four are an address, which does not count.
            let start = inner.iter().position(u8::is_ascii_digit)?;
            let text: Vec<u8> = inner
                .get(start..)?
                .iter()
                .copied()
                .take_while(|byte| byte.is_ascii_digit() || *byte == b',')
                .collect();
            let numbers: Option<Vec<u8>> = text
                .split(|byte| *byte == b',')
                .map(|number| std::str::from_utf8(number).ok()?.parse().ok())
                .collect();
            match numbers?.as_slice() {
                [_, _, _, _, high, low] => u16::from_be_bytes([*high, *low]),
                _ => return None,
            }
        }
        _ => return None,
    };
    (port != 0).then_some(port)
}

/// A command with its argument; `None` where that cannot be one line.
#[must_use]
pub fn command(word: &str, argument: &str) -> Option<Vec<u8>> {
    let plain = !argument.bytes().any(|byte| byte.is_ascii_control());
    plain.then(|| match argument {
        "" => format!("{word}\r\n").into_bytes(),
        _ => format!("{word} {argument}\r\n").into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replies(bytes: &[u8]) -> Result<Vec<Reply>, Malformed> {
        let (mut reader, mut all) = (Replies::default(), Vec::new());
        reader.push(bytes);
        while let Some(reply) = reader.next_reply()? {
            all.push(reply);
        }
        Ok(all)
    }

    #[test]
    fn replies_of_one_line_and_of_many_are_read() {
        let bytes = b"220-Welcome\r\n 220 of no account\r\n331 nor this\r\n220 to it\r\n331 Password?\r\n150\r\n226";
        let all = replies(bytes).unwrap();
        let codes: Vec<u16> = all.iter().map(|reply| reply.code).collect();
        assert_eq!(codes, [220, 331, 150]);
        assert_eq!(all[0].text, b"to it");
    }

    #[test]
    fn what_is_no_reply_or_has_no_end_is_refused() {
        for wrong in ["SSH-2.0-x\r\n", "\r\n", "099 x\r\n", "999 x\r\n", "22\r\n", "220x\r\n"] {
            assert_eq!(replies(wrong.as_bytes()), Err(Malformed), "{wrong}");
        }
        assert_eq!(replies(&[b'2'; MAX_LINE_BYTES]), Err(Malformed));
        let endless = [b"220-first\r\n".as_slice(), &b"more\r\n".repeat(MAX_LINES)].concat();
        assert_eq!(replies(&endless), Err(Malformed));
    }

    #[test]
    fn of_a_named_place_for_the_data_only_the_port_counts() {
        let port = |code, text: &str| data_port(&Reply { code, text: text.into() });
        assert_eq!(port(229, "Entering Extended Passive Mode (|||6446|)"), Some(6_446));
        assert_eq!(port(227, "Entering Passive Mode (10,0,0,1,25,46)."), Some(6_446));
        assert_eq!(port(227, "=127,0,0,1,0,22"), Some(22));
        for wrong in ["(|||0|)", "(|||65536|)", "(||6446|)", "(", "", "(|||6446"] {
            assert_eq!(port(229, wrong), None, "{wrong}");
        }
        for wrong in ["(1,2,3,4,5)", "(1,2,3,4,5,256)", "(,,,,,)", "no", "(0,0,0,0,0,0)"] {
            assert_eq!(port(227, wrong), None, "{wrong}");
        }
        assert_eq!(port(200, "(|||6446|)"), None);
    }

    #[test]
    fn an_argument_cannot_hold_a_second_command() {
        assert_eq!(command("RETR", "/a b").unwrap(), b"RETR /a b\r\n");
        assert_eq!(command("QUIT", "").unwrap(), b"QUIT\r\n");
        assert_eq!(command("RETR", "/a\r\nDELE /b"), None);
        assert_eq!(command("USER", "a\0"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_pieces_say_the_same(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200
        ) {
            let whole = replies(&bytes);
            let cut = cut.min(bytes.len());
            let (mut reader, mut all) = (Replies::default(), Vec::new());
            for part in [&bytes[..cut], &bytes[cut..]] {
                reader.push(part);
                while let Ok(Some(reply)) = reader.next_reply() {
                    let _ = data_port(&reply);
                    all.push(reply);
                }
            }
            if let Ok(whole) = whole {
                prop_assert_eq!(whole, all);
            }
        }
    }
}
