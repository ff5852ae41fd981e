//! Log files of containers in CRI's format.
//!
//! Invariant: every line of the file is `TIME STREAM TAG TEXT`, with the tag `F` for the last part of a line and `P`
//! for what goes on in the next; a part is at most [`PART_BYTES`] long. Answers to containerd's log pipe and to the
//! kubelet's rotation.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::start::open_log;
use crate::error::Result;
use crate::spec::LogRotation;

/// Longest part of a line.
pub(crate) const PART_BYTES: usize = 16 << 10;

/// An output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// What a stream has written of a line that is not complete.
#[derive(Debug, Default)]
pub(crate) struct Tail(Vec<u8>);

/// A log file.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    rotation: LogRotation,
    file: File,
    bytes: u64,
    /// Lines are put together here and written at once; kept between calls, at most a read's worth.
    buffer: Vec<u8>,
}

impl Log {
    pub(crate) fn open(path: &Path, rotation: LogRotation) -> Result<Log> {
        let file = open_log(path)?;
        let bytes = file.metadata().map(|about| about.len()).unwrap_or(0);
        Ok(Log { path: path.to_owned(), rotation, file, bytes, buffer: Vec::new() })
    }

    /// Begins anew, after someone has moved the file away.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        *self = Log::open(&self.path, self.rotation)?;
        Ok(())
    }

    /// Adds what a stream has written; an incomplete line waits in `tail` for its end.
    pub(crate) fn write(&mut self, stream: Stream, tail: &mut Tail, mut text: &[u8], now: SystemTime) {
        let time = timestamp(now);
        let mut head = [0u8; 48];
        let head = head_of(&mut head, &time, stream);
        while !text.is_empty() {
            let room = PART_BYTES - tail.0.len();
            let window = &text[..text.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.line(head, b'F', &tail.0, &text[..end]);
                    tail.0.clear();
                    text = &text[end + 1..];
                }
                None if window.len() == room => {
                    self.line(head, b'P', &tail.0, window);
                    tail.0.clear();
                    text = &text[room..];
                }
                None => {
                    tail.0.extend_from_slice(text);
                    break;
                }
            }
        }
        self.flush(now);
    }

    /// Adds what is left of a stream that has ended: a line without an end, which whoever reads it does not add.
    pub(crate) fn end(&mut self, stream: Stream, tail: &mut Tail, now: SystemTime) {
        if !tail.0.is_empty() {
            let time = timestamp(now);
            self.line(head_of(&mut [0u8; 48], &time, stream), b'P', &tail.0, b"");
            self.flush(now);
        }
        *tail = Tail::default();
    }

    fn line(&mut self, head: &[u8], tag: u8, first: &[u8], rest: &[u8]) {
        self.buffer.extend_from_slice(head);
        self.buffer.extend_from_slice(&[tag, b' ']);
        self.buffer.extend_from_slice(first);
        self.buffer.extend_from_slice(rest);
        self.buffer.push(b'\n');
    }

    fn flush(&mut self, now: SystemTime) {
        // A full disk loses lines, not the container.
        if self.file.write_all(&self.buffer).is_ok() {
            self.bytes += self.buffer.len() as u64;
        }
        self.buffer.clear();
        self.buffer.shrink_to(PART_BYTES);
        if self.rotation.max_bytes > 0 && self.bytes >= self.rotation.max_bytes {
            self.rotate(now);
        }
    }

    /// Puts the file aside under its name and the time, as the kubelet does, and removes the oldest such files.
    fn rotate(&mut self, now: SystemTime) {
        let Some(name) = self.path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            return;
        };
        let digits: String = timestamp(now).chars().filter(char::is_ascii_digit).collect();
        let aside = self.path.with_file_name(format!("{name}.{}-{}", &digits[..8], &digits[8..]));
        if std::fs::rename(&self.path, aside).is_err() || self.reopen().is_err() {
            return;
        }
        let Some(Ok(entries)) = self.path.parent().map(std::fs::read_dir) else { return };
        let prefix = format!("{name}.");
        let mut old: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(|other| other.starts_with(&prefix)))
            .map(|entry| entry.path())
            .collect();
        old.sort_unstable();
        let keep = self.rotation.max_files.max(2) as usize - 1;
        for path in old.iter().take(old.len().saturating_sub(keep)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn head_of<'a>(space: &'a mut [u8; 48], time: &str, stream: Stream) -> &'a [u8] {
    let name = match stream {
        Stream::Stdout => " stdout ",
        Stream::Stderr => " stderr ",
    };
    let length = time.len() + name.len();
    space[..time.len()].copy_from_slice(time.as_bytes());
    space[time.len()..length].copy_from_slice(name.as_bytes());
    &space[..length]
}

/// `2016-10-06T00:17:09.669794202Z`.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days are counted from 0000-03-01 in years that begin in March: then the leap day is the last one.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times() {
        for (seconds, nanos, expect) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_475_713_029, 669_794_202, "2016-10-06T00:17:09.669794202Z"),
            (4_107_542_399, 999_999_999, "2100-02-28T23:59:59.999999999Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::new(seconds, nanos)), expect);
        }
    }

    #[test]
    fn lines_parts_and_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        let mut log = Log::open(&path, LogRotation::default()).expect("a log");
        let (mut out, mut err) = (Tail::default(), Tail::default());
        log.write(Stream::Stdout, &mut out, b"one\ntw", UNIX_EPOCH);
        log.write(Stream::Stderr, &mut err, b"bad\n", UNIX_EPOCH);
        log.write(Stream::Stdout, &mut out, b"o\n\nend", UNIX_EPOCH);
        log.end(Stream::Stdout, &mut out, UNIX_EPOCH);
        log.end(Stream::Stderr, &mut err, UNIX_EPOCH);
        let text =
            std::fs::read_to_string(&path).expect("readable").replace("1970-01-01T00:00:00.000000000Z", "T");
        assert_eq!(text, "T stdout F one\nT stderr F bad\nT stdout F two\nT stdout F \nT stdout P end\n");

        let long = vec![b'x'; 2 * PART_BYTES + 1];
        log.write(Stream::Stdout, &mut out, &long, UNIX_EPOCH);
        log.write(Stream::Stdout, &mut out, b"\n", UNIX_EPOCH);
        let text = std::fs::read_to_string(&path).expect("readable");
        let tags: Vec<_> = text.lines().skip(5).map(|line| (&line[38..39], line.len() - 40)).collect();
        assert_eq!(tags, [("P", PART_BYTES), ("P", PART_BYTES), ("F", 1)]);
    }

    #[test]
    fn rotation_keeps_so_many_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        let mut log = Log::open(&path, LogRotation { max_bytes: 100, max_files: 3 }).expect("a log");
        let mut tail = Tail::default();
        for second in 0..20 {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            log.write(Stream::Stdout, &mut tail, format!("line {second}\n").as_bytes(), now);
        }
        let mut files: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().collect();
        files.sort_by_key(|entry| entry.file_name());
        assert_eq!(files.len(), 3, "{files:?}");
        let all: String =
            files.iter().skip(1).map(|file| std::fs::read_to_string(file.path()).expect("text")).collect();
        assert!(all.contains("line 17\n") && !all.contains("line 1\n"), "{all}");
    }
}
