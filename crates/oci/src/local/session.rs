//! Streams of programs in containers.
//!
//! Invariant: bytes go through a pipe or a terminal straight between the program and this process; only those of an
//! attachment pass through the shim. Answers to CRI's streaming server.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::connection::{Answer, Connection};
use crate::error::{Error, Result};
use crate::runtime::{Input, Output, Session};
use crate::shim::protocol::Request;
use crate::spec::{ExecSpec, Size};
use crate::status::ExecResult;

/// Most that is kept of what a program writes to one stream.
const OUTPUT_BYTES: u64 = 16 << 20;
/// How long output is still read after the program's end, from others that it left behind.
const AFTERGLOW: Duration = Duration::from_secs(1);
/// Sizes of a terminal that wait to be set.
const SIZES: usize = 8;

/// Starts a program.
pub(super) async fn exec(connection: Connection, container: &str, spec: ExecSpec) -> Result<Session> {
    let refused = |reason: String| Error::Exec { name: container.to_owned(), reason };
    let (tty, stdin) = (spec.tty, spec.stdin);
    let request = Request::Exec { container: container.to_owned(), spec };
    if tty {
        let mut files = match connection.ask(&request, &[]).await? {
            Answer::Granted(files) => files,
            Answer::Refused(reason) => return Err(refused(reason)),
        };
        let terminal = files.pop().ok_or_else(|| refused("the shim sent no terminal".to_owned()))?;
        return terminal_session(connection, terminal, stdin).map_err(Error::system("use a terminal"));
    }
    let (ends, inner) = pipes(stdin, true).map_err(Error::system("create pipes"))?;
    let files: Vec<BorrowedFd<'_>> = inner.iter().map(AsFd::as_fd).collect();
    if let Answer::Refused(reason) = connection.ask(&request, &files).await? {
        return Err(refused(reason));
    }
    drop(inner);
    let exit = Box::pin(async move { connection.exited().await });
    Ok(Session { stdin: ends.stdin, stdout: ends.stdout, stderr: ends.stderr, resize: None, exit })
}

/// Follows the streams of a container's first program.
pub(super) async fn attach(
    connection: Connection,
    container: &str,
    stdin: bool,
    tty: bool,
) -> Result<Session> {
    let (ends, inner) = pipes(stdin, !tty).map_err(Error::system("create pipes"))?;
    let request = Request::Attach { container: container.to_owned(), stdin };
    let files: Vec<BorrowedFd<'_>> = inner.iter().map(AsFd::as_fd).collect();
    if let Answer::Refused(reason) = connection.ask(&request, &files).await? {
        return Err(Error::Exec { name: container.to_owned(), reason });
    }
    drop(inner);
    let (resize, mut sizes) = mpsc::channel::<Size>(SIZES);
    let exit = Box::pin(async move {
        loop {
            tokio::select! {
                code = connection.exited() => return code,
                Some(size) = sizes.recv() => connection.send(&Request::Resize(size), &[]).await?,
            }
        }
    });
    let resize = tty.then_some(resize);
    Ok(Session { stdin: ends.stdin, stdout: ends.stdout, stderr: ends.stderr, resize, exit })
}

/// Runs a session to its end and keeps what is written.
pub(super) async fn collect(session: Session) -> Result<ExecResult> {
    let Session { stdin, stdout, stderr, mut exit, .. } = session;
    drop(stdin);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit_code = {
        let mut reading = std::pin::pin!(async {
            tokio::join!(read(stdout, &mut out), read(stderr, &mut err));
        });
        let mut read_all = false;
        loop {
            tokio::select! {
                code = &mut exit => {
                    if !read_all {
                        let _ = tokio::time::timeout(AFTERGLOW, reading).await;
                    }
                    break code?;
                }
                () = &mut reading, if !read_all => read_all = true,
            }
        }
    };
    Ok(ExecResult { stdout: out, stderr: err, exit_code })
}

async fn read(stream: Option<Output>, into: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    // An error is the end, as far as what was written is concerned.
    let _ = (&mut stream).take(OUTPUT_BYTES).read_to_end(into).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

#[derive(Default)]
struct Ends {
    stdin: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
}

/// Pipes, and their ends for the other side, in the order that the shim expects.
fn pipes(stdin: bool, stderr: bool) -> io::Result<(Ends, Vec<OwnedFd>)> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let mut ends = Ends::default();
    let mut inner = Vec::new();
    if stdin {
        let (read, write) = pipe()?;
        ends.stdin = Some(Box::pin(pipe::Sender::from_owned_fd(write)?));
        inner.push(read);
    }
    let mut output = || -> io::Result<Output> {
        let (read, write) = pipe()?;
        inner.push(write);
        Ok(Box::pin(pipe::Receiver::from_owned_fd(read)?))
    };
    ends.stdout = Some(output()?);
    if stderr {
        ends.stderr = Some(output()?);
    }
    Ok((ends, inner))
}

fn terminal_session(connection: Connection, terminal: OwnedFd, stdin: bool) -> io::Result<Session> {
    let own = Terminal::new(terminal.try_clone()?)?;
    let stdin: Option<Input> =
        if stdin { Some(Box::pin(Terminal::new(terminal.try_clone()?)?)) } else { None };
    let (resize, mut sizes) = mpsc::channel::<Size>(SIZES);
    let exit = Box::pin(async move {
        loop {
            tokio::select! {
                code = connection.exited() => return code,
                Some(size) = sizes.recv() => {
                    let _ = crate::shim::set_size(&terminal, size);
                }
            }
        }
    });
    Ok(Session { stdin, stdout: Some(Box::pin(own)), stderr: None, resize: Some(resize), exit })
}

/// The controlling side of a terminal.
struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    fn new(file: OwnedFd) -> io::Result<Terminal> {
        rustix::io::ioctl_fionbio(&file, true)?;
        // SAFETY: an owned descriptor stays the same and open for as long as it is registered.
        Ok(Terminal(unsafe { AsyncFd::register(file) }?))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match guard.try_io(|file| Ok(rustix::io::read(file, room)?)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has the other side open any more.
                Ok(Err(error)) if error.raw_os_error() == Some(nix::libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            match guard.try_io(|file| Ok(rustix::io::write(file, bytes)?)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
