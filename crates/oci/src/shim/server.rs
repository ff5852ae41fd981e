//! The holder's loop: one thread, one `poll`, nothing that waits.
//!
//! Invariant: every request ends with its answer on its connection; a connection that breaks takes with it what it
//! asked for (an exec's program, an attachment), and nothing else. Connections are at most [`MOST_CONNECTIONS`]; more
//! wait in the kernel's queue.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use nix::unistd::ForkResult;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, WaitOptions};

use super::container::{Attachment, Container, exit_code};
use super::process::CONTAINERS;
use super::protocol::{Outcome, Reply, Request, receive, send};
use super::start::Streams;
use super::streams::{CHUNK_BYTES, Sink};
use crate::spec::ExecSpec;

/// Most connections at once.
const MOST_CONNECTIONS: usize = 512;

/// Everything that a sandbox's holder has.
pub(super) struct Server {
    pub folder: PathBuf,
    pub listener: OwnedFd,
    pub signals: SignalFd,
    pub connections: Vec<Connection>,
    pub containers: Vec<Container>,
    pub execs: Vec<Exec>,
    pub next: u64,
    pub buffer: Box<[u8]>,
}

/// A connection to an agent.
pub(super) struct Connection {
    id: u64,
    socket: OwnedFd,
    watching: bool,
    closed: bool,
}

/// A program that was run in a container.
pub(super) struct Exec {
    connection: u64,
    setup: Option<OwnedFd>,
    helper: Option<Pid>,
    pid: Option<Pid>,
}

#[derive(Clone, Copy)]
enum Ready {
    Listener,
    Signals,
    Connection(u64),
    SetUp(usize),
    ExecSetUp(u64),
    Source(usize, usize),
    Stdin(usize),
    Sinks(usize),
    Feed(usize, u64),
}

impl Server {
    /// A server that holds nothing yet.
    pub(super) fn new(folder: PathBuf, listener: OwnedFd, signals: SignalFd) -> Server {
        let buffer = vec![0; CHUNK_BYTES].into_boxed_slice();
        let (connections, containers, execs) = (Vec::new(), Vec::new(), Vec::new());
        Server { folder, listener, signals, connections, containers, execs, next: 0, buffer }
    }

    /// Serves until it is told to end.
    pub(super) fn run(mut self) -> std::io::Result<()> {
        loop {
            for (ready, hung_up) in self.wait()? {
                if self.handle(ready, hung_up).is_break() {
                    return Ok(());
                }
            }
            self.tidy();
        }
    }

    fn wait(&self) -> std::io::Result<Vec<(Ready, bool)>> {
        let mut about = Vec::new();
        let mut files = Vec::new();
        let mut add = |ready: Ready, file: BorrowedFd<'_>, flags: PollFlags| {
            about.push(ready);
            // SAFETY: `poll` is over before anything that owns these descriptors can change.
            files.push(PollFd::from_borrowed_fd(unsafe { BorrowedFd::borrow_raw(raw(file)) }, flags));
        };
        if self.connections.len() < MOST_CONNECTIONS {
            add(Ready::Listener, self.listener.as_fd(), PollFlags::IN);
        }
        add(Ready::Signals, self.signals.as_fd(), PollFlags::IN);
        for connection in &self.connections {
            add(Ready::Connection(connection.id), connection.socket.as_fd(), PollFlags::IN);
        }
        for exec in &self.execs {
            if let Some(setup) = &exec.setup {
                add(Ready::ExecSetUp(exec.connection), setup.as_fd(), PollFlags::IN);
            }
        }
        let now = Instant::now();
        let mut patience: Option<Duration> = None;
        for (at, container) in self.containers.iter().enumerate() {
            if let Some(setup) = &container.setup {
                add(Ready::SetUp(at), setup.as_fd(), PollFlags::IN);
            }
            if !container.is_held_up() {
                for (number, source) in container.sources.iter().enumerate() {
                    add(Ready::Source(at, number), source.file.as_fd(), PollFlags::IN);
                }
            }
            let stdin_waits = container.stdin.as_ref().is_some_and(Sink::is_waiting);
            if let (true, Some(stdin)) = (stdin_waits, &container.stdin) {
                add(Ready::Stdin(at), stdin.file.as_fd(), PollFlags::OUT);
            }
            for attachment in &container.attachments {
                for sink in [&attachment.stdout, &attachment.stderr].into_iter().flatten() {
                    if let Some(left) = sink.patience(now) {
                        add(Ready::Sinks(at), sink.file.as_fd(), PollFlags::OUT);
                        patience = Some(patience.map_or(left, |least| least.min(left)));
                    }
                }
                if let (Some(stdin), false) = (&attachment.stdin, stdin_waits) {
                    add(Ready::Feed(at, attachment.connection), stdin.as_fd(), PollFlags::IN);
                }
            }
        }
        let timeout = patience.map(|left| Timespec { tv_sec: left.as_secs() as i64 + 1, tv_nsec: 0 });
        match rustix::event::poll(&mut files, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let states = files.iter().map(PollFd::revents);
        let ready = about.into_iter().zip(states).filter(|(_, state)| !state.is_empty());
        // From the last to the first, so that removing one leaves the numbers of those to come.
        let mut ready: Vec<_> = ready.map(|(ready, state)| (ready, !state.contains(PollFlags::IN))).collect();
        ready.reverse();
        Ok(ready)
    }

    fn handle(&mut self, ready: Ready, hung_up: bool) -> std::ops::ControlFlow<()> {
        match ready {
            Ready::Listener => self.accept(),
            Ready::Signals => self.reap(),
            Ready::Connection(id) => return self.converse(id, hung_up),
            Ready::SetUp(at) => self.container_set_up(at),
            Ready::ExecSetUp(id) => self.exec_set_up(id),
            Ready::Source(at, number) => {
                if let Some(container) = self.containers.get_mut(at) {
                    container.copy(number, &mut self.buffer);
                }
            }
            Ready::Stdin(at) => {
                if let Some(container) = self.containers.get_mut(at)
                    && container.stdin.as_mut().is_some_and(|stdin| !stdin.flush())
                {
                    container.stdin = None;
                }
            }
            Ready::Sinks(at) => {
                for attachment in self.containers.get_mut(at).into_iter().flat_map(|it| &mut it.attachments) {
                    for sink in attachment.sinks() {
                        if sink.as_mut().is_some_and(|sink| !sink.flush()) {
                            *sink = None;
                        }
                    }
                }
            }
            Ready::Feed(at, id) => {
                if let Some(container) = self.containers.get_mut(at) {
                    container.feed(id, &mut self.buffer);
                }
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        if let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            self.next += 1;
            self.connections.push(Connection { id: self.next, socket, watching: false, closed: false });
        }
    }

    fn converse(&mut self, id: u64, hung_up: bool) -> std::ops::ControlFlow<()> {
        let Some(connection) = self.connections.iter_mut().find(|it| it.id == id && !it.closed) else {
            return std::ops::ControlFlow::Continue(());
        };
        let received = if hung_up { Ok(None) } else { receive::<Request>(&connection.socket) };
        match received {
            Ok(Some((Request::Shutdown, _))) => return std::ops::ControlFlow::Break(()),
            Ok(Some((request, files))) => {
                let reply = match self.request(id, request, files) {
                    Ok(reply) => reply,
                    Err(reason) => Some(Reply::Failed { reason }),
                };
                if let Some(reply) = reply {
                    self.reply(id, &reply, &[]);
                }
            }
            Ok(None) => self.hung_up(id),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.reply(id, &Reply::Failed { reason: error.to_string() }, &[]);
                self.hung_up(id);
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn request(&mut self, id: u64, request: Request, files: Vec<OwnedFd>) -> Result<Option<Reply>, String> {
        match request {
            Request::Watch => {
                let reports: Vec<_> = self.containers.iter().map(Container::report).collect();
                for report in reports {
                    self.reply(id, &Reply::Container(report), &[]);
                }
                if let Some(connection) = self.connections.iter_mut().find(|it| it.id == id) {
                    connection.watching = true;
                }
                return Ok(Some(Reply::Done));
            }
            Request::Start { container } => {
                self.start(id, &container)?;
                return Ok(None);
            }
            Request::Exec { container, spec } => {
                self.exec(id, &container, &spec, files)?;
                return Ok(None);
            }
            Request::Signal { container, signal } => self.container(&container)?.signal(signal)?,
            Request::Attach { container, stdin } => self.attach(id, &container, stdin, files)?,
            Request::Resize(size) => {
                let attached = |it: &&Container| it.attachments.iter().any(|it| it.connection == id);
                if let Some(container) = self.containers.iter().find(attached) {
                    container.resize(size);
                }
                return Ok(None);
            }
            Request::Reopen { container } => self.container(&container)?.reopen()?,
            Request::Forget { container } => {
                let gone = |it: &Container| it.id == container && it.setup.is_none() && it.exit.is_some();
                self.containers.retain(|it| !gone(it));
            }
            Request::Shutdown => {}
        }
        Ok(Some(Reply::Done))
    }

    fn container(&mut self, id: &str) -> Result<&mut Container, String> {
        self.containers
            .iter_mut()
            .find(|it| it.id == id)
            .ok_or_else(|| "the container is not running".to_owned())
    }

    fn start(&mut self, connection: u64, id: &str) -> Result<(), String> {
        if self.containers.iter().any(|it| it.id == id) {
            return Err("the container was started before".to_owned());
        }
        let folder = self.folder.join(CONTAINERS).join(id);
        let (mut container, inner) =
            Container::prepare(&folder, id, connection).map_err(|error| error.to_string())?;
        let process = container.process.clone();
        let (setup, _) = fork(|report| super::start::run(&folder, &process, inner, report))?;
        container.setup = Some(setup);
        self.containers.push(container);
        Ok(())
    }

    fn container_set_up(&mut self, at: usize) {
        let Some(container) = self.containers.get_mut(at) else { return };
        let (starter, started) = (container.starter, container.set_up());
        let report = container.report();
        match started {
            Ok(pid) => self.reply(starter, &Reply::Started { pid }, &[]),
            Err(reason) => self.reply(starter, &Reply::Failed { reason }, &[]),
        }
        self.tell(&Reply::Container(report));
        // It may have ended before its number was known.
        self.reap();
    }

    fn exec(&mut self, id: u64, container: &str, spec: &ExecSpec, files: Vec<OwnedFd>) -> Result<(), String> {
        let container = self.container(container)?;
        let Some(init) = container.pid.filter(|_| container.exit.is_none()) else {
            return Err("the container is not running".to_owned());
        };
        let (process, identity) = (container.process.clone(), container.identity.clone());
        let mut files = files.into_iter();
        let mut streams = Streams::default();
        if !spec.tty {
            streams.stdin = if spec.stdin { files.next() } else { None };
            streams.stdout = files.next();
            streams.stderr = files.next();
        }
        let (setup, helper) =
            fork(|report| super::exec::run(init, &process, identity, spec, streams, report))?;
        self.execs.push(Exec { connection: id, setup: Some(setup), helper: Some(helper), pid: None });
        Ok(())
    }

    fn exec_set_up(&mut self, id: u64) {
        let Some(at) = self.execs.iter().position(|it| it.connection == id) else { return };
        let Some(setup) = self.execs[at].setup.take() else { return };
        match receive::<Outcome>(&setup) {
            Ok(Some((Outcome::Started { pid, .. }, files))) => {
                self.execs[at].pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
                self.reply(id, &Reply::Started { pid }, &files);
                if self.connections.iter().all(|it| it.id != id || it.closed) {
                    self.kill_exec(at);
                }
                self.reap();
            }
            outcome => {
                let reason = match outcome {
                    Ok(Some((Outcome::Failed { reason }, _))) => reason,
                    Ok(_) => "the set-up process ended unexpectedly".to_owned(),
                    Err(error) => error.to_string(),
                };
                self.execs.remove(at);
                self.reply(id, &Reply::Failed { reason }, &[]);
            }
        }
    }

    fn attach(&mut self, id: u64, name: &str, stdin: bool, files: Vec<OwnedFd>) -> Result<(), String> {
        let container = self.container(name)?;
        if container.exit.is_some() {
            return Err("the container is not running".to_owned());
        }
        let mut files = files.into_iter();
        let stdin = if stdin { files.next() } else { None };
        container.attachments.push(Attachment {
            connection: id,
            stdin: stdin.filter(|_| container.process.stdin),
            stdout: files.next().map(Sink::new),
            stderr: files.next().map(Sink::new),
        });
        Ok(())
    }

    /// Takes in every child that has ended.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        // While an answer of a set-up process is outstanding, its container's first process must not be taken in
        // under an unknown number: it is left until then.
        loop {
            let flags = WaitOptions::NOHANG;
            let Ok(Some((pid, status))) = self.next_child(flags) else { return };
            if let Some(at) = self.containers.iter().position(|it| it.pid == Some(pid) && it.exit.is_none()) {
                self.containers[at].ended(status, &mut self.buffer);
                let report = self.containers[at].report();
                self.tell(&Reply::Container(report));
            } else if let Some(at) = self.execs.iter().position(|it| it.pid == Some(pid)) {
                let exec = self.execs.remove(at);
                self.reply(exec.connection, &Reply::Exited { code: exit_code(status).0 }, &[]);
                self.close(exec.connection);
            } else if let Some(exec) = self.execs.iter_mut().find(|it| it.helper == Some(pid)) {
                exec.helper = None;
            }
        }
    }

    fn next_child(
        &self,
        flags: WaitOptions,
    ) -> rustix::io::Result<Option<(Pid, rustix::process::WaitStatus)>> {
        let pending = self.containers.iter().any(|it| it.setup.is_some())
            || self.execs.iter().any(|it| it.setup.is_some());
        if !pending {
            return rustix::process::wait(flags);
        }
        let known = self.containers.iter().filter(|it| it.exit.is_none()).filter_map(|it| it.pid);
        let known = known.chain(self.execs.iter().flat_map(|it| [it.pid, it.helper]).flatten());
        for pid in known {
            if let Ok(Some(found)) = rustix::process::waitpid(Some(pid), flags) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn hung_up(&mut self, id: u64) {
        self.close(id);
        if let Some(at) = self.execs.iter().position(|it| it.connection == id) {
            self.kill_exec(at);
        }
        for container in &mut self.containers {
            container.unplug(id);
            container.attachments.retain(|it| it.connection != id);
        }
    }

    fn kill_exec(&self, at: usize) {
        // A child that was not taken in yet keeps its number: nobody else is hit.
        if let Some(pid) = self.execs[at].pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    fn reply(&mut self, id: u64, reply: &Reply, files: &[BorrowedFd<'_>]) {
        if let Some(connection) = self.connections.iter_mut().find(|it| it.id == id && !it.closed)
            && send(&connection.socket, reply, files).is_err()
        {
            connection.closed = true;
        }
    }

    fn tell(&mut self, news: &Reply) {
        for connection in self.connections.iter_mut().filter(|it| it.watching && !it.closed) {
            // Who does not read its news is cut off, and learns by connecting anew.
            connection.closed |= send(&connection.socket, news, &[]).is_err();
        }
    }

    fn close(&mut self, id: u64) {
        for connection in self.connections.iter_mut().filter(|it| it.id == id) {
            connection.closed = true;
        }
    }

    /// Ends what is over: impatient and finished attachments, closed connections.
    fn tidy(&mut self) {
        let now = Instant::now();
        let mut over = Vec::new();
        for container in &mut self.containers {
            for attachment in &mut container.attachments {
                for sink in attachment.sinks() {
                    if sink.as_ref().is_some_and(|sink| sink.patience(now).is_some_and(|left| left.is_zero()))
                    {
                        *sink = None;
                    }
                }
            }
            if let Some(exit) = &container.exit {
                let code = exit.code;
                let done = container.attachments.extract_if(.., |it| !it.is_waiting());
                over.extend(done.map(|attachment| (attachment.connection, code)));
            }
        }
        for (connection, code) in over {
            self.reply(connection, &Reply::Exited { code }, &[]);
            self.close(connection);
        }
        self.connections.retain(|it| !it.closed);
    }
}

fn raw(file: BorrowedFd<'_>) -> std::os::fd::RawFd {
    std::os::fd::AsRawFd::as_raw_fd(&file)
}

/// Runs `work` in a child with a connection to report on; returns the other end of it, and the child.
fn fork(work: impl FnOnce(&OwnedFd)) -> Result<(OwnedFd, Pid), String> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| error.to_string())?;
    // SAFETY: the shim has one thread.
    match unsafe { nix::unistd::fork() }.map_err(|error| error.to_string())? {
        ForkResult::Child => {
            drop(ours);
            super::launch::reset_signals();
            work(&theirs);
            // SAFETY: ends this process without running what the shim would run at its end.
            unsafe { nix::libc::_exit(0) }
        }
        ForkResult::Parent { child } => Pid::from_raw(child.as_raw())
            .map(|pid| (ours, pid))
            .ok_or_else(|| "fork gave no process".to_owned()),
    }
}
