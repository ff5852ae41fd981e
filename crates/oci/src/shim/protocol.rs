//! Messages between an agent and the holder of a sandbox, and between the holder and its set-up processes.
//!
//! Invariant: one message is one packet of a `SOCK_SEQPACKET` socket, JSON of at most [`MESSAGE_BYTES`], with at most
//! [`MESSAGE_FILES`] descriptors; whatever is longer is refused by its sender. Answers to containerd's ttrpc task API.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::spec::{ExecSpec, Size};
use crate::status::Exit;

/// Largest message; the kernel's default socket buffer holds it.
pub(crate) const MESSAGE_BYTES: usize = 128 << 10;
/// Most descriptors in a message: the three standard streams.
pub(crate) const MESSAGE_FILES: usize = 3;

/// From agent to holder. A connection carries one request, and then what belongs to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A [`Reply::Container`] for each container that was started, `Done`, then one for every change.
    Watch,
    /// `Started` or `Failed`.
    Start { container: String },
    /// `Done` or `Failed`.
    Signal { container: String, signal: i32 },
    /// With descriptors for standard input (if asked for), output and error (without a terminal). `Started`, with the
    /// terminal if there is one, then `Exited`; or `Failed`. Closing the connection kills the program.
    Exec { container: String, spec: ExecSpec },
    /// With descriptors as for `Exec`, error included only without a terminal. `Done`, then `Exited`; or `Failed`.
    Attach { container: String, stdin: bool },
    /// On the connection of an `Attach`: no answer.
    Resize(Size),
    /// `Done` or `Failed`.
    Reopen { container: String },
    /// Forgets a container that has ended. `Done`.
    Forget { container: String },
    /// Kills everything and ends. No answer but the end of the connection.
    Shutdown,
}

/// From holder to agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Started { pid: u32 },
    Exited { code: i32 },
    Failed { reason: String },
    Container(Report),
}

/// A container that was started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub container: String,
    pub pid: Option<u32>,
    pub started_at: Option<SystemTime>,
    pub exit: Option<Exit>,
}

/// From a set-up process to the holder; with the terminal's descriptor if there is one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Started { pid: u32, identity: Identity },
    Failed { reason: String },
}

/// Sends a message. Does not wait on a non-blocking socket.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    files: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES || files.len() > MESSAGE_FILES {
        let reason = format!("message of {} bytes is over {MESSAGE_BYTES}", bytes.len());
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(files));
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives a message; `None` at the end of the connection.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> std::io::Result<Option<(T, Vec<OwnedFd>)>> {
    let peek = RecvFlags::PEEK | RecvFlags::TRUNC;
    let mut none = [MaybeUninit::<u8>::uninit(); 1];
    let length = rustix::io::retry_on_intr(|| {
        rustix::net::recv(&socket, &mut none[..], peek).map(|(_, length)| length)
    })?;
    if length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; length.min(MESSAGE_BYTES)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(&socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, files)))
}
