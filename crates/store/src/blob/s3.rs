//! Bytes in a bucket that speaks S3: one object a payload. An answer of 200
//! means that the bucket has it on its disks.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use palisade_event::PayloadHash;
use rusty_s3::actions::S3Action as _;
use rusty_s3::{Credentials, UrlStyle};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::S3Config;

/// How long a signed address is good; the request follows at once.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// How long one request may take in all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest object that is read back, in bytes.
const MAX_OBJECT_BYTES: u64 = 64 * 1024 * 1024;
/// What of an error's text is read, in bytes.
const MAX_ERROR_BYTES: u64 = 4096;

/// A bucket.
pub struct Bucket {
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({})", self.bucket.name())
    }
}

impl Bucket {
    pub(super) fn open(config: &S3Config) -> Result<Self, String> {
        let endpoint = config.endpoint.parse().map_err(|_| {
            format!("s3.endpoint: '{}' is no address", config.endpoint.escape_debug())
        })?;
        let region = config.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
        let bucket = rusty_s3::Bucket::new(endpoint, UrlStyle::Path, config.bucket.clone(), region)
            .map_err(|error| format!("s3.bucket cannot be used: {error}"))?;
        let secret = std::fs::read_to_string(&config.secret_key_file).map_err(|error| {
            format!("s3.secret_key_file {}: {error}", config.secret_key_file.display())
        })?;
        let credentials = Credentials::new(config.access_key.clone(), secret.trim().to_owned());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .tls_config(tls)
            .build()
            .into();
        Ok(Self { bucket, credentials, prefix: config.prefix.clone(), agent })
    }

    fn name(&self, name: PayloadHash) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn put(&self, name: PayloadHash, bytes: &[u8]) -> io::Result<()> {
        let name = self.name(name);
        let url = self.bucket.put_object(Some(&self.credentials), &name).sign(SIGNED_FOR);
        let answer = self.agent.put(url.as_str()).send(bytes).map_err(io::Error::other)?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer)) }
    }

    pub(super) fn get(&self, name: PayloadHash) -> io::Result<Option<Vec<u8>>> {
        let name = self.name(name);
        let url = self.bucket.get_object(Some(&self.credentials), &name).sign(SIGNED_FOR);
        let answer = self.agent.get(url.as_str()).call().map_err(io::Error::other)?;
        if answer.status() == 404 {
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(refused(answer));
        }
        let mut bytes = Vec::new();
        answer.into_body().into_reader().take(MAX_OBJECT_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    pub(super) fn remove(&self, name: PayloadHash) -> io::Result<()> {
        let name = self.name(name);
        let url = self.bucket.delete_object(Some(&self.credentials), &name).sign(SIGNED_FOR);
        let answer = self.agent.delete(url.as_str()).call().map_err(io::Error::other)?;
        let gone = answer.status().is_success() || answer.status() == 404;
        if gone { Ok(()) } else { Err(refused(answer)) }
    }
}

/// What the bucket says of an error.
fn refused(answer: ureq::http::Response<ureq::Body>) -> io::Error {
    let status = answer.status();
    let mut text = Vec::new();
    let _ = answer.into_body().into_reader().take(MAX_ERROR_BYTES).read_to_end(&mut text);
    let text: String = String::from_utf8_lossy(&text).chars().take(300).collect();
    io::Error::other(format!("the bucket answers {status}: {}", text.escape_debug()))
}
