//! Frames.
//!
//! Invariant: data is given on as it comes, whatever length its frame announces; of other frames at most [`CONTROL`] bytes
//! are kept. Pure: bytes to events and back.

use bytes::{Buf, Bytes, BytesMut};

use super::Error;
use super::headers::{Headers, Packer, Unpacker};
use crate::streams::CHUNK;

/// Bytes of a control frame without its head.
pub const CONTROL: usize = 16 << 10;
const HEAD: usize = 8;
const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// The flag of a last frame of a stream.
const FIN: u8 = 1;
/// `RST_STREAM`: the stream was not taken on.
const REFUSED_STREAM: u32 = 3;

/// What a frame, or a part of one, means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new stream.
    Open {
        /// Its number.
        stream: u32,
        /// Whether its opener will send nothing on it.
        end: bool,
        /// What it is for.
        headers: Headers,
    },
    /// The other side has taken a stream on.
    Reply(u32),
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// There are no more of a stream.
    End(u32),
    /// A stream is broken off.
    Reset(u32),
    /// A question whether this side lives, or the answer to one.
    Ping(u32),
    /// The other side takes no new streams.
    Away,
}

/// Bytes to events.
#[derive(Default)]
pub struct Decoder {
    /// What was read and is not yet understood. Whoever reads appends here.
    pub buffer: BytesMut,
    headers: Unpacker,
    /// Of the data frame that is coming: stream, whether it is the last one, bytes that are still missing.
    data: Option<(u32, bool, usize)>,
    /// Bytes of a frame that says nothing here.
    skip: usize,
}

impl Decoder {
    /// The next event; `None` if bytes are missing.
    ///
    /// # Errors
    /// When the other side speaks no SPDY.
    pub fn event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if self.skip > 0 {
                let size = self.skip.min(self.buffer.len());
                self.buffer.advance(size);
                self.skip -= size;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            if let Some((stream, end, left)) = self.data.take() {
                if left == 0 {
                    return Ok(Some(Event::End(stream)));
                }
                let size = left.min(self.buffer.len()).min(CHUNK);
                if size < left || end {
                    self.data = Some((stream, end, left - size));
                }
                if size == 0 {
                    return Ok(None);
                }
                return Ok(Some(Event::Data(stream, self.buffer.split_to(size).freeze())));
            }
            let Some(head) = self.buffer.first_chunk::<HEAD>().copied() else { return Ok(None) };
            let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let flags = head[4];
            let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
            if first >> 31 == 0 {
                self.buffer.advance(HEAD);
                // An empty frame that is not the last one says nothing.
                if length > 0 || flags & FIN != 0 {
                    self.data = Some((first, flags & FIN != 0, length));
                }
                continue;
            }
            let kind = u16::from_be_bytes([head[2], head[3]]);
            let version = u16::from_be_bytes([head[0] & 0x7f, head[1]]);
            if version != VERSION {
                return Err(Error::Version(version));
            }
            if !matches!(kind, SYN_STREAM | SYN_REPLY | RST_STREAM | PING | GOAWAY | HEADERS) {
                self.buffer.advance(HEAD);
                self.skip = length;
                continue;
            }
            if length > CONTROL {
                return Err(Error::Length { kind, length });
            }
            if self.buffer.len() < HEAD + length {
                return Ok(None);
            }
            self.buffer.advance(HEAD);
            let body = self.buffer.split_to(length);
            if let Some(event) = self.control(kind, flags, &body)? {
                return Ok(Some(event));
            }
        }
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Option<Event>, Error> {
        let bad = Error::Length { kind, length: body.len() };
        let Some((number, rest)) = body.split_first_chunk::<4>() else { return Err(bad) };
        let number = u32::from_be_bytes(*number);
        let stream = number & 0x7fff_ffff;
        Ok(match kind {
            SYN_STREAM => {
                // Associated stream, priority and slot do not matter here.
                let block = rest.get(6..).ok_or(bad)?;
                let headers = self.headers.unpack(block)?;
                Some(Event::Open { stream, end: flags & FIN != 0, headers })
            }
            SYN_REPLY => {
                self.headers.unpack(rest)?;
                Some(Event::Reply(stream))
            }
            HEADERS => {
                self.headers.unpack(rest)?;
                None
            }
            RST_STREAM => Some(Event::Reset(stream)),
            PING => Some(Event::Ping(number)),
            _ => Some(Event::Away),
        })
    }
}

/// Events to bytes.
#[derive(Default)]
pub struct Encoder {
    headers: Packer,
}

impl Encoder {
    /// Opens a stream.
    ///
    /// # Errors
    /// If its headers cannot be packed.
    pub fn open(
        &mut self,
        stream: u32,
        headers: &[(&str, &str)],
        end: bool,
        into: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let block = self.headers.pack(headers)?;
        control(SYN_STREAM, u8::from(end), block.len() + 10, into);
        into.extend_from_slice(&stream.to_be_bytes());
        into.extend_from_slice(&[0; 6]);
        into.extend_from_slice(&block);
        Ok(())
    }

    /// Takes a stream on.
    ///
    /// # Errors
    /// If its headers cannot be packed.
    pub fn reply(&mut self, stream: u32, into: &mut Vec<u8>) -> Result<(), Error> {
        let block = self.headers.pack(&[])?;
        control(SYN_REPLY, 0, block.len() + 4, into);
        into.extend_from_slice(&stream.to_be_bytes());
        into.extend_from_slice(&block);
        Ok(())
    }
}

/// The head of a data frame; `length` is at most [`CHUNK`].
pub fn data(stream: u32, end: bool, length: usize, into: &mut Vec<u8>) {
    into.extend_from_slice(&(stream & 0x7fff_ffff).to_be_bytes());
    head(u8::from(end), length, into);
}

/// Refuses a stream.
pub fn refuse(stream: u32, into: &mut Vec<u8>) {
    control(RST_STREAM, 0, 8, into);
    into.extend_from_slice(&stream.to_be_bytes());
    into.extend_from_slice(&REFUSED_STREAM.to_be_bytes());
}

/// A question, or the answer to one.
pub fn ping(number: u32, into: &mut Vec<u8>) {
    control(PING, 0, 4, into);
    into.extend_from_slice(&number.to_be_bytes());
}

/// Says that no new stream is taken on after this one.
pub fn away(last: u32, into: &mut Vec<u8>) {
    control(GOAWAY, 0, 8, into);
    into.extend_from_slice(&last.to_be_bytes());
    into.extend_from_slice(&[0; 4]);
}

fn control(kind: u16, flags: u8, length: usize, into: &mut Vec<u8>) {
    into.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    into.extend_from_slice(&kind.to_be_bytes());
    head(flags, length, into);
}

fn head(flags: u8, length: usize, into: &mut Vec<u8>) {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    into.extend_from_slice(&[flags, length[1], length[2], length[3]]);
}
