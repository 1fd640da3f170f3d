//! The server's own keys: made once per installation and kept in a folder, so
//! that the machine is the same one tomorrow. RSA, ECDSA and Ed25519, as a
//! package's first start makes them.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair, RsaPublicKeyComponents,
};
use rsa::pkcs1::EncodeRsaPrivateKey as _;

use super::wire::Put as _;

/// Bits of an RSA key, as `ssh-keygen -A` makes it.
const RSA_BITS: usize = 3_072;
/// What the keys' files are called.
const NAMES: [&str; 3] = ["ssh_host_rsa_key", "ssh_host_ecdsa_key", "ssh_host_ed25519_key"];
/// Longest key file.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// A key cannot be read, made or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system says no.
    #[error("cannot use the SSH host key {}: {source}", .path.display())]
    File {
        /// The key's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no SSH host key; remove it and a new one is made", .0.display())]
    NoKey(PathBuf),
    /// No randomness.
    #[error("cannot make an SSH host key")]
    Make,
}

/// The keys of one server.
#[derive(Debug)]
pub struct HostKeys {
    rsa: RsaKeyPair,
    ecdsa: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

/// A kind of key, by the algorithm that signs with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    RsaSha256,
    RsaSha512,
    Ecdsa,
    Ed25519,
}

impl Signer {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rsa-sha2-256" => Self::RsaSha256,
            "rsa-sha2-512" => Self::RsaSha512,
            "ecdsa-sha2-nistp256" => Self::Ecdsa,
            "ssh-ed25519" => Self::Ed25519,
            _ => return None,
        })
    }

    fn name(self) -> &'static [u8] {
        match self {
            Self::RsaSha256 => b"rsa-sha2-256",
            Self::RsaSha512 => b"rsa-sha2-512",
            Self::Ecdsa => b"ecdsa-sha2-nistp256",
            Self::Ed25519 => b"ssh-ed25519",
        }
    }
}

impl HostKeys {
    /// Reads the keys in `folder`; makes and keeps those that are not there.
    /// Without a folder they last as long as the process. Making an RSA key
    /// takes a second.
    ///
    /// # Errors
    /// [`KeyError`], naming the file.
    pub fn load_or_make(folder: Option<&Path>) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let [rsa_name, ecdsa_name, ed25519_name] = NAMES;
        let rsa = kept(folder, rsa_name, RsaKeyPair::from_der, || {
            let key = rsa::PrivateKey::new(&mut rand::rng(), RSA_BITS).ok()?;
            Some(key.to_pkcs1_der().ok()?.as_bytes().to_vec())
        })?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ecdsa = kept(
            folder,
            ecdsa_name,
            |der| EcdsaKeyPair::from_pkcs8(algorithm, der, &random),
            || Some(EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok()?.as_ref().to_vec()),
        )?;
        let ed25519 = kept(folder, ed25519_name, Ed25519KeyPair::from_pkcs8, || {
            Some(Ed25519KeyPair::generate_pkcs8(&random).ok()?.as_ref().to_vec())
        })?;
        Ok(Self { rsa, ecdsa, ed25519, random })
    }

    /// The public key as it is sent.
    pub(super) fn public(&self, signer: Signer) -> Vec<u8> {
        let mut blob = Vec::new();
        match signer {
            Signer::RsaSha256 | Signer::RsaSha512 => {
                blob.put_string(b"ssh-rsa");
                let public: RsaPublicKeyComponents<Vec<u8>> = self.rsa.public().into();
                blob.put_mpint(&public.e);
                blob.put_mpint(&public.n);
            }
            Signer::Ecdsa => {
                blob.put_string(b"ecdsa-sha2-nistp256");
                blob.put_string(b"nistp256");
                blob.put_string(self.ecdsa.public_key().as_ref());
            }
            Signer::Ed25519 => {
                blob.put_string(b"ssh-ed25519");
                blob.put_string(self.ed25519.public_key().as_ref());
            }
        }
        blob
    }

    /// All public keys, in the order of OpenSSH's files.
    pub(super) fn all_public(&self) -> [Vec<u8>; 3] {
        [Signer::RsaSha512, Signer::Ecdsa, Signer::Ed25519].map(|signer| self.public(signer))
    }

    /// Who signs for a public key that was sent.
    pub(super) fn signer_of(&self, public: &[u8]) -> Option<Signer> {
        [Signer::RsaSha512, Signer::Ecdsa, Signer::Ed25519]
            .into_iter()
            .find(|signer| self.public(*signer) == public)
    }

    /// A signature as it is sent; `None` only where there is no randomness.
    pub(super) fn sign(&self, signer: Signer, data: &[u8]) -> Option<Vec<u8>> {
        let raw = match signer {
            Signer::RsaSha256 | Signer::RsaSha512 => {
                let padding =
                    if signer == Signer::RsaSha256 { &RSA_PKCS1_SHA256 } else { &RSA_PKCS1_SHA512 };
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(padding, &self.random, data, &mut signature).ok()?;
                signature
            }
            Signer::Ecdsa => {
                let signature = self.ecdsa.sign(&self.random, data).ok()?;
                let (r, s) = signature.as_ref().split_at_checked(32)?;
                let mut numbers = Vec::new();
                numbers.put_mpint(r);
                numbers.put_mpint(s);
                numbers
            }
            Signer::Ed25519 => self.ed25519.sign(data).as_ref().to_vec(),
        };
        let mut blob = Vec::new();
        blob.put_string(signer.name());
        blob.put_string(&raw);
        Some(blob)
    }
}

/// Whether a folder has all keys of a server.
pub(crate) fn are_kept(folder: &Path) -> bool {
    NAMES.iter().all(|name| folder.join(name).is_file())
}

/// Reads a key, or makes and keeps it.
fn kept<K, E>(
    folder: Option<&Path>,
    name: &str,
    parse: impl Fn(&[u8]) -> Result<K, E>,
    make: impl FnOnce() -> Option<Vec<u8>>,
) -> Result<K, KeyError> {
    let Some(folder) = folder else {
        let made = make().ok_or(KeyError::Make)?;
        return parse(&made).map_err(|_| KeyError::Make);
    };
    let path = folder.join(name);
    let fail = |source| KeyError::File { path: path.clone(), source };
    match std::fs::metadata(&path) {
        Ok(about) if about.len() > MAX_FILE_BYTES => return Err(KeyError::NoKey(path)),
        Ok(_) => {
            let bytes = std::fs::read(&path).map_err(fail)?;
            return parse(&bytes).map_err(|_| KeyError::NoKey(path));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let made = make().ok_or(KeyError::Make)?;
    std::fs::create_dir_all(folder).map_err(fail)?;
    // Whole or not at all, also when the power goes.
    let new = folder.join(format!(".{name}.new"));
    let write = || -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&made)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)
    };
    write().map_err(fail)?;
    parse(&made).map_err(|_| KeyError::Make)
}
