//! Notices when somebody else removes the table, as a restart of the host's firewall does.
//!
//! Invariant: a removal that might have been missed (too many changes at once) counts as one.

use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{NfTablesMessage, TableAttribute};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};

use crate::Error;
use crate::netlink::split;

/// The kernel's group of messages about changed rules.
const GROUP: u32 = 7;

/// Removals of one table.
pub struct Removals {
    table: String,
    socket: TokioSocket,
}

impl Removals {
    /// Listens from now on, in the calling thread's network namespace.
    pub fn open(table: String) -> Result<Self, Error> {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
            socket.socket_mut().bind_auto()?;
            socket.socket_mut().add_membership(GROUP)?;
            Ok(socket)
        };
        let failed = |source: io::Error| Error::Rules { subject: format!("watch table {table}"), source };
        let socket = open().map_err(failed)?;
        Ok(Self { table, socket })
    }

    /// Waits until somebody but the owner of the socket numbered `own` removes the table.
    pub async fn by_others(&mut self, own: u32) -> Result<(), Error> {
        loop {
            match self.socket.recv_from_full().await {
                Ok((datagram, _)) => {
                    if split(&datagram).any(|message| self.is_removal(message, own)) {
                        return Ok(());
                    }
                }
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => return Ok(()),
                Err(source) => {
                    return Err(Error::Rules { subject: format!("watch table {}", self.table), source });
                }
            }
        }
    }

    fn is_removal(&self, bytes: &[u8], own: u32) -> bool {
        // A message that cannot be understood is about something else.
        let Ok(message) = NetlinkMessage::<NetfilterMessage>::deserialize(bytes) else { return false };
        let NetlinkPayload::InnerMessage(inner) = message.payload else { return false };
        let NetfilterMessageInner::NfTables(NfTablesMessage::DeleteTable(table)) = inner.inner else {
            return false;
        };
        let name = TableAttribute::Name(self.table.clone());
        message.header.port_number != own && table.attributes.contains(&name)
    }
}
