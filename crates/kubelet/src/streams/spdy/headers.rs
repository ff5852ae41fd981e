//! Headers of streams: a compressed block of names and values.
//!
//! Invariant: the blocks of one direction are one zlib stream, so every one that comes has to be read, in order, and
//! a block that cannot be read ends the connection. A block unpacks to at most [`BLOCK`] bytes.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Error;

/// Bytes of an unpacked block.
pub const BLOCK: usize = 64 << 10;
/// Bytes that are made room for at once.
const ROOM: usize = 4 << 10;

/// Names and values, in order; names are in lower case.
pub type Headers = Vec<(String, String)>;

/// What the dictionary says with lengths before it.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// And what it says without.
const PHRASES: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// What both sides suppose to have been compressed before: section 2.6.10.1 of the protocol's third draft.
pub(super) static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    for word in WORDS {
        text(word, &mut bytes);
    }
    bytes.extend_from_slice(PHRASES.as_bytes());
    bytes
});

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// The blocks that come in.
pub struct Unpacker(Decompress);

impl Default for Unpacker {
    fn default() -> Unpacker {
        Unpacker(Decompress::new(true))
    }
}

impl Unpacker {
    /// The next block.
    ///
    /// # Errors
    /// If it is none, or too large.
    pub fn unpack(&mut self, block: &[u8]) -> Result<Headers, Error> {
        let mut bytes = Vec::with_capacity(ROOM);
        let begun = self.0.total_in();
        loop {
            let taken = usize::try_from(self.0.total_in() - begun).map_err(|_| Error::Headers)?;
            let before = (taken, bytes.len());
            let rest = block.get(taken..).ok_or(Error::Headers)?;
            match self.0.decompress_vec(rest, &mut bytes, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(Error::Headers),
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| Error::Headers)?;
                    continue;
                }
                Err(_) => return Err(Error::Headers),
            }
            if bytes.len() > BLOCK {
                return Err(Error::Headers);
            }
            if bytes.len() == bytes.capacity() {
                bytes.reserve(ROOM);
                continue;
            }
            let taken = usize::try_from(self.0.total_in() - begun).map_err(|_| Error::Headers)?;
            if taken == block.len() {
                return read(&bytes);
            }
            if (taken, bytes.len()) == before {
                return Err(Error::Headers);
            }
        }
    }
}

/// Reads an unpacked block.
fn read(mut bytes: &[u8]) -> Result<Headers, Error> {
    let count = number(&mut bytes)?;
    let mut headers = Headers::new();
    // Each takes bytes of the block, so that no count makes this long.
    for _ in 0..count {
        let name = string(&mut bytes)?.to_ascii_lowercase();
        headers.push((name, string(&mut bytes)?));
    }
    Ok(headers)
}

fn number(bytes: &mut &[u8]) -> Result<usize, Error> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Error::Headers)?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Error::Headers)
}

fn string(bytes: &mut &[u8]) -> Result<String, Error> {
    let length = number(bytes)?;
    let (head, rest) = bytes.split_at_checked(length).ok_or(Error::Headers)?;
    *bytes = rest;
    Ok(String::from_utf8_lossy(head).into_owned())
}

/// The blocks that go out.
pub struct Packer(Compress);

impl Default for Packer {
    fn default() -> Packer {
        let mut compress = Compress::new(Compression::best(), true);
        // Before anything was compressed it cannot be refused.
        let _ = compress.set_dictionary(&DICTIONARY);
        Packer(compress)
    }
}

impl Packer {
    /// The next block.
    ///
    /// # Errors
    /// If it cannot be compressed.
    pub fn pack(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let mut plain = u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for (name, value) in headers {
            text(&name.to_ascii_lowercase(), &mut plain);
            text(value, &mut plain);
        }
        let mut packed = Vec::with_capacity(plain.len() + 64);
        let begun = self.0.total_in();
        loop {
            let taken = usize::try_from(self.0.total_in() - begun).map_err(|_| Error::Headers)?;
            let rest = plain.get(taken..).ok_or(Error::Headers)?;
            self.0.compress_vec(rest, &mut packed, FlushCompress::Sync).map_err(|_| Error::Headers)?;
            if packed.len() < packed.capacity() {
                return Ok(packed);
            }
            packed.reserve(ROOM);
        }
    }
}
