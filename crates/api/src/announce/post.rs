//! One request to a webhook: signed, bounded in time, answer not read. Blocks.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_hub::Webhook;
use sha2::Sha256;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::message::Message;

/// How long a request may take in all.
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// Longest head of an answer, in bytes.
const MAX_ANSWER_HEAD_BYTES: usize = 16 * 1024;
/// Longest secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;
/// Characters of a failure that are logged.
const SHOWN_CHARS: usize = 200;
/// Longest wait that a receiver may ask for, in seconds.
const MAX_WAIT_SECS: u64 = 15 * 60;

/// It was not heard.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Why not.
    pub(super) reason: String,
    /// How long the receiver wants to be left alone.
    pub(super) wait: Option<Duration>,
}

/// Sends to one webhook.
pub(super) struct Sender {
    agent: ureq::Agent,
    url: String,
    secret: Option<Vec<u8>>,
}

impl Sender {
    /// # Errors
    /// One sentence: the secret file cannot be read.
    pub(super) fn new(hook: &Webhook) -> Result<Self, String> {
        let secret = hook.secret_file.as_deref().map(|path| read_secret(&hook.name, path));
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(LONGEST))
            .max_response_header_size(MAX_ANSWER_HEAD_BYTES)
            // Where a receiver sends us is not where the operator sent us.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .proxy(None)
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .into();
        Ok(Self { agent, url: hook.url.clone(), secret: secret.transpose()? })
    }

    /// Sends once.
    pub(super) fn send(&self, message: &Message) -> Result<(), Refusal> {
        let sent_at = message.sent_at.to_string();
        let mut request = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("X-Palisade-Id", &message.id)
            .header("X-Palisade-Attempt", message.attempt.to_string())
            .header("X-Palisade-Timestamp", &sent_at);
        if let Some(secret) = &self.secret {
            let signature = sign(secret, &sent_at, &message.body);
            request = request.header("X-Palisade-Signature", format!("sha256={signature}"));
        }
        let answer = request.send(&message.body[..]).map_err(|error| Refusal {
            reason: error.to_string().chars().take(SHOWN_CHARS).collect(),
            wait: None,
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|secs| secs.trim().parse::<u64>().ok());
        Err(Refusal {
            reason: format!("it answered {status}"),
            wait: wait.map(|secs| Duration::from_secs(secs.min(MAX_WAIT_SECS))),
        })
    }
}

/// HMAC-SHA-256 over the time, a dot and the body, in hex: a receiver refuses
/// what is old, so that nobody sends it again.
pub(crate) fn sign(secret: &[u8], sent_at: &str, body: &[u8]) -> String {
    // A key may have any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(sent_at.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_secret(hook: &str, path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |what: String| {
        format!("the secret file of the webhook '{hook}', {}, {what}", path.display())
    };
    let file =
        std::fs::File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut secret = Vec::new();
    let read = file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut secret);
    read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    while secret.last().is_some_and(u8::is_ascii_whitespace) {
        secret.pop();
    }
    match secret.len() as u64 {
        0 => Err(wrong("is empty; write a long random text into it".to_owned())),
        1..=MAX_SECRET_BYTES => Ok(secret),
        _ => Err(wrong(format!("has more than {MAX_SECRET_BYTES} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_computes() {
        // printf '5.{}' | openssl dgst -sha256 -hmac secret
        let expected = include_str!("../../../../fixtures/webhook/signature.txt").trim();
        assert_eq!(sign(b"secret", "5", b"{}"), expected);
    }
}
