//! Encryption of objects at rest, at the boundary between engine and store.
//!
//! Invariant: what the store sees of an encrypted resource is an envelope: a prefix that names the key, a nonce,
//! and AES-256-GCM ciphertext bound to the store key, so that values cannot be swapped. Answers to upstream's
//! `aesgcm` transformer and its key rotation: the first key writes, all keys read.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use bytes::Bytes;

const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:";
const NONCE_BYTES: usize = 12;

/// A value could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The envelope names a key that is not configured.
    #[error("the value is encrypted with the unknown key {0:?}")]
    UnknownKey(String),
    /// The envelope is damaged, or stood under another store key.
    #[error("the value encrypted with key {0:?} does not authenticate")]
    Damaged(String),
}

/// Which resources are encrypted, and with what.
pub struct Encryption {
    resources: Vec<(String, String)>,
    keys: Vec<(String, Aes256Gcm)>,
}

impl Encryption {
    /// Encrypts objects of `resources` (group and resource) with the first key; all `keys` (an identifier
    /// without a colon, and 32 bytes) can decrypt.
    pub fn new(resources: Vec<(String, String)>, keys: Vec<(String, [u8; 32])>) -> Self {
        let keys = keys.into_iter().map(|(id, key)| (id, Aes256Gcm::new(&key.into()))).collect();
        Self { resources, keys }
    }

    /// Secrets only: what a cluster wants at least.
    pub fn secrets(id: &str, key: [u8; 32]) -> Self {
        Self::new(vec![(String::new(), "secrets".into())], vec![(id.into(), key)])
    }

    /// Whether objects of a resource are encrypted.
    pub fn covers(&self, group: &str, resource: &str) -> bool {
        self.resources.iter().any(|(g, r)| g == group && r == resource)
    }

    /// The envelope of a value that is to stand under `key` in the store.
    pub fn seal(&self, key: &[u8], value: &Bytes) -> Bytes {
        let Some((id, cipher)) = self.keys.first() else { return value.clone() };
        // The first twelve bytes of a version 4 UUID hold 90 random bits; two of them 122 at the least.
        let (one, two) = (uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes());
        let mut nonce = [0_u8; NONCE_BYTES];
        nonce[..6].copy_from_slice(&one[..6]);
        nonce[6..].copy_from_slice(&two[..6]);
        let payload = Payload { msg: value, aad: key };
        let Ok(sealed) = cipher.encrypt(&Nonce::from(nonce), payload) else {
            unreachable!("AES-GCM encrypts anything below 64 GiB and the store's values are far below")
        };
        let mut out = Vec::with_capacity(PREFIX.len() + id.len() + 1 + NONCE_BYTES + sealed.len());
        out.extend_from_slice(PREFIX);
        out.extend_from_slice(id.as_bytes());
        out.push(b':');
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out.into()
    }

    /// The value in an envelope; what is none is returned as it is, for it was written before encryption.
    ///
    /// # Errors
    /// If the key is unknown or the envelope damaged.
    pub fn open(&self, key: &[u8], stored: &Bytes) -> Result<Bytes, Error> {
        let Some(rest) = stored.strip_prefix(PREFIX) else { return Ok(stored.clone()) };
        let colon = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
        let (id, rest) = rest.split_at(colon);
        let id = String::from_utf8_lossy(id).into_owned();
        let Some((_, cipher)) = self.keys.iter().find(|(one, _)| *one == id) else {
            return Err(Error::UnknownKey(id));
        };
        let envelope = rest.get(1..).and_then(|rest| rest.split_at_checked(NONCE_BYTES));
        let Some((nonce, sealed)) = envelope else { return Err(Error::Damaged(id)) };
        let Ok(nonce) = <[u8; NONCE_BYTES]>::try_from(nonce) else { return Err(Error::Damaged(id)) };
        let opened = cipher.decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: key });
        opened.map(Bytes::from).map_err(|_| Error::Damaged(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_only_under_their_key_and_with_their_cipher_key() {
        let old = Encryption::secrets("a", [1; 32]);
        let new = Encryption::new(
            vec![(String::new(), "secrets".into())],
            vec![("b".into(), [2; 32]), ("a".into(), [1; 32])],
        );
        let value = Bytes::from_static(b"{\"kind\":\"Secret\"}");
        let sealed = old.seal(b"/k", &value);
        assert!(!sealed.windows(6).any(|window| window == b"Secret"));
        assert_ne!(sealed, old.seal(b"/k", &value), "the nonce is fresh");
        assert_eq!(new.open(b"/k", &sealed).unwrap(), value);
        assert_eq!(new.open(b"/k", &value).unwrap(), value, "plain values still read");
        assert!(matches!(new.open(b"/other", &sealed), Err(Error::Damaged(_))));
        assert!(matches!(old.open(b"/k", &new.seal(b"/k", &value)), Err(Error::UnknownKey(_))));
        let mut broken = sealed.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        assert!(matches!(new.open(b"/k", &broken.into()), Err(Error::Damaged(_))));
        for end in 0..sealed.len() {
            assert!(end < PREFIX.len() || new.open(b"/k", &sealed.slice(..end)).is_err());
        }
    }
}
