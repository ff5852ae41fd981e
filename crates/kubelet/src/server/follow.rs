//! Reads a log file in CRI's format, from where was asked for, and goes on as it grows.
//!
//! Invariant: every line is sent once, also over a rotation; nothing is asked again and again: the kernel tells of
//! growth and the runtime of the end.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use gifee_base::clock::parse_time;
use gifee_oci::Runtime;
use gifee_oci::status::{ContainerState, EventKind};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::{broadcast, mpsc};

use super::inotify::Listener;
use super::logs::Options;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Bytes that are sent together.
const PIECE: usize = 32 * 1024;

/// One request's way through a log.
pub(super) struct Reader {
    path: PathBuf,
    options: Options,
    sender: mpsc::Sender<Bytes>,
    left: u64,
    piece: Vec<u8>,
}

/// How reading ended.
#[derive(PartialEq, Eq)]
enum Step {
    /// At the end of what is there.
    End,
    /// Enough was sent, or nobody listens.
    Enough,
}

/// Opens a log. Whoever may write to the folder of logs cannot have another file read, or a pipe waited for.
async fn open(path: &std::path::Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    tokio::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).await
}

impl Reader {
    pub(super) fn new(path: PathBuf, options: Options, sender: mpsc::Sender<Bytes>) -> Reader {
        let left = options.limit.unwrap_or(u64::MAX);
        Reader { path, options, sender, left, piece: Vec::new() }
    }

    /// Sends all that was asked for.
    pub(super) async fn read(mut self, runtime: Arc<dyn Runtime>, id: &str) -> std::io::Result<()> {
        // Listened to before anything is read, so that nothing falls in between.
        let mut events = runtime.events();
        let folder = self.path.parent().map(PathBuf::from).unwrap_or_default();
        let listener = if self.options.follow { Listener::new(&folder).ok() } else { None };
        let mut ended = has_ended(runtime.as_ref(), id).await;
        let mut file = match open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let start = self.start(&mut file).await?;
        file.seek(SeekFrom::Start(start)).await?;
        let mut reader = BufReader::with_capacity(CHUNK, file);
        let mut line = Vec::new();
        loop {
            if self.lines(&mut reader, &mut line).await? == Step::Enough {
                return Ok(());
            }
            let Some(listener) = listener.as_ref() else { return Ok(()) };
            if let Some(next) = self.rotated(&reader).await? {
                // What was written to the old file before it was moved away is in it for good.
                if self.lines(&mut reader, &mut line).await? == Step::Enough {
                    return Ok(());
                }
                reader = BufReader::with_capacity(CHUNK, next);
                line.clear();
                continue;
            }
            if ended {
                return Ok(());
            }
            tokio::select! {
                changed = listener.changed() => changed?,
                end = end_of(&mut events, id) => {
                    if end == Ended::Missed && !has_ended(runtime.as_ref(), id).await {
                        continue;
                    }
                    ended = true;
                }
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    /// Where to begin for the last lines that are asked for.
    async fn start(&self, file: &mut File) -> std::io::Result<u64> {
        let Some(tail) = self.options.tail else { return Ok(0) };
        let length = file.metadata().await?.len();
        if tail == 0 {
            return Ok(length);
        }
        let (mut end, mut seen) = (length, 0);
        let mut chunk = vec![0; CHUNK];
        while end > 0 {
            let begin = end.saturating_sub(CHUNK as u64);
            let size = usize::try_from(end - begin).unwrap_or(CHUNK);
            file.seek(SeekFrom::Start(begin)).await?;
            file.read_exact(&mut chunk[..size]).await?;
            for at in (0..size).rev() {
                let position = begin + at as u64;
                // The newline that ends the last line does not begin one.
                if chunk[at] == b'\n' && position + 1 < length {
                    seen += 1;
                    if seen == tail {
                        return Ok(position + 1);
                    }
                }
            }
            end = begin;
        }
        Ok(0)
    }

    /// Sends lines up to the end of the file; `line` keeps what is not yet a whole one.
    async fn lines(&mut self, reader: &mut BufReader<File>, line: &mut Vec<u8>) -> std::io::Result<Step> {
        loop {
            let read = reader.read_until(b'\n', line).await?;
            if read == 0 || line.last() != Some(&b'\n') {
                return Ok(if self.flush().await { Step::End } else { Step::Enough });
            }
            self.take(line);
            line.clear();
            let enough = self.left == 0;
            if (self.piece.len() >= PIECE || enough) && !self.flush().await {
                return Ok(Step::Enough);
            }
            if enough {
                return Ok(Step::Enough);
            }
        }
    }

    /// Adds a line to what is sent next: `2026-01-01T00:00:00.0Z stdout F text`.
    fn take(&mut self, line: &[u8]) {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(stream), Some(tag), Some(text)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        if self.options.stream.is_some_and(|wanted| stream != wanted.as_bytes()) {
            return;
        }
        if let Some(since) = self.options.since {
            let time = std::str::from_utf8(time).ok().and_then(parse_time);
            if time.is_none_or(|time| time < since) {
                return;
            }
        }
        let before = self.piece.len();
        if self.options.timestamps {
            self.piece.extend_from_slice(time);
            self.piece.push(b' ');
        }
        // The newline of a partial line is the log's, not the container's.
        let partial = tag.starts_with(b"P");
        self.piece.extend_from_slice(if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text });
        let added = (self.piece.len() - before) as u64;
        if added > self.left {
            let kept = before + usize::try_from(self.left).unwrap_or(usize::MAX);
            self.piece.truncate(kept);
        }
        self.left = self.left.saturating_sub(added);
    }

    async fn flush(&mut self) -> bool {
        if self.piece.is_empty() {
            return !self.sender.is_closed();
        }
        self.sender.send(Bytes::from(std::mem::take(&mut self.piece))).await.is_ok()
    }

    /// The new file, if the one that is read was moved away.
    async fn rotated(&self, reader: &BufReader<File>) -> std::io::Result<Option<File>> {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let Ok(now) = tokio::fs::metadata(&self.path).await else { return Ok(None) };
        if identity(now) == identity(reader.get_ref().metadata().await?) {
            return Ok(None);
        }
        open(&self.path).await.map(Some)
    }
}

async fn has_ended(runtime: &dyn Runtime, id: &str) -> bool {
    runtime.container(id).await.map_or(true, |status| status.state == ContainerState::Exited)
}

#[derive(PartialEq, Eq)]
enum Ended {
    Yes,
    Missed,
}

/// Waits until a container ends, or events were missed.
async fn end_of(events: &mut broadcast::Receiver<gifee_oci::status::Event>, id: &str) -> Ended {
    loop {
        match events.recv().await {
            Ok(event) if event.container == id => {
                if matches!(event.kind, EventKind::Exited(_) | EventKind::Removed) {
                    return Ended::Yes;
                }
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return Ended::Missed,
            Err(broadcast::error::RecvError::Closed) => return Ended::Yes,
        }
    }
}
