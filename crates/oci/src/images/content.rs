//! Blobs by digest, and names: what lies on disk.
//!
//! Invariant: a file below `blobs/` has the digest that it is named after and is synced; the list of names only
//! tells of complete images; both are replaced at once. Changes of names and removal of content exclude each other
//! across processes by a lock file, which pulls and imports share. Answers to containerd's content store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Largest manifest, index or configuration.
pub(super) const DOCUMENT_BYTES: u64 = 8 << 20;

/// Names and the digests of the manifests that they stand for.
pub(super) type Names = BTreeMap<String, String>;

/// The folder of blobs and names.
#[derive(Clone, Debug)]
pub(super) struct Content {
    root: PathBuf,
}

/// A lock on the folder, until dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "holds the lock")] File);

/// What points to content: the parts of a descriptor that matter here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What a manifest of a list is for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Platform {
    pub os: String,
    pub architecture: String,
}

/// A manifest or a list of them, of OCI or Docker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Manifest {
    pub schema_version: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Descriptor>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Descriptor>,
}

/// An image's configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Configuration {
    pub architecture: String,
    pub os: String,
    pub config: super::ProcessConfig,
    pub rootfs: RootFs,
}

/// The layers of a configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    pub diff_ids: Vec<String>,
}

impl Content {
    pub(super) fn open(root: &Path) -> Result<Content> {
        let content = Content { root: root.to_owned() };
        for folder in [content.blobs(), root.join("tmp"), root.join("pins")] {
            std::fs::create_dir_all(&folder).map_err(Error::io("create folder", folder))?;
        }
        // What a crash left: nobody else is at work if the lock can be had.
        if let Some(_lock) = content.try_exclusive()? {
            for entry in std::fs::read_dir(root.join("tmp")).map_err(Error::io("read", root))?.flatten() {
                let _ = crate::trees::remove(&entry.path());
            }
        }
        Ok(content)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// Where a blob lies, or would lie.
    pub(super) fn path(&self, digest: &str) -> Result<PathBuf> {
        let hex = digest.strip_prefix("sha256:").filter(|hex| {
            hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        });
        match hex {
            Some(hex) => Ok(self.blobs().join(hex)),
            None => Err(Error::Invalid(format!("{digest:?} is not a sha256 digest"))),
        }
    }

    /// Whether a blob is there, with this size (0: any).
    pub(super) fn has(&self, digest: &str, size: u64) -> Result<bool> {
        let about = std::fs::metadata(self.path(digest)?);
        Ok(about.is_ok_and(|about| size == 0 || about.len() == size))
    }

    /// Reads a manifest or configuration.
    pub(super) fn read(&self, digest: &str) -> Result<Vec<u8>> {
        let path = self.path(digest)?;
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound { kind: "blob", name: digest.to_owned() });
            }
            result => result.map_err(Error::io("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.take(DOCUMENT_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        Ok(bytes)
    }

    /// Reads and parses a manifest, list or configuration.
    pub(super) fn document<T: serde::de::DeserializeOwned>(&self, digest: &str) -> Result<T> {
        serde_json::from_slice(&self.read(digest)?).map_err(|error| Error::Archive {
            archive: format!("blob {digest}"),
            reason: format!("it does not parse: {error}"),
        })
    }

    /// A place for something that is not complete yet.
    pub(super) fn scratch(&self) -> Result<tempfile::NamedTempFile> {
        let folder = self.root.join("tmp");
        tempfile::NamedTempFile::new_in(&folder).map_err(Error::io("create a file in", folder))
    }

    /// Stores bytes; returns their digest.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<String> {
        let digest = digest(bytes);
        if !self.has(&digest, 0)? {
            let mut file = self.scratch()?;
            file.write_all(bytes).map_err(Error::io("write", file.path()))?;
            self.keep(file, &digest)?;
        }
        Ok(digest)
    }

    /// Stores what a reader gives, which must have this digest if one is given; returns digest and size.
    pub(super) fn copy(
        &self,
        from: &mut dyn Read,
        subject: &str,
        expected: Option<&str>,
    ) -> Result<(String, u64)> {
        let mut file = self.scratch()?;
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 128 << 10];
        loop {
            let length = from.read(&mut buffer).map_err(Error::system(format!("read {subject}")))?;
            if length == 0 {
                break;
            }
            hash.update(&buffer[..length]);
            file.write_all(&buffer[..length]).map_err(Error::io("write", file.path()))?;
            size += length as u64;
        }
        let actual = name(hash);
        verify(subject, expected.unwrap_or(&actual), &actual)?;
        self.keep(file, &actual)?;
        Ok((actual, size))
    }

    /// Makes a complete file the blob of this digest, which the caller has verified.
    pub(super) fn keep(&self, file: tempfile::NamedTempFile, digest: &str) -> Result<()> {
        let path = self.path(digest)?;
        file.as_file().sync_all().map_err(Error::io("sync", file.path()))?;
        file.persist(&path).map_err(|error| Error::io("write", &path)(error.error))?;
        sync_folder(&self.blobs())
    }

    /// The names.
    pub(super) fn names(&self) -> Result<Names> {
        let path = self.root.join("names.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| Error::io("read", &path)(error.into()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Names::new()),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Changes the names; the caller holds no lock.
    pub(super) fn rename(&self, change: impl FnOnce(&mut Names)) -> Result<()> {
        let path = self.root.join("names.lock");
        let _lock = lock(&path, FlockOperation::LockExclusive)?;
        let mut names = self.names()?;
        change(&mut names);
        let path = self.root.join("names.json");
        let mut file = self.scratch()?;
        serde_json::to_writer_pretty(&mut file, &names)
            .map_err(|error| Error::io("write", &path)(error.into()))?;
        file.as_file().sync_all().map_err(Error::io("sync", file.path()))?;
        file.persist(&path).map_err(|error| Error::io("write", &path)(error.error))?;
        sync_folder(&self.root)
    }

    /// Nothing is removed while this is held.
    pub(super) fn shared(&self) -> Result<Lock> {
        lock(&self.root.join("content.lock"), FlockOperation::LockShared)
    }

    /// Nothing is added while this is held; `None` if something just is.
    pub(super) fn try_exclusive(&self) -> Result<Option<Lock>> {
        match lock(&self.root.join("content.lock"), FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes every blob that is not in `used`.
    pub(super) fn sweep(&self, used: &BTreeSet<String>) -> Result<()> {
        let folder = self.blobs();
        for entry in std::fs::read_dir(&folder).map_err(Error::io("read", &folder))?.flatten() {
            if !used.contains(&format!("sha256:{}", entry.file_name().to_string_lossy())) {
                std::fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }
}

fn lock(path: &Path, operation: FlockOperation) -> Result<Lock> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io("open lock", path))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))
        .map_err(|error| Error::io("lock", path)(error.into()))?;
    Ok(Lock(file))
}

pub(super) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))
}

/// The digest of bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    name(hash)
}

/// The digest's name, `sha256:…`.
pub(super) fn name(hash: Sha256) -> String {
    let mut name = "sha256:".to_owned();
    for byte in hash.finalize() {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

pub(super) fn verify(subject: &str, expected: &str, actual: &str) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::Digest {
        subject: subject.to_owned(),
        expected: expected.to_owned(),
        actual: actual.to_owned(),
    })
}
