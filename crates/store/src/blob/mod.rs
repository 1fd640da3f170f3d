//! Bytes by name: the payloads that honeypots captured, in a folder or in a
//! bucket that speaks S3. Not what is known of them; that is in the state.
//!
//! What [`Blobs::put`] has taken is durable when it returns. Blocks; call it on
//! a blocking thread.

mod folder;
mod s3;

use std::io;
use std::path::{Path, PathBuf};

use palisade_event::PayloadHash;
use serde::{Deserialize, Serialize};

use folder::Folder;
use s3::Bucket;

/// Smallest bound of the whole store, in bytes.
const MIN_BYTES: u64 = 16 * 1024 * 1024;

/// Settings of the payload store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayloadConfig {
    /// The folder. Default: `hub/payloads` in the data directory.
    pub folder: Option<PathBuf>,
    /// A bucket instead of the folder. Default: none.
    pub s3: Option<S3Config>,
    /// Bytes of all payloads together; above, those unseen for longest go, and
    /// are counted. Default: 4 GiB.
    pub max_bytes: u64,
}

/// A bucket that speaks S3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// Where it is, such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Its region. Default: `us-east-1`.
    pub region: Option<String>,
    /// Its name.
    pub bucket: String,
    /// What names begin with, such as `palisade/`. Default: nothing.
    pub prefix: String,
    /// The access key's public part.
    pub access_key: String,
    /// A file with its secret part.
    pub secret_key_file: PathBuf,
}

impl Default for PayloadConfig {
    fn default() -> Self {
        Self { folder: None, s3: None, max_bytes: 4 * 1024 * 1024 * 1024 }
    }
}

impl PayloadConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Every mistake, one sentence each.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        if self.max_bytes < MIN_BYTES {
            mistakes.push(format!(
                "max_bytes: expected at least {MIN_BYTES} bytes, found {}",
                self.max_bytes
            ));
        }
        if let Some(s3) = &self.s3 {
            if self.folder.is_some() {
                mistakes.push("folder and s3: give one of them".to_owned());
            }
            for (name, text) in
                [("endpoint", &s3.endpoint), ("bucket", &s3.bucket), ("access_key", &s3.access_key)]
            {
                if text.is_empty() {
                    mistakes.push(format!("s3.{name}: it is missing"));
                }
            }
            if s3.secret_key_file.as_os_str().is_empty() {
                mistakes.push("s3.secret_key_file: it is missing".to_owned());
            }
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

/// Where bytes are kept.
#[derive(Debug)]
pub enum Blobs {
    /// In files.
    Folder(Folder),
    /// In a bucket.
    Bucket(Box<Bucket>),
}

impl Blobs {
    /// Opens the folder or the bucket of the settings; `default` is the folder
    /// where they name none.
    ///
    /// # Errors
    /// One sentence that says what to change.
    pub fn open(config: &PayloadConfig, default: &Path) -> Result<Self, String> {
        match &config.s3 {
            Some(s3) => Bucket::open(s3).map(|bucket| Self::Bucket(Box::new(bucket))),
            None => {
                let path = config.folder.as_deref().unwrap_or(default);
                Folder::open(path)
                    .map(Self::Folder)
                    .map_err(|error| format!("the folder of payloads {}: {error}", path.display()))
            }
        }
    }

    /// Keeps bytes; durable on return.
    ///
    /// # Errors
    /// Nothing is promised.
    pub fn put(&self, name: PayloadHash, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.put(name, bytes),
            Self::Bucket(bucket) => bucket.put(name, bytes),
        }
    }

    /// The bytes of a name; `None` where there are none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, name: PayloadHash) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => folder.get(name),
            Self::Bucket(bucket) => bucket.get(name),
        }
    }

    /// Removes the bytes of a name, where there are some.
    ///
    /// # Errors
    /// They may still be there.
    pub fn remove(&self, name: PayloadHash) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.remove(name),
            Self::Bucket(bucket) => bucket.remove(name),
        }
    }
}
