//! The end of fjall's journal files, read without fjall.
//!
//! fjall syncs what it is told to, but when opened it takes some torn ends for corruption and refuses, and
//! some corruption for torn ends and forgets. Here both are told apart before it looks: one batch is written
//! and synced at a time, so what power loss can tear is the last one only. After a failed sync the same
//! reading finds where the batch began that must not stay.
//!
//! Invariant: nothing that was acknowledged is ever cut off. Answers to fjall's journal format 3.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8; 4] = b"FJL\x03";
/// From the end's tag over its checksum to its trailer.
const TRAILER_OFFSET: usize = 1 + 8;

/// More than the largest commit. What lies behind a torn one is looked at so far.
const WINDOW_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) enum Error {
    Disk(io::Error),
    Corrupt(String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Cuts off a torn last batch. `Corrupt` if a batch before the last is damaged.
pub(super) fn mend(folder: &Path) -> Result<(), Error> {
    for path in journals(folder)? {
        let mut reader = Journal::open(&path)?;
        while reader.batch()?.is_some() {}
        let Remains { batches, bytes } = remains(&path, reader.end)?;
        if batches > 1 {
            let what = format!("{} is damaged at byte {}", path.display(), reader.end);
            return Err(Error::Corrupt(what));
        }
        if bytes > 0 {
            let (path, at) = (path.display(), reader.end);
            tracing::warn!(%path, at, bytes, "cutting off a commit that was not finished");
            truncate(&reader.path, reader.end)?;
        }
    }
    Ok(())
}

/// Cuts off all batches from the one numbered `first`, and whatever is there of a batch unfinished.
pub(super) fn cut(folder: &Path, first: u64) -> Result<(), Error> {
    for path in journals(folder)? {
        let mut reader = Journal::open(&path)?;
        let mut end = 0;
        while let Some(number) = reader.batch()? {
            if number >= first {
                break;
            }
            end = reader.end;
        }
        truncate(&path, end)?;
    }
    Ok(())
}

fn truncate(path: &Path, at: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()
}

/// The journal files of a database.
fn journals(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            journals.push(path);
        }
    }
    Ok(journals)
}

/// A journal read batch by batch.
struct Journal {
    path: PathBuf,
    reader: BufReader<File>,
    /// Where the last whole batch ended.
    end: u64,
    buffer: Vec<u8>,
}

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let reader = BufReader::with_capacity(64 * 1024, File::open(path)?);
        Ok(Self { path: path.into(), reader, end: 0, buffer: Vec::new() })
    }

    /// The number of the next batch if it is there whole; `None` at whatever is not one.
    fn batch(&mut self) -> io::Result<Option<u64>> {
        match self.read_batch() {
            Ok(Some((number, bytes))) => {
                self.end += bytes;
                Ok(Some(number))
            }
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_batch(&mut self) -> io::Result<Option<(u64, u64)>> {
        let mut bytes = 0;
        if self.array::<1>()? != [START] {
            return Ok(None);
        }
        let count = u32::from_le_bytes(self.array()?);
        let number = u64::from_le_bytes(self.array()?);
        let mut hasher = Xxh3::new();
        for _ in 0..count {
            if !self.read_item()? {
                return Ok(None);
            }
            hasher.update(&self.buffer);
            bytes += self.buffer.len() as u64;
        }
        if self.array::<1>()? != [END] {
            return Ok(None);
        }
        let checksum = u64::from_le_bytes(self.array()?);
        let whole = checksum == hasher.digest() && self.array()? == *TRAILER;
        let frame = (1 + 4 + 8) + (TRAILER_OFFSET + TRAILER.len()) as u64;
        Ok(whole.then_some((number, bytes + frame)))
    }

    /// Reads one item into the buffer; false if it is not one.
    fn read_item(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let [tag] = self.array()?;
        self.buffer.push(tag);
        let rest = match tag {
            CLEAR => 8,
            ITEM => {
                // Type, compression, keyspace, length of the key, lengths of the value, plain and stored.
                let head: [u8; 20] = self.array()?;
                self.buffer.extend_from_slice(&head);
                let [.., k0, k1, _, _, _, _, v0, v1, v2, v3] = head;
                u64::from(u16::from_le_bytes([k0, k1])) + u64::from(u32::from_le_bytes([v0, v1, v2, v3]))
            }
            _ => return Ok(false),
        };
        let length = self.buffer.len() as u64 + rest;
        if rest > WINDOW_BYTES {
            return Ok(false);
        }
        (&mut self.reader).take(rest).read_to_end(&mut self.buffer)?;
        Ok(self.buffer.len() as u64 == length)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        self.reader.read_exact(&mut array)?;
        Ok(array)
    }
}

/// What follows the last whole batch, within the window.
struct Remains {
    /// Ends of batches; the one that tore may have its end.
    batches: usize,
    /// How far bytes go that are not the zeros of a file allocated ahead.
    bytes: usize,
}

fn remains(path: &Path, at: u64) -> io::Result<Remains> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut remains = Remains { batches: 0, bytes: 0 };
    // In pieces that overlap by an end's length, so that none is missed.
    let overlap = TRAILER_OFFSET + TRAILER.len() - 1;
    let mut piece = vec![0; 1024 * 1024];
    let (mut kept, mut before) = (0, 0);
    let mut file = file.take(WINDOW_BYTES);
    loop {
        let read = file.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(remains);
        }
        let filled = kept + read;
        let ends = memmem::find_iter(&piece[..filled], TRAILER);
        remains.batches +=
            ends.filter(|at| at.checked_sub(TRAILER_OFFSET).is_some_and(|tag| piece[tag] == END)).count();
        if let Some(last) = piece[..filled].iter().rposition(|byte| *byte != 0) {
            remains.bytes = remains.bytes.max(before + last + 1);
        }
        let keep = filled.min(overlap);
        piece.copy_within(filled - keep..filled, 0);
        before += filled - keep;
        kept = keep;
    }
}
