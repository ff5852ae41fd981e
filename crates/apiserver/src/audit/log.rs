//! The audit log as a file: a line of JSON per event, a new file when one is full.
//!
//! Invariant: lines are written by one thread; a request never waits for the disk. Answers to upstream's audit log
//! backend and lumberjack.

use super::Sink;
use bytes::Bytes;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Events that wait for the disk; further ones are dropped and counted.
pub const QUEUE: usize = 10_000;
/// Megabytes of a file if none are named; lumberjack's figure.
const MEGABYTES: u64 = 100;

/// How files are kept.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// Megabytes after which a new file begins; 0: 100.
    pub max_size_megabytes: u64,
    /// Days after which old files go; 0: never.
    pub max_age_days: u32,
    /// Old files that stay; 0: all.
    pub max_backups: usize,
}

/// The log.
pub struct Log {
    lines: SyncSender<Bytes>,
    dropped: Counter,
}

impl Log {
    /// Opens a log; `-` is standard output.
    ///
    /// # Errors
    /// If the file cannot be written, or no thread can be made.
    pub fn open(path: &Path, rotation: Rotation) -> std::io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        let mut output = if path == Path::new("-") { None } else { Some(Output::open(path, rotation)?) };
        let dropped = Counter::default();
        let lost = dropped.clone();
        let write = move || write(&queue, output.as_mut(), &lost);
        std::thread::Builder::new().name("audit".into()).spawn(write)?;
        Ok(Self { lines, dropped })
    }
}

impl Sink for Log {
    fn event(&self, line: &Bytes) {
        if self.lines.try_send(line.clone()).is_err() {
            let dropped = self.dropped.inc() + 1;
            if dropped.is_power_of_two() {
                tracing::error!(dropped, "the disk of the audit log is too slow: events are dropped");
            }
        }
    }

    fn lost(&self) -> Option<(&'static str, Counter)> {
        Some(("log", self.dropped.clone()))
    }
}

fn write(queue: &Receiver<Bytes>, mut output: Option<&mut Output>, lost: &Counter) {
    while let Ok(line) = queue.recv() {
        let written = match &mut output {
            Some(output) => output.line(&line),
            None => {
                let mut out = std::io::stdout().lock();
                out.write_all(&line).and_then(|()| out.write_all(b"\n"))
            }
        };
        if let Err(error) = written {
            lost.inc();
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

struct Output {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    size: u64,
}

fn open(path: &Path) -> std::io::Result<(File, u64)> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

impl Output {
    fn open(path: &Path, rotation: Rotation) -> std::io::Result<Self> {
        let (file, size) = open(path)?;
        let mut output = Self { path: path.to_owned(), rotation, file, size };
        output.clean(Timestamp::now());
        Ok(output)
    }

    fn line(&mut self, line: &[u8]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let megabytes =
            if self.rotation.max_size_megabytes == 0 { MEGABYTES } else { self.rotation.max_size_megabytes };
        let length = bytes.len() as u64;
        if self.size > 0 && self.size + length > megabytes << 20 {
            self.rotate(Timestamp::now())?;
        }
        self.file.write_all(&bytes)?;
        self.size += length;
        Ok(())
    }

    /// Names of old files begin and end with these.
    fn affixes(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = self.path.extension().map(|text| format!(".{}", text.to_string_lossy()));
        (format!("{stem}-"), extension.unwrap_or_default())
    }

    fn rotate(&mut self, now: Timestamp) -> std::io::Result<()> {
        let (before, after) = self.affixes();
        let name = format!("{before}{}{after}", now.strftime("%Y-%m-%dT%H-%M-%S.%3f"));
        fs::rename(&self.path, self.path.with_file_name(name))?;
        (self.file, self.size) = open(&self.path)?;
        self.clean(now);
        Ok(())
    }

    /// Removes old files that are too many or too old; one that cannot be removed stays.
    fn clean(&mut self, now: Timestamp) {
        let (before, after) = self.affixes();
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(entries) = fs::read_dir(folder) else { return };
        let mut old: Vec<(String, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let stamp = name.strip_prefix(&before)?.strip_suffix(&after)?.to_owned();
                // Twenty-three characters: a day and a time to the millisecond.
                (stamp.len() == 23 && stamp.as_bytes()[10] == b'T').then(|| (stamp, entry.path()))
            })
            .collect();
        old.sort_by(|one, other| other.0.cmp(&one.0));
        let age = Duration::from_secs(u64::from(self.rotation.max_age_days) * 86_400);
        let oldest = (now - age).strftime("%Y-%m-%dT%H-%M-%S.%3f").to_string();
        for (index, (stamp, path)) in old.iter().enumerate() {
            let many = self.rotation.max_backups > 0 && index >= self.rotation.max_backups;
            let aged = self.rotation.max_age_days > 0 && *stamp < oldest;
            if (many || aged)
                && let Err(error) = fs::remove_file(path)
            {
                tracing::warn!(%error, path = %path.display(), "an old audit log cannot be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/audit.log");
        let rotation = Rotation { max_size_megabytes: 1, max_age_days: 2, max_backups: 2 };
        let mut output = Output::open(&path, rotation).unwrap();
        let line = vec![b'x'; 600 << 10];
        let names = || {
            let mut names: Vec<String> = fs::read_dir(path.parent().unwrap())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        output.line(&line).unwrap();
        assert_eq!(names(), ["audit.log"]);
        output.line(&line).unwrap();
        assert_eq!(names().len(), 2, "{:?}", names());
        for old in ["audit-2001-01-01T00-00-00.000.log", "audit-other.log"] {
            fs::write(path.with_file_name(old), "").unwrap();
        }
        let base = Timestamp::now();
        for seconds in 1..5 {
            output.rotate(base + Duration::from_secs(seconds)).unwrap();
        }
        let left = names();
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(left.contains(&"audit-other.log".to_owned()));
        assert!(!left.iter().any(|name| name.contains("2001")));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
