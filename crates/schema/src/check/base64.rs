//! Base64 as Go reads it: line breaks are skipped, errors say at which byte.

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

/// None if the text is what Go would write again; else that text. The error is the offset of the first bad byte.
pub(super) fn canonical(text: &str) -> Result<Option<String>, usize> {
    if is_canonical(text.as_bytes()) {
        return Ok(None);
    }
    decode(text.as_bytes()).map(|bytes| Some(STANDARD.encode(bytes)))
}

fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

fn is_canonical(text: &[u8]) -> bool {
    if !text.len().is_multiple_of(4) {
        return false;
    }
    let Some((body, last)) = text.split_last_chunk::<4>() else { return true };
    let all = |bytes: &[u8]| bytes.iter().all(|byte| digit(*byte).is_some());
    let spare = |byte: u8, bits: u8| digit(byte).is_some_and(|value| value & bits == 0);
    all(body)
        && match last {
            [a, b, b'=', b'='] => all(&[*a]) && spare(*b, 15),
            [a, b, c, b'='] => all(&[*a, *b]) && spare(*c, 3),
            last => all(last),
        }
}

fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut at = 0;
    let skip = |at: &mut usize| {
        while let Some(b'\n' | b'\r') = text.get(*at) {
            *at += 1;
        }
    };
    loop {
        let mut group = [0; 4];
        let mut count = 0;
        while count < 4 {
            skip(&mut at);
            let Some(byte) = text.get(at) else {
                return if count == 0 { Ok(out) } else { Err(at - count) };
            };
            at += 1;
            if let Some(value) = digit(*byte) {
                group[count] = value;
                count += 1;
                continue;
            }
            if *byte != b'=' || count < 2 {
                return Err(at - 1);
            }
            if count == 2 {
                skip(&mut at);
                match text.get(at) {
                    None => return Err(text.len()),
                    Some(b'=') => at += 1,
                    Some(_) => return Err(at - 1),
                }
            }
            skip(&mut at);
            if at < text.len() {
                return Err(at);
            }
            push(&mut out, group, count);
            return Ok(out);
        }
        push(&mut out, group, 4);
    }
}

fn push(out: &mut Vec<u8>, group: [u8; 4], count: usize) {
    let bytes = [group[0] << 2 | group[1] >> 4, group[1] << 4 | group[2] >> 2, group[2] << 6 | group[3]];
    out.extend_from_slice(&bytes[..count - 1]);
}
