//! The login protocol of a server (RFC 4252, RFC 4256), without a socket: what
//! a client tries, and the answers. Not who is let in; the policy decides.

use base64::Engine as _;
use ring::signature::{self, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::message::*;
use super::transport::{End, Transport};
use super::wire::{Put as _, Reader};

/// Longest login name and password that are kept; OpenSSH cuts passwords at
/// 1,024 too.
const MAX_TEXT_BYTES: usize = 4_096;

/// What a client tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The login name; any bytes.
    pub user: Vec<u8>,
    /// How.
    pub proof: Proof,
}

/// How a client shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A password; any bytes.
    Password(Vec<u8>),
    /// A password as the answer to a question.
    Interactive(Vec<u8>),
    /// A public key.
    Key(Key),
}

/// A public key that a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// `ssh-ed25519`, …, as the key itself says.
    pub kind: String,
    /// `SHA256:…`, as OpenSSH shows it.
    pub fingerprint: String,
    /// Whether the client signed and so owns the key; `None` where it only asked
    /// whether it may.
    pub signed: Option<bool>,
    // What the answer to a question repeats.
    answer: Vec<u8>,
}

/// The state of a login.
#[derive(Debug, Default)]
pub(super) struct Login {
    service: bool,
    user: Option<Box<[u8]>>,
    attempts: u32,
    failures: u32,
    // A question was asked and its answer is awaited.
    asked: bool,
}

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offered {
    /// Whether questions are asked.
    pub(super) interactive: bool,
    /// Failures before the connection is cut, as `MaxAuthTries`.
    pub(super) attempts: u32,
}

impl Offered {
    fn methods(self) -> &'static [u8] {
        if self.interactive {
            b"publickey,password,keyboard-interactive"
        } else {
            b"publickey,password"
        }
    }
}

impl Login {
    /// Takes a message before the login is done; what is tried with it.
    pub(super) fn take(
        &mut self,
        message: &[u8],
        transport: &mut Transport,
        offered: Offered,
    ) -> Result<Option<Attempt>, End> {
        let incomplete = || End::Fault("incomplete message".to_owned());
        let (kind, body) = message.split_first().ok_or_else(incomplete)?;
        let mut reader = Reader::new(body);
        match *kind {
            SERVICE_REQUEST => {
                let name = reader.string().ok_or_else(incomplete)?;
                if name != b"ssh-userauth" || self.service {
                    let text = format!("bad service request {}", name.escape_ascii());
                    return Err(transport.disconnect(&text));
                }
                self.service = true;
                let mut accept = vec![SERVICE_ACCEPT];
                accept.put_string(name);
                transport.send(&accept);
                Ok(None)
            }
            EXT_INFO => Ok(None),
            USERAUTH_REQUEST if self.service => self.request(&mut reader, transport, offered),
            USERAUTH_INFO_RESPONSE if self.asked => {
                self.asked = false;
                let count = reader.u32().ok_or_else(incomplete)?;
                let answer = if count == 0 { Some(&[][..]) } else { reader.string() };
                let answer = answer.ok_or_else(incomplete)?;
                Ok(self.attempt(Proof::Interactive(cut(answer))))
            }
            _ => {
                transport.unimplemented();
                Ok(None)
            }
        }
    }

    fn attempt(&self, proof: Proof) -> Option<Attempt> {
        let user = self.user.as_deref().unwrap_or_default().to_vec();
        Some(Attempt { user, proof })
    }

    fn request(
        &mut self,
        reader: &mut Reader<'_>,
        transport: &mut Transport,
        offered: Offered,
    ) -> Result<Option<Attempt>, End> {
        let incomplete = || End::Fault("incomplete message".to_owned());
        let whole = *reader;
        let user = cut(reader.string().ok_or_else(incomplete)?);
        let service = reader.string().ok_or_else(incomplete)?;
        let method = reader.string().ok_or_else(incomplete)?;
        self.asked = false;
        match &self.user {
            None => self.user = Some(user.as_slice().into()),
            Some(known) if **known == *user && service == b"ssh-connection" => {}
            Some(known) => {
                let text = format!(
                    "Change of username or service not allowed: ({},ssh-connection) -> ({},{})",
                    known.escape_ascii(),
                    user.escape_ascii(),
                    service.escape_ascii()
                );
                return Err(transport.disconnect(&text));
            }
        }
        self.attempts += 1;
        match method {
            b"password" => {
                reader.bool().ok_or_else(incomplete)?;
                let password = cut(reader.string().ok_or_else(incomplete)?);
                return Ok(self.attempt(Proof::Password(password)));
            }
            b"publickey" | b"publickey-hostbound-v00@openssh.com" => {
                let bound = method != b"publickey";
                let key = key(reader, whole, bound, transport.session_id());
                let key = key.ok_or_else(incomplete)?;
                return Ok(self.attempt(Proof::Key(key)));
            }
            b"keyboard-interactive" if offered.interactive => {
                let mut question = vec![USERAUTH_60];
                for text in [&b""[..], b"", b""] {
                    question.put_string(text);
                }
                question.put_u32(1);
                question.put_string(b"Password: ");
                question.put_u8(0);
                transport.send(&question);
                self.asked = true;
                return Ok(None);
            }
            // The first `none` only asks for the methods.
            b"none" if self.attempts == 1 => self.failures(transport, offered),
            _ => self.refuse(transport, offered)?,
        }
        Ok(None)
    }

    /// Lets the client in.
    pub(super) fn accept(&self, transport: &mut Transport) {
        transport.send(&[USERAUTH_SUCCESS]);
        transport.logged_in();
        transport.tell_host_keys();
    }

    /// Tells a client that asked that it may use a key.
    pub(super) fn allow_key(&self, key: &Key, transport: &mut Transport) {
        let mut message = vec![USERAUTH_60];
        message.extend_from_slice(&key.answer);
        transport.send(&message);
    }

    /// Refuses, and cuts the client off where it has tried enough.
    pub(super) fn refuse(
        &mut self,
        transport: &mut Transport,
        offered: Offered,
    ) -> Result<(), End> {
        self.failures += 1;
        if self.failures >= offered.attempts {
            return Err(transport.disconnect("Too many authentication failures"));
        }
        self.failures(transport, offered);
        Ok(())
    }

    fn failures(&self, transport: &mut Transport, offered: Offered) {
        let mut message = vec![USERAUTH_FAILURE];
        message.put_string(offered.methods());
        message.put_u8(0);
        transport.send(&message);
    }
}

fn cut(text: &[u8]) -> Vec<u8> {
    text.get(..MAX_TEXT_BYTES).unwrap_or(text).to_vec()
}

/// Reads a public key and checks its signature where there is one.
fn key(reader: &mut Reader<'_>, whole: Reader<'_>, bound: bool, session: &[u8]) -> Option<Key> {
    let signs = reader.bool()?;
    let algorithm = reader.string()?;
    let blob = reader.string()?;
    if bound {
        reader.string()?;
    }
    let mut parts = Reader::new(blob);
    let kind = parts.string().unwrap_or_default();
    let signed = if signs {
        let before = whole.rest().len() - reader.rest().len();
        let signature = reader.string()?;
        let mut data = Vec::new();
        data.put_string(session);
        data.put_u8(USERAUTH_REQUEST);
        data.extend_from_slice(whole.rest().get(..before)?);
        Some(is_signed(kind, parts, &data, signature))
    } else {
        None
    };
    let mut answer = Vec::new();
    answer.put_string(algorithm);
    answer.put_string(blob);
    let digest = Sha256::digest(blob);
    let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest);
    let kind = kind.get(..64).unwrap_or(kind).escape_ascii().to_string();
    Some(Key { kind, fingerprint: format!("SHA256:{text}"), signed, answer })
}

/// Whether the owner of a key signed `data`. Kinds that nobody's robot has
/// (DSA, P-521, security keys) are never right.
fn is_signed(kind: &[u8], key: Reader<'_>, data: &[u8], signature: &[u8]) -> bool {
    verify(kind, key, data, signature).unwrap_or(false)
}

fn verify(kind: &[u8], mut key: Reader<'_>, data: &[u8], signed: &[u8]) -> Option<bool> {
    let mut parts = Reader::new(signed);
    let algorithm = parts.string()?;
    let raw = parts.string()?;
    Some(match (kind, algorithm) {
        (b"ssh-ed25519", b"ssh-ed25519") => {
            UnparsedPublicKey::new(&signature::ED25519, key.string()?).verify(data, raw).is_ok()
        }
        (b"ssh-rsa", b"rsa-sha2-256" | b"rsa-sha2-512" | b"ssh-rsa") => {
            let (e, n) = (unsigned(key.string()?), unsigned(key.string()?));
            let parameters = match algorithm {
                b"rsa-sha2-256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                b"rsa-sha2-512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                _ => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            };
            signature::RsaPublicKeyComponents { n, e }.verify(parameters, data, raw).is_ok()
        }
        (b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256") => {
            key.string()?;
            let kind = &signature::ECDSA_P256_SHA256_FIXED;
            UnparsedPublicKey::new(kind, key.string()?).verify(data, &fixed(raw, 32)?).is_ok()
        }
        (b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp384") => {
            key.string()?;
            let kind = &signature::ECDSA_P384_SHA384_FIXED;
            UnparsedPublicKey::new(kind, key.string()?).verify(data, &fixed(raw, 48)?).is_ok()
        }
        _ => false,
    })
}

/// Without the zeros in front that an `mpint` may have.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The two numbers of an ECDSA signature, each filled up to `bytes`.
fn fixed(signature: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let mut reader = Reader::new(signature);
    let mut out = Vec::with_capacity(bytes * 2);
    for _ in 0..2 {
        let number = unsigned(reader.string()?);
        out.resize(out.len() + bytes.checked_sub(number.len())?, 0);
        out.extend_from_slice(number);
    }
    Some(out)
}
