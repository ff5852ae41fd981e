//! One write as the journal keeps it: a record per revision, and all that is known of the write.
//!
//! Invariant: a record never changes. The current objects, the history and old revisions are all views of
//! the same sequence of records; compaction only removes those that no retained revision can see.

use bytes::Bytes;

use crate::{Change, Event, Revision, Write};

/// A write that was decided and has its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub revision: Revision,
    pub key: Bytes,
    /// The value that was put; `None` for a deletion.
    pub value: Option<Bytes>,
    /// The revision that created the key; for a deletion, that of the key which is gone.
    pub created: Revision,
    /// The value before and its revision; `None` for a creation.
    pub previous: Option<(Bytes, Revision)>,
}

impl Record {
    pub fn view(&self) -> View<'_> {
        View {
            revision: self.revision,
            key: &self.key,
            value: self.value.as_deref(),
            created: self.created,
            previous: self.previous.as_ref().map_or(0, |(_, revision)| *revision),
        }
    }

    pub fn event(&self) -> Event {
        let change = match (&self.value, &self.previous) {
            (Some(value), previous) => {
                Change::Put { value: value.clone(), created: self.created, previous: previous.clone() }
            }
            (None, Some((previous, previous_revision))) => {
                Change::Delete { previous: previous.clone(), previous_revision: *previous_revision }
            }
            (None, None) => unreachable!("a deletion is only recorded of a key that was there"),
        };
        Event { revision: self.revision, key: self.key.clone(), change }
    }

    /// The bytes that this record keeps in memory at most.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.key.len()
            + self.value.as_ref().map_or(0, Bytes::len)
            + self.previous.as_ref().map_or(0, |(value, _)| value.len())
    }
}

/// A record as it is read from the journal: borrowed, and with the revision of the previous value only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View<'a> {
    pub revision: Revision,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
    pub created: Revision,
    /// 0 for a creation.
    pub previous: Revision,
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const HEAD_BYTES: usize = 1 + 8 + 8 + 2;

impl<'a> View<'a> {
    /// The bytes that the record takes in the journal, without the journal's own framing.
    pub fn size(&self) -> usize {
        HEAD_BYTES + self.key.len() + self.value.map_or(0, <[u8]>::len)
    }

    /// Appends kind, created, previous, key length (little endian), key and value. The revision is the
    /// journal's key and not repeated.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let key_length = u16::try_from(self.key.len()).expect("keys are limited to KEY_BYTES_MAX");
        to.reserve(self.size());
        to.push(if self.value.is_some() { PUT } else { DELETE });
        to.extend_from_slice(&self.created.to_le_bytes());
        to.extend_from_slice(&self.previous.to_le_bytes());
        to.extend_from_slice(&key_length.to_le_bytes());
        to.extend_from_slice(self.key);
        to.extend_from_slice(self.value.unwrap_or_default());
    }

    /// Reads what `encode` wrote; `None` if it is not that.
    pub fn decode(revision: Revision, from: &'a [u8]) -> Option<Self> {
        let (kind, rest) = from.split_first()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (previous, rest) = rest.split_first_chunk::<8>()?;
        let (key_length, rest) = rest.split_first_chunk::<2>()?;
        let (key, value) = rest.split_at_checked(usize::from(u16::from_le_bytes(*key_length)))?;
        let value = match (*kind, value) {
            (PUT, value) => Some(value),
            (DELETE, []) => None,
            _ => return None,
        };
        let created = u64::from_le_bytes(*created);
        let previous = u64::from_le_bytes(*previous);
        Some(Self { revision, key, value, created, previous })
    }
}

/// The bytes of a write that wait with it in the queue.
pub(crate) fn bytes_of(write: &Write) -> usize {
    write.key().len() + write.value().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        for (value, previous) in [(Some(&b"value"[..]), 0), (Some(b""), 3), (None, 4)] {
            let view = View { revision: 9, key: b"/a/b", value, created: 2, previous };
            let mut bytes = Vec::new();
            view.encode(&mut bytes);
            assert_eq!(bytes.len(), view.size());
            assert_eq!(View::decode(9, &bytes), Some(view));
        }
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let mut bytes = Vec::new();
        View { revision: 1, key: b"key", value: None, created: 1, previous: 1 }.encode(&mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(View::decode(1, &bytes[..length]), None, "cut to {length} bytes");
        }
        bytes.push(b'x');
        assert_eq!(View::decode(1, &bytes), None, "a deletion with a value");
        assert_eq!(View::decode(1, &[7; 64]), None, "an unknown kind");
    }
}
