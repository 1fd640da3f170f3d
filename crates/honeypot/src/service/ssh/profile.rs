//! Which server this is: the version line and the names it offers, in the
//! order of the real one. A scanner compares the two; so they are one thing
//! here. Captured from the packages of the distributions; a test reads the
//! lists back from a recorded `KEXINIT`.

use super::wire::Put as _;

/// A real server's lists. Every name in them is one that we speak.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// Its name in the configuration.
    pub(super) name: &'static str,
    /// The version line, without its end.
    pub(super) version: &'static str,
    pub(super) kex: &'static str,
    pub(super) host_keys: &'static str,
    pub(super) ciphers: &'static str,
    pub(super) macs: &'static str,
    pub(super) compression: &'static str,
    /// Signatures of clients' keys it says to take (RFC 8308).
    pub(super) signatures: &'static str,
    /// Whether it announces `publickey-hostbound@openssh.com`.
    pub(super) host_bound: bool,
}

const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,\
    aes128-gcm@openssh.com,aes256-gcm@openssh.com";
const MACS: &str = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,\
    hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,\
    umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1";
const HOST_KEYS: &str = "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519";
const SIGNATURES: &str = "ssh-ed25519,sk-ssh-ed25519@openssh.com,ecdsa-sha2-nistp256,\
    ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,sk-ecdsa-sha2-nistp256@openssh.com,\
    webauthn-sk-ecdsa-sha2-nistp256@openssh.com,ssh-dss,ssh-rsa,rsa-sha2-256,rsa-sha2-512";

/// The servers there are; the first is the default.
pub(super) const PROFILES: [Profile; 2] = [
    // openssh-server 1:9.2p1-2+deb12u10.
    Profile {
        name: "debian12",
        version: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10",
        kex: "sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,\
            curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,\
            ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,\
            diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,\
            diffie-hellman-group14-sha256,kex-strict-s-v00@openssh.com",
        host_keys: HOST_KEYS,
        ciphers: CIPHERS,
        macs: MACS,
        compression: "none,zlib@openssh.com",
        signatures: SIGNATURES,
        host_bound: true,
    },
    // openssh-server 1:8.9p1-3ubuntu0.13.
    Profile {
        name: "ubuntu2204",
        version: "SSH-2.0-OpenSSH_8.9p1 Ubuntu-3ubuntu0.13",
        kex: "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,\
            ecdh-sha2-nistp384,ecdh-sha2-nistp521,sntrup761x25519-sha512@openssh.com,\
            diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,\
            diffie-hellman-group18-sha512,diffie-hellman-group14-sha256,\
            kex-strict-s-v00@openssh.com",
        host_keys: HOST_KEYS,
        ciphers: CIPHERS,
        macs: MACS,
        compression: "none,zlib@openssh.com",
        signatures: SIGNATURES,
        host_bound: true,
    },
];

impl Profile {
    /// The ten lists of a `KEXINIT`.
    pub(super) fn lists(&self) -> [&'static str; 10] {
        let Self { kex, host_keys, ciphers, macs, compression, .. } = *self;
        [kex, host_keys, ciphers, ciphers, macs, macs, compression, compression, "", ""]
    }

    /// The profile of that name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }
}

/// What a real server of this version line offers; `None` where it is not known.
pub(crate) fn offer_of(version: &str) -> Option<super::kex::Offer> {
    // The release and the distribution; its packages differ in what follows.
    let release = |line: &str| line.rsplit_once('-').map(|(release, _)| release.to_owned());
    let wanted = release(version)?;
    let profile = PROFILES.iter().find(|p| release(p.version).as_deref() == Some(&wanted))?;
    let mut message = vec![0; 17];
    for list in profile.lists() {
        message.put_string(list.as_bytes());
    }
    message.extend_from_slice(&[0; 5]);
    super::kex::Offer::parse(&message)
}

/// The names of all profiles, for messages.
pub(crate) fn names() -> String {
    PROFILES.iter().map(|profile| profile.name).collect::<Vec<_>>().join(", ")
}

/// Whether there is a profile of that name.
pub(crate) fn exists(name: &str) -> bool {
    Profile::named(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::{cipher, kex, mac};
    use super::*;

    #[test]
    fn every_name_that_is_offered_is_spoken() {
        for profile in &PROFILES {
            for name in profile.kex.split(',').filter(|name| !name.starts_with("kex-strict")) {
                assert!(kex::Method::named(name).is_some(), "{name}");
            }
            for name in profile.ciphers.split(',') {
                assert!(cipher::Algorithm::named(name).is_some(), "{name}");
            }
            for name in profile.macs.split(',') {
                assert!(mac::Algorithm::named(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn the_lists_are_those_of_the_real_server() {
        let recorded = include_bytes!("fixtures/debian12.kexinit");
        let offer = kex::Offer::parse(recorded).unwrap();
        let profile = Profile::named("debian12").unwrap();
        assert_eq!(offer_of(profile.version), Some(offer.clone()));
        // Measured of the package.
        assert_eq!(offer.hassh_server(), "425d29fe50d8e4f5e37efb6e24bcf660");
        for (index, list) in profile.lists().iter().enumerate() {
            assert_eq!(offer.list(index), list.as_bytes(), "list {index}");
        }
    }
}
