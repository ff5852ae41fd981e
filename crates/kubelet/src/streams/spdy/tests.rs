//! Frames, headers and connections: what goes out comes in again, cut anywhere; and no bytes do harm.

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::connection::{self, Arrival};
use super::frame::{self, Decoder, Encoder, Event};
use super::headers::{BLOCK, DICTIONARY, Packer, Unpacker};
use super::*;
use crate::streams::CHUNK;

#[test]
fn the_dictionary_is_that_of_the_protocol() {
    // The checksum that every SPDY/3 stream of headers begins with.
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in DICTIONARY.iter() {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    assert_eq!((DICTIONARY.len(), high << 16 | low), (1423, 0xe3c6_a7c2));
}

#[test]
fn blocks_are_one_stream() {
    let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
    let mut check = |headers: &[(&str, &str)]| {
        let packed = packer.pack(headers).unwrap();
        let expect: Vec<_> = headers.iter().map(|(n, v)| (n.to_lowercase(), (*v).to_owned())).collect();
        assert_eq!(unpacker.unpack(&packed), Ok(expect));
        packed.len()
    };
    let first = check(&[("streamType", "error"), ("port", "8080"), ("requestID", "0")]);
    let again = check(&[("streamType", "error"), ("port", "8080"), ("requestID", "1")]);
    assert!(again < first, "what was said before is said in short: {first} and {again} bytes");
    check(&[]);
    let long = "x".repeat(BLOCK - 100);
    check(&[("long", &long)]);
}

#[test]
fn a_block_has_bounds() {
    let unpack = |headers: &[(&str, &str)]| {
        let packed = Packer::default().pack(headers).unwrap();
        Unpacker::default().unpack(&packed)
    };
    assert_eq!(unpack(&[("bomb", &"0".repeat(BLOCK + 1))]), Err(Error::Headers));
    assert_eq!(Unpacker::default().unpack(&[]), Err(Error::Headers));
    assert_eq!(Unpacker::default().unpack(b"nothing of the kind"), Err(Error::Headers));
    let packed = Packer::default().pack(&[("a", "b")]).unwrap();
    assert_eq!(Unpacker::default().unpack(&packed[..packed.len() / 2]), Err(Error::Headers));
}

fn decode(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Event>, Error> {
    let mut decoder = Decoder::default();
    let mut events: Vec<Event> = Vec::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
        decoder.buffer.extend_from_slice(piece);
        rest = after;
        while let Some(event) = decoder.event()? {
            // Where data is cut says nothing.
            match (events.last_mut(), event) {
                (Some(Event::Data(before, all)), Event::Data(stream, more)) if *before == stream => {
                    *all = [all.as_ref(), &more].concat().into();
                }
                (_, event) => events.push(event),
            }
        }
    }
    Ok(events)
}

/// Some of everything, as a client would send it.
fn conversation() -> (Vec<u8>, Vec<Event>) {
    let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
    encoder.open(1, &[("streamtype", "stdin")], false, &mut bytes).unwrap();
    encoder.reply(2, &mut bytes).unwrap();
    frame::data(1, false, 5, &mut bytes);
    bytes.extend_from_slice(b"hello");
    // Settings, which say nothing here, and an empty frame.
    bytes.extend_from_slice(&[0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0]);
    frame::data(1, false, 0, &mut bytes);
    frame::ping(7, &mut bytes);
    frame::data(1, true, 3, &mut bytes);
    bytes.extend_from_slice(b"end");
    encoder.open(3, &[("streamtype", "error"), ("port", "80")], true, &mut bytes).unwrap();
    frame::refuse(3, &mut bytes);
    frame::away(3, &mut bytes);
    let headers = |all: &[(&str, &str)]| all.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    let events = vec![
        Event::Open { stream: 1, end: false, headers: headers(&[("streamtype", "stdin")]) },
        Event::Reply(2),
        Event::Data(1, Bytes::from_static(b"hello")),
        Event::Ping(7),
        Event::Data(1, Bytes::from_static(b"end")),
        Event::End(1),
        Event::Open { stream: 3, end: true, headers: headers(&[("streamtype", "error"), ("port", "80")]) },
        Event::Reset(3),
        Event::Away,
    ];
    (bytes, events)
}

#[test]
fn who_does_not_speak_it_is_told_apart() {
    assert_eq!(decode(&[0x80, 2, 0, 1, 0, 0, 0, 0], &[]), Err(Error::Version(2)));
    assert_eq!(decode(&[0x80, 3, 0, 1, 0, 1, 0, 0], &[]), Err(Error::Length { kind: 1, length: 1 << 16 }));
    assert_eq!(decode(&[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0], &[]), Err(Error::Length { kind: 6, length: 2 }));
}

proptest! {
    #[test]
    fn frames_come_in_however_they_are_cut(cuts in prop::collection::vec(1_usize..40, 0..60)) {
        let (bytes, events) = conversation();
        prop_assert_eq!(decode(&bytes, &cuts), Ok(events));
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(1_usize..50, 0..20)) {
        drop(decode(&bytes, &cuts));
        drop(Unpacker::default().unpack(&bytes));
    }

    #[test]
    fn no_change_of_frames_does_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let (mut bytes, _) = conversation();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        drop(decode(&bytes, &[]));
    }
}

/// A client: writes frames, and reads events.
struct Peer {
    io: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
}

impl Peer {
    fn new(io: DuplexStream) -> Peer {
        Peer { io, encoder: Encoder::default(), decoder: Decoder::default() }
    }

    async fn open(&mut self, stream: u32, headers: &[(&str, &str)], end: bool) {
        let mut bytes = Vec::new();
        self.encoder.open(stream, headers, end, &mut bytes).unwrap();
        self.io.write_all(&bytes).await.unwrap();
    }

    async fn data(&mut self, stream: u32, data: &[u8], end: bool) {
        let mut bytes = Vec::new();
        frame::data(stream, end, data.len(), &mut bytes);
        bytes.extend_from_slice(data);
        self.io.write_all(&bytes).await.unwrap();
    }

    /// The next event; `None` when the other side has closed.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.decoder.event().unwrap() {
                return Some(event);
            }
            self.decoder.buffer.reserve(CHUNK);
            if self.io.read_buf(&mut self.decoder.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// All events to the end; data in one piece for each stream.
    async fn rest(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        while let Some(event) = self.event().await {
            if let Event::Data(stream, more) = &event
                && let Some(Event::Data(_, all)) =
                    events.iter_mut().find(|one| matches!(one, Event::Data(s, _) if s == stream))
            {
                *all = [all.as_ref(), more].concat().into();
                continue;
            }
            events.push(event);
        }
        events
    }
}

/// Gives back on each stream what comes on it, and ends with the first one.
async fn echo(mut arrivals: tokio::sync::mpsc::Receiver<Arrival>) {
    let Some(mut arrival) = arrivals.recv().await else { return };
    while let Ok(Some(bytes)) = arrival.input.next().await {
        arrival.output.send(bytes).await;
    }
    arrival.output.end().await;
}

#[tokio::test]
async fn a_connection_carries_streams_and_says_farewell() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let serving = tokio::spawn(connection::serve(far, echo));
    let mut peer = Peer::new(near);
    // Numbers that are even, or go back, are not a client's.
    peer.open(3, &[("a", "b")], false).await;
    peer.open(2, &[], false).await;
    peer.open(1, &[], false).await;
    let mut question = Vec::new();
    frame::ping(5, &mut question);
    peer.io.write_all(&question).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(peer.event().await.unwrap());
    }
    assert_eq!(seen, [Event::Reply(3), Event::Reset(2), Event::Reset(1), Event::Ping(5)]);
    peer.data(3, b"one ", false).await;
    peer.data(3, b"two", true).await;
    // What comes after the work has ended is taken, so that nothing is cut off.
    let rest = peer.rest().await;
    let data = Event::Data(3, Bytes::from_static(b"one two"));
    assert_eq!(rest, [data, Event::End(3), Event::Away]);
    drop(peer);
    serving.await.unwrap();
}

#[tokio::test]
async fn much_goes_through_and_what_is_late_is_dropped() {
    let (near, far) = tokio::io::duplex(8 << 10);
    let serving = tokio::spawn(connection::serve(far, |mut arrivals| async move {
        let Some(arrival) = arrivals.recv().await else { return };
        // It listens to nothing, and says a lot.
        let text = vec![b'x'; 5 << 20];
        arrival.output.copy(&text[..]).await;
    }));
    let mut peer = Peer::new(near);
    peer.open(1, &[], false).await;
    let (mut reader, mut writer) = tokio::io::split(peer.io);
    let talking = tokio::spawn(async move {
        let mut bytes = Vec::new();
        frame::data(1, false, 1000, &mut bytes);
        bytes.resize(bytes.len() + 1000, b'y');
        while writer.write_all(&bytes).await.is_ok() {}
    });
    let (mut decoder, mut size, mut away) = (Decoder::default(), 0, false);
    while reader.read_buf(&mut decoder.buffer).await.unwrap() > 0 {
        while let Some(event) = decoder.event().unwrap() {
            match event {
                Event::Data(1, bytes) => size += bytes.len(),
                other => away |= other == Event::Away,
            }
        }
        decoder.buffer.reserve(CHUNK);
    }
    assert_eq!((size, away), (5 << 20, true));
    talking.abort();
    let _ = talking.await;
    drop(reader);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_reset_is_broken() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let (told, hears) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn(connection::serve(far, |mut arrivals| async move {
        let mut arrival = arrivals.recv().await.unwrap();
        let _ = told.send(arrival.input.next().await);
        std::future::pending().await
    }));
    let mut peer = Peer::new(near);
    peer.open(1, &[], false).await;
    let mut bytes = Vec::new();
    frame::refuse(1, &mut bytes);
    peer.io.write_all(&bytes).await.unwrap();
    assert_eq!(hears.await.unwrap(), Err(crate::streams::Broken));
    // The work ends with its peer.
    drop(peer);
    serving.await.unwrap();
}
