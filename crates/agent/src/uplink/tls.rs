//! Whom to believe to be the hub: a pinned certificate, or one that an
//! authority has signed. There is no way to believe everyone.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

use super::http::HttpError;

/// Where systems keep the authorities they trust.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Reads a SHA-256 fingerprint: 64 hex digits, in either case, colons allowed.
///
/// # Errors
/// One sentence that says what was expected.
pub(crate) fn parse_pin(text: &str) -> Result<[u8; 32], String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let wrong = || {
        "hub.pin must be a SHA-256 fingerprint: 64 hex digits, colons allowed (the hub prints it at its start)".to_owned()
    };
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut pin = [0u8; 32];
    for (byte, pair) in pin.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(pin)
}

/// TLS settings for a connection to the outside: believes the one certificate
/// with this fingerprint, or those that the authorities in a file have signed,
/// or those of the system's authorities.
///
/// # Errors
/// One sentence that says what cannot be used.
pub fn client_tls(pin: Option<&str>, authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let pin = pin.map(parse_pin).transpose().map_err(|mistake| mistake.replace("hub.", ""))?;
    let mut config = client(pin, authorities).map_err(|error| error.to_string())?;
    config.alpn_protocols.clear();
    Ok(config)
}

/// The TLS settings for a pin, a file of authorities, or the system's.
pub(super) fn client(
    pin: Option<[u8; 32]>,
    authorities: Option<&Path>,
) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Tls(error.to_string()))?;
    let mut config = match pin {
        Some(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { pin, provider }))
            .with_no_client_auth(),
        None => builder.with_root_certificates(roots(authorities)?).with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(authorities: Option<&Path>) -> Result<RootCertStore, HttpError> {
    let system = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
    let Some(path) = authorities.or(system) else {
        return Err(HttpError::Tls(
            "no certificate authorities are installed here; set hub.pin or hub.ca_file".to_owned(),
        ));
    };
    let wrong = |reason: String| HttpError::Tls(format!("cannot use {}: {reason}", path.display()));
    let mut store = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        match (store.add(certificate), authorities) {
            // The system's list may have one that is too old to be read.
            (Ok(()), _) | (Err(_), None) => {}
            (Err(error), Some(_)) => return Err(wrong(error.to_string())),
        }
    }
    if store.is_empty() {
        return Err(wrong("it has no certificate".to_owned()));
    }
    Ok(store)
}

/// Believes the one certificate with the pinned fingerprint, whoever signed it
/// and whatever name and dates it has; the other side still has to prove that
/// it has its key.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: [u8; 32] = Sha256::digest(end_entity).into();
        if found == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(rustls::Error::General(format!(
            "the hub's certificate is not the pinned one; its fingerprint is {found}"
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_may_have_colons_and_either_case() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(parse_pin(&plain), parse_pin(&colons));
        for wrong in ["", "ab", &"zz".repeat(32), &"+1".repeat(32), &"ab".repeat(33)] {
            assert!(parse_pin(wrong).unwrap_err().contains("64 hex digits"), "{wrong}");
        }
    }
}
