//! Credentials in a request: form fields, query parameters, Basic
//! authentication (RFC 7617). Bytes are kept as they are after decoding.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Names that login forms of devices give their fields.
const NAMES: [&str; 14] = [
    "username",
    "user",
    "uname",
    "userid",
    "user_name",
    "usr",
    "login",
    "log",
    "loginuser",
    "login_username",
    "luci_username",
    "j_username",
    "email",
    "name",
];
const PASSWORDS: [&str; 14] = [
    "password",
    "passwd",
    "pass",
    "pwd",
    "psd",
    "psw",
    "passw",
    "loginpass",
    "login_password",
    "luci_password",
    "j_password",
    "secret",
    "user_password",
    "pw",
];
/// Most fields of a form that are looked at.
const MAX_FIELDS: usize = 256;

/// What was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The login name, where one was given.
    pub username: Option<Vec<u8>>,
    /// The password, where one was given.
    pub password: Option<Vec<u8>>,
}

/// A login in an urlencoded form or a query; `None` without a password field.
#[must_use]
pub fn in_form(body: &[u8]) -> Option<Login> {
    let mut login = Login::default();
    for field in body.split(|b| *b == b'&').take(MAX_FIELDS) {
        let mut halves = field.splitn(2, |b| *b == b'=');
        let name = decoded(halves.next().unwrap_or_default()).to_ascii_lowercase();
        let value = halves.next().unwrap_or_default();
        let is = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
        if login.username.is_none() && is(&NAMES) {
            login.username = Some(decoded(value));
        } else if login.password.is_none() && is(&PASSWORDS) {
            login.password = Some(decoded(value));
        }
    }
    login.password.is_some().then_some(login)
}

/// A login in an `Authorization` header; `None` where it is not Basic.
#[must_use]
pub fn in_authorization(value: &[u8]) -> Option<Login> {
    // Attackers' tools pad as they like.
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let mut words = value.split(|b| *b == b' ').filter(|word| !word.is_empty());
    if !words.next()?.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let plain = GeneralPurpose::new(&STANDARD, LENIENT).decode(words.next()?).ok()?;
    let mut halves = plain.splitn(2, |b| *b == b':');
    Some(Login {
        username: halves.next().map(<[u8]>::to_vec),
        password: halves.next().map(<[u8]>::to_vec),
    })
}

/// `+` and `%xx` decoded; what is no escape stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..])
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) =>
            {
                out.push(high << 4 | low);
                rest = after;
            }
            _ => out.push(*byte),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &[u8], password: &[u8]) -> Option<Login> {
        Some(Login { username: Some(username.to_vec()), password: Some(password.to_vec()) })
    }

    #[test]
    fn a_form_is_decoded_to_bytes() {
        let body = b"tok=1&username=a+b%26&Passwd=%ff%zz%e9";
        assert_eq!(in_form(body), login(b"a b&", b"\xff%zz\xe9"));
        assert_eq!(in_form(b"username=root"), None);
        assert_eq!(in_form(b""), None);
    }

    #[test]
    fn basic_authentication_is_decoded() {
        assert_eq!(in_authorization(b"Basic YWRtaW46MTI6MzQ="), login(b"admin", b"12:34"));
        assert_eq!(in_authorization(b"basic  YWRtaW46MTI6MzQ"), login(b"admin", b"12:34"));
        for other in [&b"Bearer YWRtaW46MTI6MzQ="[..], b"Basic", b"Basic !!", b""] {
            assert_eq!(in_authorization(other), None);
        }
    }
}
