//! Passwords: how they are hashed, checked and what they must be like.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::error::AdminError;

/// Hashes at once. Each takes 19 MiB for its time (argon2id, m=19 MiB, t=2,
/// p=1: the crate's default and OWASP's first recommendation).
const MAX_HASHES: usize = 2;
/// How long an attempt waits for its turn.
const HASH_WAIT: Duration = Duration::from_secs(10);
/// Shortest password, in characters (NIST SP 800-63B).
const MIN_PASSWORD_CHARS: usize = 8;
/// Longest password, in bytes.
const MAX_PASSWORD_BYTES: usize = 1024;
/// Longest account name, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Bytes of randomness in a one-time password.
const ONE_TIME_BYTES: usize = 12;

/// A hash of no password, checked where there is no such account, so that the
/// answer takes as long as for one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$cGFsaXNhZGUtbm9ib2R5$\
    n0R3sT2uV4wX6yZ8aB0cD1eF3gH5iJ7kL9mN2oP4qR4";

/// Hashes passwords, a bounded number at once, off the async threads.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
}

/// No password was hashed or checked.
#[derive(Debug)]
pub(crate) enum HashError {
    /// Too many wait already.
    Busy,
    /// The hash in the database, or the machine, is broken.
    Failed(String),
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(MAX_HASHES)) }
    }

    /// The hash of a password in the PHC string format, with a new salt.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, HashError> {
        let password = password.to_owned();
        self.run(move || {
            Argon2::default()
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
                .map_err(|error| HashError::Failed(error.to_string()))
        })
        .await
    }

    /// Whether the password is the one of the hash; without a hash it is not,
    /// which takes as long.
    pub(crate) async fn verify(
        &self,
        password: &str,
        hash: Option<String>,
    ) -> Result<bool, HashError> {
        let password = password.to_owned();
        self.run(move || {
            let text = hash.as_deref().unwrap_or(NOBODY);
            let parsed = PasswordHash::new(text)
                .map_err(|error| HashError::Failed(format!("unreadable hash: {error}")))?;
            let right = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(right && hash.is_some())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let turn = tokio::time::timeout(HASH_WAIT, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| HashError::Busy)?
            .map_err(|_| HashError::Busy)?;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .map_err(|error| HashError::Failed(error.to_string()))?
    }
}

/// Checks the rule of account names.
pub(crate) fn check_name(name: &str) -> Result<(), AdminError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let dots = name.chars().all(|c| c == '.');
    if name.len() > MAX_NAME_BYTES || dots || !name.chars().all(plain) {
        return Err(AdminError::Invalid(
            "an account name has 1 to 64 letters, digits, '.', '_' or '-'".into(),
        ));
    }
    Ok(())
}

/// Checks the rule of passwords.
pub(crate) fn check_password(password: &str) -> Result<(), AdminError> {
    if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
        return Err(AdminError::Invalid(format!(
            "a password has at least {MIN_PASSWORD_CHARS} characters and at most \
             {MAX_PASSWORD_BYTES} bytes"
        )));
    }
    Ok(())
}

/// A password that nobody can guess.
pub(crate) fn one_time_password() -> String {
    use base64::Engine as _;
    let bytes: [u8; ONE_TIME_BYTES] = rand::random();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_and_knows_its_password() {
        let hasher = Hasher::new();
        let hash = hasher.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("correct hors", Some(hash)).await.unwrap());
        assert!(hasher.verify("x", Some("$none$".into())).await.is_err());
    }

    #[tokio::test]
    async fn nobody_has_no_password_but_a_hash_that_is_computed() {
        assert!(!Hasher::new().verify("", None).await.unwrap());
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let real = Hasher::new().hash("correct horse").await.unwrap();
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(nobody.params.to_string(), real.params.to_string());
        assert_eq!(nobody.hash.unwrap().len(), real.hash.unwrap().len());
    }

    #[test]
    fn names_and_passwords_have_rules() {
        for name in ["admin", "a.b-c_1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "ä", "a/b", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_password("12345678").is_ok());
        assert!(check_password("1234567").is_err());
        assert!(check_password(&"x".repeat(1025)).is_err());
        assert_ne!(one_time_password(), one_time_password());
    }
}
