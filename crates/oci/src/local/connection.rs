//! Talking to a shim without blocking.
//!
//! Invariant: one connection carries one request; dropping it ends what the request began. Waiting has no limit of its
//! own: a shim answers or ends, and both are seen at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};
use crate::shim::process::SOCKET;
use crate::shim::protocol::{Reply, Request, receive, send};

/// Connections that wait to be accepted; the kernel's own limit is 4,096.
const BACKLOG: i32 = 1024;

/// A connection to the holder of a sandbox.
pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
    sandbox: String,
}

impl Connection {
    /// Connects to the shim in a sandbox's folder.
    pub(super) fn open(folder: &Path, sandbox: &str) -> Result<Connection> {
        Connection::find(folder, sandbox)?.ok_or_else(|| Error::Shim {
            sandbox: sandbox.to_owned(),
            reason: "it is not running".to_owned(),
        })
    }

    /// Connects to the shim in a sandbox's folder; `None` if there certainly is none.
    pub(super) fn find(folder: &Path, sandbox: &str) -> Result<Option<Connection>> {
        let failed =
            |error: io::Error| Error::Shim { sandbox: sandbox.to_owned(), reason: error.to_string() };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|error| failed(error.into()))?;
        let (_folder, address) = address(folder).map_err(failed)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        // SAFETY: an owned descriptor stays the same and open for as long as it is registered.
        let socket = unsafe { AsyncFd::register(socket) }.map_err(|error| failed(error.into()))?;
        Ok(Some(Connection { socket, sandbox: sandbox.to_owned() }))
    }

    /// Sends a request, with descriptors.
    pub(super) async fn send(&self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<()> {
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| send(socket, request, files)).await;
        sent.map_err(|error| self.failed(error))
    }

    /// The next answer; `None` when the shim has closed the connection, or has ended.
    pub(super) async fn receive(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>> {
        match self.socket.async_io(Interest::READABLE, |socket| receive(socket)).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            result => result.map_err(|error| self.failed(error)),
        }
    }

    /// Asks, and waits for the first answer, which is an error if it says so.
    pub(super) async fn ask(&self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<Answer> {
        self.send(request, files).await?;
        match self.receive().await? {
            Some((Reply::Failed { reason }, _)) => Ok(Answer::Refused(reason)),
            Some((_, files)) => Ok(Answer::Granted(files)),
            None => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Waits for the end of what the request began.
    pub(super) async fn exited(&self) -> Result<i32> {
        loop {
            match self.receive().await? {
                Some((Reply::Exited { code }, _)) => return Ok(code),
                Some(_) => {}
                None => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Shim { sandbox: self.sandbox.clone(), reason: error.to_string() }
    }
}

/// How a shim took a request.
pub(super) enum Answer {
    /// With descriptors, where there are some.
    Granted(Vec<OwnedFd>),
    /// With the reason.
    Refused(String),
}

/// Listens in a sandbox's folder.
pub(super) fn listen(folder: &Path) -> Result<OwnedFd> {
    let failed = || Error::io("listen in", folder);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|error| failed()(error.into()))?;
    let (_folder, address) = address(folder).map_err(failed())?;
    rustix::net::bind(&socket, &address).map_err(|error| failed()(error.into()))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|error| failed()(error.into()))?;
    Ok(socket)
}

/// A socket's address has 108 bytes, a folder's name may have more: it is named by a descriptor, to be kept meanwhile.
fn address(folder: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_fd().as_raw_fd()))?;
    Ok((folder, address))
}
