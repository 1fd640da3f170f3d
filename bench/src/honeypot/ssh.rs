//! As much of an SSH client as a failed login takes (RFC 4253, 4252, 8731,
//! 5647): curve25519-sha256, aes128-gcm@openssh.com, a password. It looks at no
//! host key: nobody is to be kept from it, and each microsecond here is one that
//! the honeypot does not get.

use anyhow::{Context as _, bail, ensure};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const VERSION: &[u8] = b"SSH-2.0-OpenSSH_9.6";
const KEX: &[u8] = b"curve25519-sha256,curve25519-sha256@libssh.org";
const HOST_KEYS: &[u8] = b"ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256,ssh-rsa";
const CIPHER: &[u8] = b"aes128-gcm@openssh.com";
const MAC: &[u8] = b"hmac-sha2-256";
/// Longest packet that is taken.
const MAX_PACKET: usize = 64 * 1024;
const TAG: usize = 16;

/// One direction of a connection.
struct Gcm {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Gcm {
    fn next(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        for byte in self.nonce.iter_mut().skip(4).rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        nonce
    }
}

/// A connection.
pub(super) struct Ssh {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
    keys: Option<(Gcm, Gcm)>,
}

impl Ssh {
    /// Exchanges versions and keys.
    pub(super) async fn connect(stream: TcpStream) -> anyhow::Result<Self> {
        let mut ssh = Self { stream, buffer: Vec::new(), keys: None };
        let mut hello = VERSION.to_vec();
        hello.extend_from_slice(b"\r\n");
        let ours = kexinit();
        hello.extend(plain(&ours));
        ssh.stream.write_all(&hello).await?;
        let server = ssh.line().await?;
        let theirs = ssh.packet().await?;
        ensure!(theirs.first() == Some(&20), "no KEXINIT");
        let random = SystemRandom::new();
        let failed = |_| anyhow::anyhow!("x25519");
        let secret = EphemeralPrivateKey::generate(&X25519, &random).map_err(failed)?;
        let public = secret.compute_public_key().map_err(failed)?;
        let mut init = vec![30];
        string(&mut init, public.as_ref());
        ssh.send(&init).await?;
        let reply = ssh.packet().await?;
        ensure!(reply.first() == Some(&31), "no answer to the key exchange");
        let mut rest = reply.get(1..).unwrap_or_default();
        let host_key = take(&mut rest)?;
        let their_public = take(&mut rest)?;
        let peer = UnparsedPublicKey::new(&X25519, their_public);
        let shared = agree_ephemeral(secret, &peer, mpint).map_err(failed)?;
        let mut text = Vec::new();
        for part in [VERSION, &server, &ours, &theirs, host_key, public.as_ref(), their_public] {
            string(&mut text, part);
        }
        text.extend_from_slice(&shared);
        let hash = digest(&SHA256, &text);
        let derive = |letter: u8| {
            let mut text = shared.clone();
            text.extend_from_slice(hash.as_ref());
            text.push(letter);
            text.extend_from_slice(hash.as_ref());
            digest(&SHA256, &text)
        };
        let direction = |iv: u8, key: u8| -> anyhow::Result<Gcm> {
            let (iv, key) = (derive(iv), derive(key));
            let key = key.as_ref().get(..16).context("short key")?;
            let key = UnboundKey::new(&AES_128_GCM, key).map_err(failed)?;
            let nonce = iv.as_ref().get(..12).context("short iv")?.try_into()?;
            Ok(Gcm { key: LessSafeKey::new(key), nonce })
        };
        ssh.send(&[21]).await?;
        ensure!(ssh.packet().await?.first() == Some(&21), "no NEWKEYS");
        ssh.keys = Some((direction(b'A', b'C')?, direction(b'B', b'D')?));
        let mut request = vec![5];
        string(&mut request, b"ssh-userauth");
        ssh.send(&request).await?;
        let accepted = ssh.packet().await?;
        ensure!(accepted.first() == Some(&6), "no service");
        Ok(ssh)
    }

    /// Tries a password; whether it was let in.
    pub(super) async fn login(&mut self, user: &str, password: &str) -> anyhow::Result<bool> {
        let mut request = vec![50];
        string(&mut request, user.as_bytes());
        string(&mut request, b"ssh-connection");
        string(&mut request, b"password");
        request.push(0);
        string(&mut request, password.as_bytes());
        self.send(&request).await?;
        loop {
            match self.packet().await?.first() {
                Some(51) => return Ok(false),
                Some(52) => return Ok(true),
                // A banner, or what the server can do besides.
                Some(53 | 7) => {}
                other => bail!("message {other:?} instead of an answer to a password"),
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = line.trim_ascii_end().to_vec();
                if line.starts_with(b"SSH-") {
                    return Ok(line);
                }
                continue;
            }
            ensure!(self.buffer.len() < 1024, "no version");
            self.more().await?;
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server hung up");
        Ok(())
    }

    async fn send(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let bytes = match &mut self.keys {
            None => plain(payload),
            Some((out, _)) => {
                let body = padded(payload, 0);
                let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
                let length = bytes.clone();
                bytes.extend_from_slice(&body);
                let nonce = out.next();
                let sealed = bytes.get_mut(4..).unwrap_or_default();
                let tag = out.key.seal_in_place_separate_tag(nonce, Aad::from(&length), sealed);
                bytes.extend_from_slice(tag.map_err(|_| anyhow::anyhow!("seal"))?.as_ref());
                bytes
            }
        };
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The payload of the next packet.
    async fn packet(&mut self) -> anyhow::Result<Vec<u8>> {
        let tag = if self.keys.is_some() { TAG } else { 0 };
        loop {
            if let Some((length, _)) = self.buffer.split_first_chunk::<4>() {
                let body = u32::from_be_bytes(*length) as usize;
                ensure!((2..MAX_PACKET).contains(&body), "a packet of {body} bytes");
                if self.buffer.len() >= 4 + body + tag {
                    break;
                }
            }
            self.more().await?;
        }
        let length: [u8; 4] = self.buffer.get(..4).context("short")?.try_into()?;
        let body = u32::from_be_bytes(length) as usize;
        let mut packet: Vec<u8> = self.buffer.drain(..4 + body + tag).skip(4).collect();
        if let Some((_, into)) = &mut self.keys {
            let nonce = into.next();
            let opened = into.key.open_in_place(nonce, Aad::from(length), &mut packet);
            opened.map_err(|_| anyhow::anyhow!("a packet with a wrong tag"))?;
            packet.truncate(body);
        }
        let padding = usize::from(*packet.first().context("an empty packet")?);
        let end = packet.len().checked_sub(padding).context("more padding than packet")?;
        Ok(packet.get(1..end).context("more padding than packet")?.to_vec())
    }
}

fn kexinit() -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend_from_slice(&[7; 16]);
    let lists: [&[u8]; 10] = [KEX, HOST_KEYS, CIPHER, CIPHER, MAC, MAC, b"none", b"none", b"", b""];
    lists.iter().for_each(|list| string(&mut payload, list));
    payload.extend_from_slice(&[0; 5]);
    payload
}

/// Padding length, payload and padding; `counted` are bytes before them that
/// the block size counts too.
fn padded(payload: &[u8], counted: usize) -> Vec<u8> {
    let mut padding = 16 - (counted + 1 + payload.len()) % 16;
    if padding < 4 {
        padding += 16;
    }
    let mut bytes = vec![padding as u8];
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

/// A packet before there are keys.
fn plain(payload: &[u8]) -> Vec<u8> {
    let body = padded(payload, 4);
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text);
}

fn take<'a>(text: &mut &'a [u8]) -> anyhow::Result<&'a [u8]> {
    let (length, rest) = text.split_first_chunk::<4>().context("short")?;
    let length = u32::from_be_bytes(*length) as usize;
    let (string, rest) = rest.split_at_checked(length).context("short")?;
    *text = rest;
    Ok(string)
}

/// A shared secret as a number (RFC 4251, section 5).
fn mpint(secret: &[u8]) -> Vec<u8> {
    let start = secret.iter().position(|byte| *byte != 0).unwrap_or(secret.len());
    let digits = secret.get(start..).unwrap_or_default();
    let mut number = Vec::new();
    if digits.first().is_some_and(|first| first & 0x80 != 0) {
        number.push(0);
    }
    number.extend_from_slice(digits);
    let mut out = Vec::new();
    string(&mut out, &number);
    out
}
