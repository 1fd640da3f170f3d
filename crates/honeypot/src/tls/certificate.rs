//! The certificate of a service: the operator's files, or one that the made-up
//! machine has made for itself, as packages and devices do at their first
//! start. It is made once and kept.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, PKCS_RSA_SHA256, SanType,
};
use rsa::pkcs8::EncodePrivateKey as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Bits of the key, as Debian's package ssl-cert makes it.
const KEY_BITS: usize = 2_048;
/// Longest file of a certificate or key.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Years that it is valid.
const YEARS: i32 = 10;

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// What a made certificate says.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The name of its files.
    pub(crate) file: &'static str,
    /// Whom it names.
    pub(crate) common_name: String,
    /// The maker, on devices.
    pub(crate) organisation: Option<String>,
    /// Seconds since 1970 of the day it is made.
    pub(crate) since: i64,
}

impl Certificate {
    /// Reads the operator's files.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, String> {
        let wrong = |path: &Path, why: String| format!("{}: {why}", path.display());
        for path in [certificate, key] {
            let about = std::fs::metadata(path).map_err(|error| wrong(path, error.to_string()))?;
            if about.len() > MAX_FILE_BYTES {
                return Err(wrong(path, format!("more than {MAX_FILE_BYTES} bytes")));
            }
        }
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(certificate, "no certificate in it".to_owned()));
        }
        let key =
            PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
        Ok(Self { chain, key })
    }

    /// A certificate and its key as the text of their files.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn of_text(certificate: &str, key: &str) -> Result<Self, String> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| format!("the {what}: {error}");
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong("certificate", &error))?;
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| wrong("key", &error))?;
        Ok(Self { chain, key })
    }

    /// The same once more.
    pub(crate) fn copy(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }

    /// The certificate kept in `folder`, made there where there is none yet;
    /// without a folder it lasts as long as the process. Making one takes a
    /// second.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn load_or_make(folder: Option<&Path>, made: &Made) -> Result<Self, String> {
        let Some(folder) = folder else { return make(made).map(|(certificate, _, _)| certificate) };
        let (pem, key) =
            (folder.join(format!("{}.pem", made.file)), folder.join(format!("{}.key", made.file)));
        if pem.exists() && key.exists() {
            return Self::read(&pem, &key);
        }
        let (certificate, pem_text, key_text) = make(made)?;
        let cannot = |error| format!("cannot keep a certificate in {}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(cannot)?;
        keep(&key, &key_text).map_err(cannot)?;
        keep(&pem, &pem_text).map_err(cannot)?;
        Ok(certificate)
    }
}

fn make(made: &Made) -> Result<(Certificate, String, String), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("cannot make a certificate: {error}");
    let key = rsa::PrivateKey::new(&mut rand::rng(), KEY_BITS).map_err(|error| wrong(&error))?;
    let der = key.to_pkcs8_der().map_err(|error| wrong(&error))?;
    let der = PrivatePkcs8KeyDer::from(der.as_bytes().to_vec());
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256);
    let pair = pair.map_err(|error| wrong(&error))?;
    let mut name = DistinguishedName::new();
    if let Some(organisation) = &made.organisation {
        name.push(DnType::OrganizationName, organisation.as_str());
    }
    name.push(DnType::CommonName, made.common_name.as_str());
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::ExplicitNoCa;
    if made.organisation.is_none() {
        let dns =
            made.common_name.clone().try_into().map_err(|error: rcgen::Error| wrong(&error))?;
        params.subject_alt_names = vec![SanType::DnsName(dns)];
    }
    let day = jiff::Timestamp::from_second(made.since).map_err(|error| wrong(&error))?;
    let day = day.to_zoned(jiff::tz::TimeZone::UTC).date();
    let month = u8::try_from(day.month()).unwrap_or(1);
    // The 29th of February is not in every year.
    let of_month = u8::try_from(day.day()).unwrap_or(1).min(28);
    params.not_before = rcgen::date_time_ymd(day.year().into(), month, of_month);
    params.not_after = rcgen::date_time_ymd(i32::from(day.year()) + YEARS, month, of_month);
    let certificate = params.self_signed(&pair).map_err(|error| wrong(&error))?;
    let (pem, key_pem) = (certificate.pem(), pair.serialize_pem());
    let chain = vec![certificate.der().clone()];
    Ok((Certificate { chain, key: PrivateKeyDer::Pkcs8(der) }, pem, key_pem))
}

/// Whole or not at all, also when the power goes; for nobody else to read.
fn keep(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let made = Made {
            file: "server",
            common_name: "web1".to_owned(),
            organisation: None,
            since: 1_700_000_000,
        };
        let first = Certificate::load_or_make(Some(folder.path()), &made).unwrap();
        let again = Certificate::load_or_make(Some(folder.path()), &made).unwrap();
        assert_eq!(first.chain, again.chain);
        assert!(super::super::Tls::new(again, b"http/1.1").is_ok());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(folder.path().join("server.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join("server.pem"), "x").unwrap();
        let error = Certificate::load_or_make(Some(folder.path()), &made).unwrap_err();
        assert!(error.contains("server.pem: no certificate in it"), "{error}");
    }
}
