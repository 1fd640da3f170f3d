//! Credentials in a request: form fields, query parameters, JSON, XML-RPC as
//! WordPress has it, Basic authentication (RFC 7617). Bytes are kept as they
//! are after decoding.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::request::Head;

/// Names that login forms of devices give their fields.
const NAMES: [&str; 16] = [
    "pma_username",
    "account",
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
const PASSWORDS: [&str; 15] = [
    "pma_password",
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
/// Most logins of one request; `system.multicall` has many.
const MAX_LOGINS: usize = 64;
/// How deep objects of JSON are looked into.
const MAX_JSON_DEPTH: usize = 3;

/// What was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The login name, where one was given.
    pub username: Option<Vec<u8>>,
    /// The password, where one was given.
    pub password: Option<Vec<u8>>,
}

/// A login in a request, and the way it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub login: Login,
    /// `http-basic`, `http-form`, `http-json` or `xml-rpc`.
    pub method: &'static str,
}

impl Attempt {
    /// The logins in a request; mostly none.
    #[must_use]
    pub fn find(head: &Head, body: &[u8]) -> Vec<Self> {
        let authorization = head.authorization.as_deref();
        if let Some(login) = authorization.and_then(in_authorization) {
            return vec![Self { login, method: "http-basic" }];
        }
        let start = body.trim_ascii_start();
        if start.starts_with(b"{") && !head.form {
            if let Some(login) = in_json(body) {
                return vec![Self { login, method: "http-json" }];
            }
        } else if start.starts_with(b"<") && !head.form {
            let logins = in_xml_rpc(body).into_iter();
            return logins.map(|login| Self { login, method: "xml-rpc" }).collect();
        }
        let query = head.target.splitn(2, |b| *b == b'?').nth(1).unwrap_or_default();
        // Clients that forget the type send a form all the same.
        let form = if head.form || !body.starts_with(b"{") { body } else { &[] };
        let login = in_form(form).or_else(|| in_form(query));
        login.map(|login| Self { login, method: "http-form" }).into_iter().collect()
    }

    /// Whether it was tried in the head.
    pub(super) fn is_basic(&self) -> bool {
        self.method == "http-basic"
    }
}

/// A login in a JSON object, or in one inside it; `None` without a password.
#[must_use]
pub fn in_json(body: &[u8]) -> Option<Login> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    in_object(&value, MAX_JSON_DEPTH)
}

fn in_object(value: &serde_json::Value, depth: usize) -> Option<Login> {
    let object = value.as_object()?;
    let mut login = Login::default();
    for (name, value) in object.iter().take(MAX_FIELDS) {
        let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        let text = match value {
            serde_json::Value::String(text) => text.clone().into_bytes(),
            serde_json::Value::Number(number) => number.to_string().into_bytes(),
            _ => continue,
        };
        if login.username.is_none() && is(&NAMES) {
            login.username = Some(text);
        } else if login.password.is_none() && is(&PASSWORDS) {
            login.password = Some(text);
        }
    }
    if login.password.is_some() {
        return Some(login);
    }
    let inner = depth.checked_sub(1)?;
    object.values().take(MAX_FIELDS).find_map(|value| in_object(value, inner))
}

/// The logins in calls of XML-RPC whose methods take a name and a password:
/// WordPress's `wp.*`, `metaWeblog.*`, `blogger.*`, `mt.*`.
#[must_use]
pub fn in_xml_rpc(body: &[u8]) -> Vec<Login> {
    let text = String::from_utf8_lossy(body);
    let mut logins = Vec::new();
    // Each call of a multicall has its own method name.
    for call in text.split("wp.get").skip(1).take(MAX_LOGINS) {
        let mut strings = call.split("<string>").skip(1).filter_map(|rest| {
            let (value, _) = rest.split_once("</string>")?;
            Some(unescaped(value).into_bytes())
        });
        let mut values = call.split("<value>").skip(1).filter_map(|rest| {
            let (value, _) = rest.split_once("</value>")?;
            (!value.contains('<')).then(|| unescaped(value).into_bytes())
        });
        let pair = strings.next().zip(strings.next()).or_else(|| values.next().zip(values.next()));
        if let Some((username, password)) = pair {
            logins.push(Login { username: Some(username), password: Some(password) });
        }
    }
    logins
}

fn unescaped(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("<![CDATA[").and_then(|t| t.strip_suffix("]]>")).unwrap_or(text);
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
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
    fn json_is_looked_into() {
        assert_eq!(in_json(br#"{"user":"a","password":"b\u0020c"}"#), login(b"a", b"b c"));
        assert_eq!(in_json(br#"{"data":{"x":[1],"login":"a","pwd":7}}"#), login(b"a", b"7"));
        for other in
            ["{}", "[]", "{\"user\":\"a\"}", "{\"a\":{\"a\":{\"a\":{\"a\":{\"pwd\":1}}}}}", "{"]
        {
            assert_eq!(in_json(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn calls_of_xml_rpc_have_their_logins() {
        let call = |user: &str, pass: &str| {
            format!(
                "wp.getUsersBlogs</x><param><value><string>{user}</string></value></param><param><value><string>{pass}</string></value></param>"
            )
        };
        let one =
            in_xml_rpc(format!("<methodCall><methodName>{}", call("admin", "a&amp;b")).as_bytes());
        assert_eq!(one, [login(b"admin", b"a&b").unwrap()]);
        let many = call("admin", "x").repeat(100);
        assert_eq!(in_xml_rpc(many.as_bytes()).len(), MAX_LOGINS);
        let bare = b"wp.getUsers</x><value>u</value><value>p</value>";
        assert_eq!(in_xml_rpc(bare), [login(b"u", b"p").unwrap()]);
        assert_eq!(in_xml_rpc(b"<methodName>demo.sayHello</methodName>"), []);
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
