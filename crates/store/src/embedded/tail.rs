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

use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8; 4] = b"FJL\x03";
/// The start's tag, count and number; the end's tag, checksum and trailer.
const FRAME_BYTES: u64 = (1 + 4 + 8) + (1 + 8 + 4);

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
        let mut last = None;
        while let Some(number) = reader.batch()? {
            // The checksum does not cover the number, and fjall passes over batches with too low a one.
            if last.is_some_and(|last| number <= last) {
                return Err(Error::Corrupt(format!("{} is out of order at batch {number}", path.display())));
            }
            last = Some(number);
        }
        let at = reader.end;
        let remains = remains(&path, at)?;
        if holds_batch(&remains) {
            return Err(Error::Corrupt(format!("{} is damaged at byte {at}", path.display())));
        }
        if !remains.is_empty() {
            let bytes = remains.len();
            tracing::warn!(path = %path.display(), at, bytes, "cutting off a commit that was not finished");
            truncate(&path, at)?;
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
pub(super) struct Journal {
    reader: BufReader<File>,
    /// Where the last whole batch ended.
    pub end: u64,
    buffer: Vec<u8>,
}

impl Journal {
    pub fn open(path: &Path) -> io::Result<Self> {
        let reader = BufReader::with_capacity(64 * 1024, File::open(path)?);
        Ok(Self { reader, end: 0, buffer: Vec::new() })
    }

    /// The number of the next batch if it is there whole; `None` at whatever is not one.
    pub fn batch(&mut self) -> io::Result<Option<u64>> {
        match read_batch(&mut self.reader, &mut self.buffer) {
            Ok(Some((number, bytes))) => {
                self.end += bytes;
                Ok(Some(number))
            }
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The number and length of the batch that the reader is at; `None` at whatever is not one, an early end
/// excepted, which is an error like any other.
fn read_batch(reader: &mut dyn Read, buffer: &mut Vec<u8>) -> io::Result<Option<(u64, u64)>> {
    let mut bytes = 0;
    if array::<1>(reader)? != [START] {
        return Ok(None);
    }
    let count = u32::from_le_bytes(array(reader)?);
    let number = u64::from_le_bytes(array(reader)?);
    let mut hasher = Xxh3::new();
    for _ in 0..count {
        if !read_item(reader, buffer)? {
            return Ok(None);
        }
        hasher.update(buffer);
        bytes += buffer.len() as u64;
    }
    if array::<1>(reader)? != [END] {
        return Ok(None);
    }
    let checksum = u64::from_le_bytes(array(reader)?);
    let whole = checksum == hasher.digest() && array(reader)? == *TRAILER;
    Ok(whole.then_some((number, bytes + FRAME_BYTES)))
}

/// Reads one item into the buffer; false if it is not one.
fn read_item(reader: &mut dyn Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    let [tag] = array(reader)?;
    buffer.push(tag);
    let rest = match tag {
        CLEAR => 8,
        ITEM => {
            // Type, compression, keyspace, length of the key, lengths of the value, plain and stored.
            let head: [u8; 20] = array(reader)?;
            buffer.extend_from_slice(&head);
            let [.., k0, k1, _, _, _, _, v0, v1, v2, v3] = head;
            u64::from(u16::from_le_bytes([k0, k1])) + u64::from(u32::from_le_bytes([v0, v1, v2, v3]))
        }
        _ => return Ok(false),
    };
    let length = buffer.len() as u64 + rest;
    if rest > WINDOW_BYTES {
        return Ok(false);
    }
    reader.take(rest).read_to_end(buffer)?;
    Ok(buffer.len() as u64 == length)
}

fn array<const N: usize>(reader: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    reader.read_exact(&mut array)?;
    Ok(array)
}

/// What follows the last whole batch, within the window, without the zeros of a file allocated ahead.
fn remains(path: &Path, at: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut file = file.take(WINDOW_BYTES);
    let mut piece = vec![0; 256 * 1024];
    let mut remains = Vec::new();
    let mut zeros = 0;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(remains);
        }
        match piece[..read].iter().rposition(|byte| *byte != 0) {
            None => zeros += read,
            Some(last) => {
                remains.resize(remains.len() + zeros, 0);
                remains.extend_from_slice(&piece[..=last]);
                zeros = read - last - 1;
            }
        }
    }
}

/// Whether there is a whole batch in there. What is torn has none after it.
fn holds_batch(remains: &[u8]) -> bool {
    let mut buffer = Vec::new();
    memchr::memchr_iter(START, remains).any(|at| {
        let mut candidate = &remains[at..];
        // An implausible count of items would make this slow.
        let plausible = matches!(candidate, [_, _, _, 0, 0, ..]);
        plausible && matches!(read_batch(&mut candidate, &mut buffer), Ok(Some(_)))
    })
}
