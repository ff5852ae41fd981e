//! A blocking netlink socket: requests with their answers, and whole batches.
//!
//! Invariant: the kernel answers a request while it is being sent, so nothing here waits for long; a
//! socket belongs for ever to the network namespace of the thread that opened it.

use std::io;
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// A dump arrives in pieces of at most 32 KiB; refusals of a batch are small.
const RECEIVE: usize = 64 * 1024;
/// Room for the acknowledgements and refusals of one batch.
const RECEIVE_QUEUE: usize = 4 << 20;

/// A socket of one netlink protocol.
pub(crate) struct Channel {
    socket: Socket,
    port_number: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

/// The kernel's refusal of one message of a batch.
pub(crate) struct Refusal {
    /// The message's sequence number.
    pub sequence: u32,
    /// Why.
    pub error: io::Error,
}

impl Channel {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port_number = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // Refusals need not carry the refused message back: the sequence number says which it was.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, port_number, sequence: 1, buffer: vec![0; RECEIVE] })
    }

    /// How the kernel names this socket.
    pub(crate) fn port_number(&self) -> u32 {
        self.port_number
    }

    /// A sequence number that starts `count` unused ones.
    pub(crate) fn reserve(&mut self, count: u32) -> u32 {
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    /// Sends a request that is answered by an acknowledgement only.
    pub(crate) fn execute<T>(&mut self, message: T, flags: u16) -> io::Result<()>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.request(message, flags | NLM_F_ACK).map(|_| ())
    }

    /// Sends a request for one object.
    pub(crate) fn get<T>(&mut self, message: T) -> io::Result<Option<T>>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        Ok(self.request(message, NLM_F_ACK)?.pop())
    }

    /// Sends a request for all objects.
    pub(crate) fn dump<T>(&mut self, message: T) -> io::Result<Vec<T>>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        self.request(message, NLM_F_DUMP)
    }

    fn request<T>(&mut self, message: T, flags: u16) -> io::Result<Vec<T>>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        let sequence = self.reserve(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let length = self.socket.recv(&mut &mut self.buffer[..], 0)?;
            if read_answers(&self.buffer[..length], sequence, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Sends a transaction. The kernel has carried it out, or refused it whole, when this returns;
    /// `last` is the sequence number of the message whose acknowledgement tells success.
    pub(crate) fn batch(&mut self, bytes: &[u8], last: u32) -> Result<(), Refusal> {
        let failed = |error| Refusal { sequence: last, error };
        set_buffer(&self.socket, nix::libc::SO_SNDBUFFORCE, bytes.len() + 4096).map_err(failed)?;
        set_buffer(&self.socket, nix::libc::SO_RCVBUFFORCE, RECEIVE_QUEUE).map_err(failed)?;
        self.socket.send(bytes, 0).map_err(failed)?;
        let mut first = None;
        let mut done = false;
        loop {
            let length = match self.socket.recv(&mut &mut self.buffer[..], nix::libc::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(failed(error)),
            };
            for (sequence, error) in read_verdicts(&self.buffer[..length]) {
                match error {
                    None => done |= sequence == last,
                    Some(error) => first = first.or(Some(Refusal { sequence, error })),
                }
            }
        }
        match first {
            Some(refusal) => Err(refusal),
            None if done => Ok(()),
            None => Err(failed(io::Error::other("the kernel did not acknowledge the transaction"))),
        }
    }
}

fn set_buffer(socket: &Socket, option: i32, size: usize) -> io::Result<()> {
    let size = i32::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // Safety: the descriptor is open and the option is an int of the given length.
    let result = unsafe {
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(&size).cast(),
            size_of::<i32>() as nix::libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The whole messages of a datagram: header fields and bytes.
pub(crate) fn split(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    const HEADER: usize = 16;
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        if length < HEADER || length > rest.len() {
            return None;
        }
        let (message, _) = rest.split_at(length);
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(message)
    })
}

fn read_answers<T>(datagram: &[u8], sequence: u32, answers: &mut Vec<T>) -> io::Result<bool>
where
    T: NetlinkDeserializable,
{
    for bytes in split(datagram) {
        let message = NetlinkMessage::<T>::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        if message.header.sequence_number != sequence {
            continue;
        }
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => answers.push(inner),
            NetlinkPayload::Error(ErrorMessage { code: None, .. }) | NetlinkPayload::Done(_) => {
                return Ok(true);
            }
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
    }
    Ok(false)
}

fn read_verdicts(datagram: &[u8]) -> Vec<(u32, Option<io::Error>)> {
    const ERROR: u16 = 2;
    let read = |bytes: &[u8]| {
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let code = i32::from_ne_bytes(bytes.get(16..20)?.try_into().ok()?);
        (kind == ERROR).then(|| (sequence, (code != 0).then(|| io::Error::from_raw_os_error(-code))))
    };
    split(datagram).filter_map(read).collect()
}
