//! A WebSocket as a plain stream of bytes, for what has frames of its own.
//!
//! Answers to upstream's tunnel of SPDY through WebSockets.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::channels::{Socket, error};

/// The bytes of all messages, one after the other, in both directions.
pub(crate) fn bytes(socket: Socket) -> impl AsyncRead + AsyncWrite {
    let (sink, frames) = socket.split();
    let messages = frames.map_err(error).try_filter_map(async |message| {
        Ok(match message {
            Message::Binary(data) => Some(data),
            // Whatever else comes is the socket's own business; after its end, nothing comes.
            _ => None,
        })
    });
    let sink =
        sink.sink_map_err(error).with(async |bytes: Bytes| Ok::<_, std::io::Error>(Message::Binary(bytes)));
    let reader = StreamReader::new(Box::pin(messages));
    tokio::io::join(reader, SinkWriter::new(CopyToBytes::new(Box::pin(sink))))
}
