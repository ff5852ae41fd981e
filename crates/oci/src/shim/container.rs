//! A container as its holder sees it.
//!
//! Invariant: an exit is on disk before anybody is told of it, and the log is complete before the exit is on disk.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::{Pid, Signal, WaitStatus};

use super::identity::Identity;
use super::log::{Log, Stream};
use super::process::{EXIT_FILE, PROCESS_FILE, Process, START_FILE, Start, load, save};
use super::protocol::{Outcome, Report, receive};
use super::start::Streams;
use super::streams::{CHUNK_BYTES, Read, Sink, Source};
use crate::cgroups;
use crate::error::{Error, Result};
use crate::spec::PidMode;
use crate::status::Exit;

/// A container whose start was asked for.
pub(super) struct Container {
    pub id: String,
    folder: PathBuf,
    pub process: Process,
    /// The connection of the set-up process, while there is one.
    pub setup: Option<OwnedFd>,
    /// Who asked for the start.
    pub starter: u64,
    pub pid: Option<Pid>,
    started_at: Option<SystemTime>,
    pub identity: Identity,
    pub exit: Option<Exit>,
    pub sources: Vec<Source>,
    pub stdin: Option<Sink>,
    /// The terminal, to tell it its size.
    pub terminal: Option<OwnedFd>,
    log: Option<Log>,
    pub attachments: Vec<Attachment>,
}

/// Someone who follows a container's streams.
pub(super) struct Attachment {
    pub connection: u64,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<Sink>,
    pub stderr: Option<Sink>,
}

impl Attachment {
    pub(super) fn sinks(&mut self) -> impl Iterator<Item = &mut Option<Sink>> {
        [&mut self.stdout, &mut self.stderr].into_iter()
    }

    pub(super) fn is_waiting(&self) -> bool {
        [&self.stdout, &self.stderr].into_iter().flatten().any(Sink::is_waiting)
    }
}

/// The ends of a container's pipes that go into it.
pub(super) type Inner = Streams;

impl Container {
    /// Reads its record, opens its log and its pipes.
    pub(super) fn prepare(folder: &Path, id: &str, starter: u64) -> Result<(Container, Inner)> {
        let process: Process = load(&folder.join(PROCESS_FILE))?;
        let log = match &process.log {
            Some(path) => Some(Log::open(path, process.log_rotation)?),
            None => None,
        };
        let mut container = Container {
            id: id.to_owned(),
            folder: folder.to_owned(),
            process,
            setup: None,
            starter,
            pid: None,
            started_at: None,
            identity: Identity::default(),
            exit: None,
            sources: Vec::new(),
            stdin: None,
            terminal: None,
            log,
            attachments: Vec::new(),
        };
        let inner = if container.process.tty { Inner::default() } else { container.pipes()? };
        Ok((container, inner))
    }

    fn pipes(&mut self) -> Result<Inner> {
        let pipe = || {
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::system("create a pipe"))
        };
        let mut inner = Inner::default();
        if self.process.stdin {
            let (read, write) = pipe()?;
            self.stdin = Some(Sink::new(write));
            inner.stdin = Some(read);
        }
        let (read, write) = pipe()?;
        self.sources.push(Source::new(read, Stream::Stdout));
        inner.stdout = Some(write);
        let (read, write) = pipe()?;
        self.sources.push(Source::new(read, Stream::Stderr));
        inner.stderr = Some(write);
        Ok(inner)
    }

    pub(super) fn report(&self) -> Report {
        Report {
            container: self.id.clone(),
            pid: self.pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs()),
            started_at: self.started_at,
            exit: self.exit.clone(),
        }
    }

    /// Takes the set-up process's answer: `Ok` with the process's number, or why there is none.
    pub(super) fn set_up(&mut self) -> Result<u32, String> {
        let Some(setup) = self.setup.take() else { return Err("not being set up".to_owned()) };
        let outcome = receive::<Outcome>(&setup).map_err(|error| error.to_string());
        match outcome {
            Ok(Some((Outcome::Started { pid, identity }, mut files))) => {
                self.identity = identity;
                self.pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                self.started_at = Some(SystemTime::now());
                if let Some(terminal) = files.pop() {
                    self.connect_terminal(terminal);
                }
                let started_at = self.started_at.unwrap_or(SystemTime::UNIX_EPOCH);
                if let Err(error) = save(&self.folder.join(START_FILE), &Start { pid, started_at }) {
                    eprintln!("{error}");
                }
                Ok(pid)
            }
            Ok(Some((Outcome::Failed { reason }, _))) => self.failed(reason),
            Ok(None) => self.failed("the set-up process ended unexpectedly".to_owned()),
            Err(reason) => self.failed(reason),
        }
    }

    fn connect_terminal(&mut self, terminal: OwnedFd) {
        if let Ok(copy) = terminal.try_clone() {
            self.sources.push(Source::new(copy, Stream::Stdout));
        }
        if self.process.stdin
            && let Ok(copy) = terminal.try_clone()
        {
            self.stdin = Some(Sink::new(copy));
        }
        self.terminal = Some(terminal);
    }

    fn failed(&mut self, reason: String) -> Result<u32, String> {
        let _ = cgroups::kill(&self.process.cgroup);
        self.finish(Exit {
            code: 128,
            signal: None,
            oom_killed: false,
            finished_at: SystemTime::now(),
            message: Some(reason.clone()),
        });
        Err(reason)
    }

    /// Its first process has ended.
    pub(super) fn ended(&mut self, status: WaitStatus, buffer: &mut [u8]) {
        // With a namespace of its own, everything in it has ended with the first process.
        if self.process.pid != PidMode::Container {
            let _ = cgroups::kill(&self.process.cgroup);
        }
        for at in (0..self.sources.len()).rev() {
            for _ in 0..Source::DRAIN_READS {
                if !self.copy(at, buffer) {
                    break;
                }
            }
        }
        let (code, signal) = exit_code(status);
        let oom_killed = cgroups::oom_kills(&self.process.cgroup) > 0;
        self.finish(Exit { code, signal, oom_killed, finished_at: SystemTime::now(), message: None });
    }

    fn finish(&mut self, exit: Exit) {
        while let Some(mut source) = self.sources.pop() {
            if let Some(log) = &mut self.log {
                log.end(source.stream, &mut source.tail, exit.finished_at);
            }
        }
        self.stdin = None;
        self.terminal = None;
        self.log = None;
        if let Err(error) = save(&self.folder.join(EXIT_FILE), &exit) {
            eprintln!("{error}");
        }
        self.exit = Some(exit);
    }

    /// Reads once from a source, for the log and everybody attached. `false` if there was nothing.
    pub(super) fn copy(&mut self, at: usize, buffer: &mut [u8]) -> bool {
        let Some(source) = self.sources.get_mut(at) else { return false };
        let length = match source.read(buffer) {
            Read::Bytes(length) => length,
            Read::Nothing => return false,
            Read::End => {
                let mut source = self.sources.remove(at);
                if let Some(log) = &mut self.log {
                    log.end(source.stream, &mut source.tail, SystemTime::now());
                }
                return false;
            }
        };
        let bytes = &buffer[..length];
        if let Some(log) = &mut self.log {
            log.write(source.stream, &mut source.tail, bytes, SystemTime::now());
        }
        for attachment in &mut self.attachments {
            let sink = match source.stream {
                Stream::Stdout => &mut attachment.stdout,
                Stream::Stderr => &mut attachment.stderr,
            };
            if sink.as_mut().is_some_and(|sink| !sink.write(bytes)) {
                *sink = None;
            }
        }
        true
    }

    /// Whether somebody attached has not yet taken what was last read.
    pub(super) fn is_held_up(&self) -> bool {
        self.attachments.iter().any(Attachment::is_waiting)
    }

    /// Reads once from an attachment, for the container.
    pub(super) fn feed(&mut self, connection: u64, buffer: &mut [u8]) {
        let Some(attachment) = self.attachments.iter_mut().find(|it| it.connection == connection) else {
            return;
        };
        let Some(file) = &attachment.stdin else { return };
        match rustix::io::read(file, &mut buffer[..CHUNK_BYTES]) {
            Ok(0) => self.unplug(connection),
            Ok(length) => {
                if self.stdin.as_mut().is_some_and(|stdin| !stdin.write(&buffer[..length])) {
                    self.stdin = None;
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.unplug(connection),
        }
    }

    /// An attachment's input has ended.
    pub(super) fn unplug(&mut self, connection: u64) {
        let Some(attachment) = self.attachments.iter_mut().find(|it| it.connection == connection) else {
            return;
        };
        if attachment.stdin.take().is_some() && self.process.stdin_once {
            self.stdin = None;
        }
    }

    pub(super) fn signal(&self, number: i32) -> Result<(), String> {
        let Some(pid) = self.pid.filter(|_| self.exit.is_none()) else {
            return Err("the container is not running".to_owned());
        };
        let signal = Signal::from_named_raw(number).ok_or_else(|| format!("{number} is not a signal"));
        // Real-time signals have no names.
        let sent = match signal {
            Ok(signal) => rustix::process::kill_process(pid, signal).map_err(std::io::Error::from),
            Err(reason) if !(34..=64).contains(&number) => return Err(reason),
            // SAFETY: no memory is involved.
            Err(_) => match unsafe { nix::libc::kill(pid.as_raw_nonzero().get(), number) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        };
        sent.map_err(|error| error.to_string())
    }

    pub(super) fn reopen(&mut self) -> Result<(), String> {
        self.log.as_mut().map_or(Ok(()), Log::reopen).map_err(|error| error.to_string())
    }

    pub(super) fn resize(&self, size: crate::spec::Size) {
        if let Some(terminal) = &self.terminal {
            let _ = super::exec::set_size(terminal.as_fd(), size);
        }
    }
}

/// Code and signal of a process's end.
pub(super) fn exit_code(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}

/// A file that keeps what the shim says about itself.
pub(super) fn diary(folder: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(folder.join("shim.log"))
}
