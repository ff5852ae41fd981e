//! A reader that decompresses, counts and hashes.
//!
//! Invariant: no more comes out than was allowed, however little went in: a small archive that unpacks to terabytes,
//! or to a name of gigabytes, ends in an error.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::unpack::MOST_BYTES;

/// Most bytes between the contents of two entries: headers, long names, extended attributes, padding.
const HEADER_BYTES: u64 = 4 << 20;

/// Removes compression by gzip or zstd, if there is one.
pub(super) fn decompress<'a>(from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut from = BufReader::with_capacity(128 << 10, from);
    let head = from.fill_buf()?;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(from)));
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(from)?));
    }
    Ok(Box::new(from))
}

/// Says how much may be read.
#[derive(Clone)]
pub(super) struct Meter {
    /// Bytes that may still be read before the limit is set anew.
    left: Arc<AtomicU64>,
}

impl Meter {
    pub(super) fn allow_header(&self) {
        self.left.store(HEADER_BYTES, Ordering::Relaxed);
    }

    pub(super) fn allow_content(&self) {
        self.left.store(MOST_BYTES, Ordering::Relaxed);
    }
}

/// A reader with a limit and a digest.
pub(super) struct Metered<R> {
    from: R,
    meter: Meter,
    total: u64,
    hash: Sha256,
}

impl<R: Read> Metered<R> {
    pub(super) fn new(from: R) -> Metered<R> {
        let meter = Meter { left: Arc::new(AtomicU64::new(MOST_BYTES)) };
        Metered { from, meter, total: 0, hash: Sha256::new() }
    }

    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Reads what is left and returns the digest of everything.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(super::content::name(self.hash))
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.left.load(Ordering::Relaxed).min(MOST_BYTES.saturating_sub(self.total));
        let length = self.from.read(buffer)?;
        if length as u64 > left {
            return Err(io::Error::other("more than is allowed"));
        }
        self.meter.left.store(left - length as u64, Ordering::Relaxed);
        self.total += length as u64;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
