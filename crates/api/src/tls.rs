//! Certificates of the TLS listeners: the operator's own, or one of our making
//! that clients pin by its fingerprint.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_event::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::config::TlsConfig;

const MS_PER_DAY: i64 = 86_400_000;
/// Days a certificate of our own making is valid; browsers refuse more than
/// 825 for any certificate that the user trusted by hand.
const VALID_DAYS: i64 = 820;
/// Renewed at a start that is so near to its end.
const RENEW_DAYS: i64 = 30;

/// A certificate with its key, ready to serve.
#[derive(Clone, Debug)]
pub struct Tls {
    server: Arc<ServerConfig>,
    fingerprint: String,
    source: CertificateSource,
}

/// Where a certificate came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Made now, as there was none or it was about to end.
    Generated(PathBuf),
    /// Made at an earlier start.
    Kept(PathBuf),
    /// The operator's.
    Operator(PathBuf),
}

/// A certificate or key cannot be used; the operator must act.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {what} {}: {reason}", path.display())]
pub struct TlsError {
    what: &'static str,
    path: PathBuf,
    reason: String,
}

impl TlsError {
    fn new(what: &'static str, path: &Path, reason: impl std::fmt::Display) -> Self {
        Self { what, path: path.to_owned(), reason: reason.to_string() }
    }
}

impl Tls {
    /// The operator's certificate where `config` names one, else the one in
    /// `<data_dir>/tls`, which is made or renewed where needed. Blocks.
    ///
    /// # Errors
    /// [`TlsError`], one sentence with the file in it.
    pub fn load(config: &TlsConfig, data_dir: &Path, now: Timestamp) -> Result<Self, TlsError> {
        if let (Some(certificate), Some(key)) = (&config.certificate, &config.key) {
            return Self::read(certificate, key, CertificateSource::Operator(certificate.clone()));
        }
        let dir = data_dir.join("tls");
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        let known = certificate.exists() && key.exists();
        if known && !ends_soon(&dir, now) {
            return Self::read(&certificate, &key, CertificateSource::Kept(certificate.clone()));
        }
        generate(&dir, &config.names, now)?;
        Self::read(&certificate, &key, CertificateSource::Generated(certificate.clone()))
    }

    fn read(certificate: &Path, key: &Path, source: CertificateSource) -> Result<Self, TlsError> {
        let bad = |reason: String| TlsError::new("the certificate", certificate, reason);
        let pem = fs::read(certificate).map_err(|error| bad(error.to_string()))?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(format!("it is no PEM file ({error})")))?;
        let leaf = chain.first().ok_or_else(|| {
            bad("it holds no certificate; expected -----BEGIN CERTIFICATE-----".into())
        })?;
        let fingerprint = hex(&Sha256::digest(leaf));

        let bad_key = |reason: String| TlsError::new("the private key", key, reason);
        let pem = fs::read(key).map_err(|error| bad_key(error.to_string()))?;
        let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
            bad_key(
                "it holds no private key; expected -----BEGIN PRIVATE KEY-----, not encrypted"
                    .into(),
            )
        })?;
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| bad_key(format!("it does not fit the certificate ({error})")))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { server: Arc::new(server), fingerprint, source })
    }

    /// SHA-256 of the leaf certificate, 64 lower-case hex digits, for pinning.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> &CertificateSource {
        &self.source
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

/// Whether the certificate of our own making ends within [`RENEW_DAYS`]. Its
/// end stands beside it in a file, so that no parser is needed; unreadable
/// means now.
fn ends_soon(dir: &Path, now: Timestamp) -> bool {
    let end = fs::read_to_string(dir.join("not_after")).ok();
    let end = end.and_then(|text| text.trim().parse::<Timestamp>().ok());
    end.is_none_or(|end| end.as_millis() - now.as_millis() < RENEW_DAYS * MS_PER_DAY)
}

fn generate(dir: &Path, more_names: &[String], now: Timestamp) -> Result<(), TlsError> {
    let failed = |reason: String| TlsError::new("the folder for our own certificate", dir, reason);
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into()];
    names.extend(host_name());
    names.extend(more_names.iter().cloned());
    names.dedup();
    let end = now.plus_millis(VALID_DAYS * MS_PER_DAY);

    let made = || -> Result<(String, String), rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, "Palisade");
        params.distinguished_name = subject;
        let (year, month, day) = calendar(now.plus_millis(-MS_PER_DAY));
        params.not_before = rcgen::date_time_ymd(year, month, day);
        let (year, month, day) = calendar(end);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    };
    let (certificate, key) = made().map_err(|error| failed(error.to_string()))?;

    let written = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        replace(&dir.join("key.pem"), &key)?;
        replace(&dir.join("cert.pem"), &certificate)?;
        replace(&dir.join("not_after"), &format!("{end}\n"))?;
        fs::File::open(dir)?.sync_all()
    };
    written().map_err(|error| failed(error.to_string()))
}

/// Writes a file that only its owner reads, completely or not at all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Year, month and day in UTC, the year as X.509 can write it.
fn calendar(at: Timestamp) -> (i32, u8, u8) {
    let date = jiff::Timestamp::from_millisecond(at.as_millis())
        .unwrap_or_default()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let small = |part: i8| u8::try_from(part).unwrap_or(1);
    (i32::from(date.year()), small(date.month()), small(date.day()))
}

/// This machine's name, where it can be a name in a certificate.
fn host_name() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = text.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    (!name.is_empty() && name.len() <= 253 && name.chars().all(plain)).then(|| name.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let config = TlsConfig::default();
        let first = Tls::load(&config, dir.path(), now()).unwrap();
        let again = Tls::load(&config, dir.path(), now()).unwrap();
        assert!(matches!(first.source(), CertificateSource::Generated(_)));
        assert!(matches!(again.source(), CertificateSource::Kept(_)));
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), 64);
        let mode = fs::metadata(dir.path().join("tls/key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_certificate_near_its_end_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let config = TlsConfig::default();
        let first = Tls::load(&config, dir.path(), now()).unwrap();
        let later = now().plus_millis((VALID_DAYS - RENEW_DAYS) * MS_PER_DAY + 1);
        let renewed = Tls::load(&config, dir.path(), later).unwrap();
        assert_ne!(first.fingerprint(), renewed.fingerprint());
    }

    #[test]
    fn a_broken_file_is_named_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        Tls::load(&TlsConfig::default(), dir.path(), now()).unwrap();
        let (certificate, key) = (dir.path().join("tls/cert.pem"), dir.path().join("tls/key.pem"));
        let load = |certificate: &Path, key: &Path| {
            let config = TlsConfig {
                certificate: Some(certificate.into()),
                key: Some(key.into()),
                names: vec![],
            };
            Tls::load(&config, dir.path(), now()).map(|tls| tls.source)
        };
        assert_eq!(
            load(&certificate, &key).unwrap(),
            CertificateSource::Operator(certificate.clone())
        );

        let error = load(&key, &key).unwrap_err().to_string();
        assert!(error.contains("key.pem: it holds no certificate"), "{error}");
        let error = load(&certificate, &certificate).unwrap_err().to_string();
        assert!(error.contains("cert.pem: it holds no private key"), "{error}");
        let error = load(&dir.path().join("none"), &key).unwrap_err().to_string();
        assert!(error.contains("none: No such file"), "{error}");

        let other = tempfile::tempdir().unwrap();
        Tls::load(&TlsConfig::default(), other.path(), now()).unwrap();
        let error = load(&certificate, &other.path().join("tls/key.pem")).unwrap_err().to_string();
        assert!(error.contains("does not fit the certificate"), "{error}");
    }
}
