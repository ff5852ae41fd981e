//! The one process that serves a data directory: its lock, its number, its end.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

const LOCK: &str = "gifee.lock";
const IDENTITY: &str = "identity";

/// Held by the process that serves a data directory, for as long as it lives.
pub struct Instance {
    _lock: Flock<File>,
}

impl Instance {
    /// Takes the lock of a data directory and writes this process's number into it.
    ///
    /// # Errors
    /// If another process has it.
    pub fn take(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(LOCK);
        let file = open(&path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)?;
                lock.rewind()?;
                write!(&mut *lock, "{}", std::process::id())?;
                lock.sync_all()?;
                Ok(Self { _lock: lock })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let pid =
                    number(&mut file).map_or("another process".to_owned(), |pid| format!("process {pid}"));
                bail!("{} is served by {pid} already", data_dir.display())
            }
            Err((_, errno)) => Err(errno).with_context(|| format!("locking {}", path.display())),
        }
    }

    /// The name under which whoever serves a data directory stands for election: unique among all, and the same again
    /// after a restart, so that nobody waits for the lease of who they were themselves.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn identity(&self, data_dir: &Path, host: &str) -> Result<String> {
        let path = data_dir.join(IDENTITY);
        match fs::read_to_string(&path) {
            Ok(kept) if !kept.trim().is_empty() => return Ok(kept.trim().to_owned()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
            _ => {}
        }
        let identity = format!("{host}_{}", uuid::Uuid::new_v4());
        let new = path.with_extension("new");
        fs::write(&new, &identity)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(identity)
    }

    /// The process that serves a data directory now, if one does.
    ///
    /// # Errors
    /// If the lock cannot be looked at.
    pub fn running(data_dir: &Path) -> Result<Option<Pid>> {
        let path = data_dir.join(LOCK);
        if !path.exists() {
            return Ok(None);
        }
        match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(_) => Ok(None),
            Err((mut file, Errno::EWOULDBLOCK)) => Ok(number(&mut file)),
            Err((_, errno)) => Err(errno).with_context(|| format!("locking {}", path.display())),
        }
    }

    /// Ends the process that serves a data directory and waits until it has ended: asked first, killed after `grace`.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn end(data_dir: &Path, grace: Duration) -> Result<bool> {
        let Some(pid) = Self::running(data_dir)? else { return Ok(false) };
        let raw = rustix::process::Pid::from_raw(pid.as_raw()).context("process number 0")?;
        let Ok(handle) = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) else {
            return Ok(false);
        };
        for (signal, seconds) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, Duration::from_secs(10))] {
            match kill(pid, signal) {
                Ok(()) => {}
                Err(Errno::ESRCH) => return Ok(true),
                Err(errno) => return Err(errno).with_context(|| format!("ending process {pid}")),
            }
            let timeout = Timespec::try_from(seconds)?;
            let mut poll = [PollFd::new(&handle, PollFlags::IN)];
            if rustix::event::poll(&mut poll, Some(&timeout))? > 0 {
                return Ok(true);
            }
        }
        bail!("process {pid} does not end, not even when killed")
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).with_context(|| format!("opening {}", path.display()))
}

fn number(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Instance::running(folder.path()).unwrap(), None);
        let held = Instance::take(folder.path()).unwrap();
        let own = Pid::from_raw(std::process::id().cast_signed());
        assert_eq!(Instance::running(folder.path()).unwrap(), Some(own));
        assert!(Instance::take(folder.path()).err().unwrap().to_string().contains("already"));
        let identity = held.identity(folder.path(), "host").unwrap();
        assert!(identity.starts_with("host_"), "{identity}");
        drop(held);
        assert_eq!(Instance::running(folder.path()).unwrap(), None);
        let next = Instance::take(folder.path()).unwrap();
        assert_eq!(next.identity(folder.path(), "another").unwrap(), identity);
        drop(next);
        assert!(!Instance::end(folder.path(), Duration::from_secs(1)).unwrap());
    }
}
