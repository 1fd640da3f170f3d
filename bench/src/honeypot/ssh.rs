//! As much of an SSH client as a failed login takes (RFC 4253, 4252, 8731):
//! curve25519-sha256, a cipher, a password. It looks at no
//! host key: nobody is to be kept from it, and each microsecond here is one that
//! the honeypot does not get.

use anyhow::{Context as _, bail, ensure};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::cipher::{Algorithm, Cipher};
use super::tries::{STEP, step};

const VERSION: &[u8] = b"SSH-2.0-OpenSSH_9.6";
/// Without its old name, curve25519-sha256@libssh.org: OpenCanary takes a client that
/// says `libssh` together with its version for another one, and hangs up.
const KEX: &[u8] = b"curve25519-sha256";
const HOST_KEYS: &[u8] = b"ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256,ssh-rsa";
const GCM: &[u8] = b"aes128-gcm@openssh.com";
const CIPHERS: &[u8] = b"aes128-gcm@openssh.com,aes128-ctr";
const MAC: &[u8] = b"hmac-sha2-256";

/// A connection.
pub(super) struct Ssh {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
    out: Cipher,
    into: Cipher,
    /// Packets of each direction, from the first on.
    sent: u32,
    came: u32,
}

impl Ssh {
    /// Exchanges versions and keys.
    pub(super) async fn connect(stream: TcpStream) -> anyhow::Result<Self> {
        let (out, into) = (Cipher::Plain, Cipher::Plain);
        let mut ssh = Self { stream, buffer: Vec::new(), out, into, sent: 0, came: 0 };
        let mut hello = VERSION.to_vec();
        hello.extend_from_slice(b"\r\n");
        let ours = kexinit();
        hello.extend(ssh.out.seal(&ours, ssh.sent)?);
        ssh.sent += 1;
        ssh.stream.write_all(&hello).await?;
        let server = step("its version", STEP, ssh.line()).await?;
        let theirs = step("its algorithms", STEP, ssh.packet()).await?;
        ensure!(theirs.first() == Some(&20), "no KEXINIT");
        let random = SystemRandom::new();
        let failed = |_| anyhow::anyhow!("x25519");
        let secret = EphemeralPrivateKey::generate(&X25519, &random).map_err(failed)?;
        let public = secret.compute_public_key().map_err(failed)?;
        let mut init = vec![30];
        string(&mut init, public.as_ref());
        ssh.send(&init).await?;
        let reply = step("its keys", STEP, ssh.packet()).await?;
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
        // The first of ours that the server has, too.
        let both = theirs.windows(GCM.len()).any(|part| part == GCM);
        let algorithm = if both { Algorithm::Gcm } else { Algorithm::Ctr };
        let direction = |[iv, key, mac]: [u8; 3]| {
            let (iv, key, mac) = (derive(iv), derive(key), derive(mac));
            Cipher::new(algorithm, iv.as_ref(), key.as_ref(), mac.as_ref())
        };
        // The last packet of the exchange and the first after it go in one write.
        let mut last = ssh.out.seal(&[21], ssh.sent)?;
        ssh.sent += 1;
        ssh.out = direction(*b"ACE")?;
        let mut request = vec![5];
        string(&mut request, b"ssh-userauth");
        last.extend(ssh.out.seal(&request, ssh.sent)?);
        ssh.sent += 1;
        ssh.stream.write_all(&last).await?;
        let news = step("new keys", STEP, ssh.packet()).await?;
        ensure!(news.first() == Some(&21), "no NEWKEYS");
        ssh.into = direction(*b"BDF")?;
        step("the service of logins", STEP, ssh.accepted()).await?;
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
        step("an answer to the password", STEP, async {
            match self.answer().await? {
                51 => Ok(false),
                52 => Ok(true),
                other => bail!("message {other} instead"),
            }
        })
        .await
    }

    /// Waits until logins may begin.
    async fn accepted(&mut self) -> anyhow::Result<()> {
        let answer = self.answer().await?;
        ensure!(answer == 6, "message {answer} instead");
        Ok(())
    }

    /// The number of the next message that is no banner, nor tells what the server
    /// can do besides, nor is to be ignored.
    async fn answer(&mut self) -> anyhow::Result<u8> {
        loop {
            match self.packet().await?.first() {
                Some(2 | 4 | 7 | 53) => {}
                Some(number) => return Ok(*number),
                None => bail!("an empty message"),
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
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "it hung up");
        Ok(())
    }

    async fn send(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let bytes = self.out.seal(payload, self.sent)?;
        self.sent += 1;
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The payload of the next packet.
    async fn packet(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(payload) = self.into.open(&mut self.buffer, self.came)? {
                self.came += 1;
                return Ok(payload);
            }
            self.more().await?;
        }
    }
}

fn kexinit() -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend_from_slice(&[7; 16]);
    let lists: [&[u8]; 10] =
        [KEX, HOST_KEYS, CIPHERS, CIPHERS, MAC, MAC, b"none", b"none", b"", b""];
    lists.iter().for_each(|list| string(&mut payload, list));
    payload.extend_from_slice(&[0; 5]);
    payload
}

/// Padding length, payload and padding; `counted` are bytes before them that
/// the block size counts too.
pub(super) fn padded(payload: &[u8], counted: usize) -> Vec<u8> {
    let mut padding = 16 - (counted + 1 + payload.len()) % 16;
    if padding < 4 {
        padding += 16;
    }
    let mut bytes = vec![padding as u8];
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len() + padding, 0);
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
