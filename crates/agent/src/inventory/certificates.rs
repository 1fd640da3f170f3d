//! Certificates of services, and when they end.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use super::der::Certificate;
use super::root::{Root, Unseen};
use super::section::Section;

/// Most certificates.
const MAX_CERTIFICATES: usize = 1_000;
/// Largest file that is looked into, in bytes; lists of authorities are larger.
const MAX_BYTES: u64 = 128 * 1024;

/// Where services keep theirs.
const PLACES: [&str; 16] = [
    "/etc/letsencrypt/live/*/cert.pem",
    "/etc/letsencrypt/live/*/fullchain.pem",
    "/etc/ssl/*.pem",
    "/etc/ssl/*.crt",
    "/etc/ssl/private/*.pem",
    "/etc/pki/tls/certs/*.crt",
    "/etc/nginx/*.crt",
    "/etc/nginx/ssl/*",
    "/etc/nginx/certs/*",
    "/etc/apache2/ssl/*",
    "/etc/haproxy/certs/*.pem",
    "/etc/postfix/*.pem",
    "/etc/dovecot/private/*.pem",
    "/etc/kubernetes/pki/*.crt",
    "/var/lib/caddy/.local/share/caddy/certificates/*/*/*.crt",
    "/var/lib/palisade/tls/*.pem",
];

/// The section `certificates`: those of the usual places, and of `more` patterns.
pub(crate) fn collect(root: &Root, more: &[String]) -> Section {
    let mut section = Section::default();
    let places = PLACES.iter().map(|place| (*place).to_owned()).chain(more.iter().cloned());
    for place in places {
        let (paths, hidden) = root.glob(&place);
        if let Some(reason) = hidden {
            section.could_not(&place, &reason);
        }
        for path in paths {
            match root.meta(&path) {
                Ok(meta) if meta.is_file() && meta.size <= MAX_BYTES => {}
                _ => continue,
            }
            match root.read_bytes(&path) {
                Ok(bytes) => add(&mut section, &path, &bytes),
                Err(Unseen::Missing) => {}
                Err(reason) => section.could_not(&path, &reason),
            }
        }
    }
    section
}

/// Adds the first certificate of a file: its own, where a chain follows.
fn add(section: &mut Section, path: &str, bytes: &[u8]) {
    // Keys and parameters stand in such folders too.
    let Ok(der) = CertificateDer::from_pem_slice(bytes) else { return };
    let Some(certificate) = Certificate::read(&der) else { return };
    let value = json!({
        "file": path,
        "self_signed": certificate.subject == certificate.issuer,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "names": certificate.names,
    });
    section.add_up_to(MAX_CERTIFICATES, path, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_whose_it_is_and_when_it_ends() {
        let made =
            rcgen::generate_simple_self_signed(vec!["web.example".into(), "192.0.2.7".into()])
                .unwrap();
        let mut section = Section::default();
        add(&mut section, "/a.pem", made.cert.pem().as_bytes());
        let value = &section.entries[0].value;
        assert_eq!(value["names"], json!(["web.example", "192.0.2.7"]));
        assert!(value["not_after"].as_i64() > value["not_before"].as_i64());
        assert_eq!(value["self_signed"], json!(true));
        add(&mut section, "/b.pem", made.signing_key.serialize_pem().as_bytes());
        add(
            &mut section,
            "/c.pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        assert_eq!(section.entries.len(), 1);
    }
}
