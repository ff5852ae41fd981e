//! The wire format: tags, variable-length integers, lengths.

use crate::{Error, Result};

/// A field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Reads the fields of one message.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

pub(super) fn broken(what: &str) -> Error {
    Error::Decode(format!("protobuf: {what}"))
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let Some((byte, rest)) = self.rest.split_first() else { return Err(broken("unexpected EOF")) };
            self.rest = rest;
            if shift == 63 && *byte > 1 {
                return Err(broken("integer overflow"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken("integer overflow"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if count > self.rest.len() {
            return Err(broken("unexpected EOF"));
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    /// The next field; None at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Scalar<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(broken("illegal tag 0"));
        }
        let scalar = match tag & 7 {
            0 => Scalar::Varint(self.varint()?),
            1 => Scalar::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default())),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| broken("unexpected EOF"))?;
                Scalar::Bytes(self.take(length)?)
            }
            5 => Scalar::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default())),
            other => return Err(broken(&format!("illegal wireType {other}"))),
        };
        Ok(Some((number, scalar)))
    }

    /// Whether all has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_tag(out: &mut Vec<u8>, number: u16, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

pub(super) fn put_integer(out: &mut Vec<u8>, number: u16, value: u64) {
    put_tag(out, number, 0);
    put_varint(out, value);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u16, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Begins a message of unknown length as a field, and gives the place of its length for [`close`].
pub(super) fn open(out: &mut Vec<u8>, number: u16) -> usize {
    put_tag(out, number, 2);
    out.push(0);
    out.len() - 1
}

/// Ends a message: its length is written where it belongs, and what follows moves if that takes more than a byte.
pub(super) fn close(out: &mut Vec<u8>, mark: usize) {
    let length = out.len() - mark - 1;
    if length < 0x80 {
        out[mark] = length as u8;
        return;
    }
    let more = varint_len(length as u64) - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(mark + 1..mark + 1 + length, mark + 1 + more);
    let mut rest = length;
    for place in &mut out[mark..mark + more] {
        *place = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    out[mark + more] = rest as u8;
}

/// Bytes of a variable-length integer.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
