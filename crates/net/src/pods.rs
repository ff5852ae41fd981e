//! The pods of the node: addresses, links, records.
//!
//! Invariants: sandboxes are worked on side by side, one at a time each; a record is on disk before anything of it is in the kernel, and until nothing is; whatever
//! a crash leaves, the next attach or detach of that sandbox finds and finishes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use parking_lot::{Condvar, Mutex};

use crate::link::{Addresses, Links, Records, default_mtu, interfaces, prepare_host};
use crate::{AttachRequest, Attachment, Config, Error, HostPort};

/// All that is attached.
pub struct Pods {
    config: Config,
    records: Records,
    mtu: u32,
    table: Mutex<Table>,
    /// Told whenever work on a sandbox ends.
    idle: Condvar,
}

struct Table {
    addresses: Addresses,
    attached: BTreeMap<String, Attachment>,
    /// Sandboxes whose links are being made or removed, which takes the kernel tens of milliseconds.
    busy: BTreeSet<String>,
}

/// The right to work on one sandbox.
struct Claim<'a> {
    pods: &'a Pods,
    sandbox_id: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.pods.table.lock().busy.remove(&self.sandbox_id);
        self.pods.idle.notify_all();
    }
}

fn overlaps(one: &HostPort, other: &HostPort) -> bool {
    let specific = |port: &HostPort| port.host_ip.filter(|address| !address.is_unspecified());
    let same_address = match (specific(one), specific(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    one.protocol == other.protocol && one.host_port == other.host_port && same_address
}

impl Pods {
    /// Takes the pods of an earlier process over, and makes what all of them need.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let records = Records::open(&config.state_dir)?;
        let mut links = Links::open()?;
        prepare_host()?;
        let gateway = config.gateway();
        links.create_gateway(&config.gateway_interface(), gateway, config.pod_cidr, config.service_cidr)?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => default_mtu(&mut links)?,
        };
        let table = adopt(config, &records, &mut links)?;
        Ok(Self { config: config.clone(), records, mtu, table: Mutex::new(table), idle: Condvar::new() })
    }

    /// All attachments.
    pub fn list(&self) -> Vec<Attachment> {
        self.table.lock().attached.values().cloned().collect()
    }

    /// One attachment.
    pub fn get(&self, sandbox_id: &str) -> Option<Attachment> {
        self.table.lock().attached.get(sandbox_id).cloned()
    }

    fn claim(&self, sandbox_id: &str) -> Claim<'_> {
        let mut table = self.table.lock();
        while !table.busy.insert(sandbox_id.to_owned()) {
            self.idle.wait(&mut table);
        }
        Claim { pods: self, sandbox_id: sandbox_id.to_owned() }
    }

    /// Gives a sandbox an address and links. Leaves nothing if it fails.
    pub fn attach(&self, request: &AttachRequest) -> Result<Attachment, Error> {
        let id = &request.sandbox_id;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(Error::Config(format!(
                "sandbox id {id:?} is not made of letters, digits, '-', '_' and '.'"
            )));
        }
        let _claim = self.claim(id);
        let (attachment, new) = self.table.lock().reserve(&self.config, request)?;
        let made = self.records.write(&attachment).and_then(|()| self.connect(request, &attachment));
        if let Err(error) = made {
            if new {
                // The record stays if the link cannot go; a later detach tries again.
                let undone = self.remove(&attachment);
                let _ = undone
                    .inspect_err(|error| tracing::warn!(sandbox = id, %error, "cannot undo an attachment"));
            }
            return Err(error);
        }
        Ok(attachment)
    }

    fn connect(&self, request: &AttachRequest, attachment: &Attachment) -> Result<(), Error> {
        let name = &attachment.host_interface;
        let mut links = Links::open()?;
        if links.is_whole(name, &request.netns)? {
            return Ok(());
        }
        links.create_pod(name, &request.netns, attachment.addresses[0], self.config.gateway(), self.mtu)
    }

    /// Takes everything back from a sandbox.
    pub fn detach(&self, sandbox_id: &str) -> Result<(), Error> {
        let _claim = self.claim(sandbox_id);
        self.get(sandbox_id).map_or(Ok(()), |attachment| self.remove(&attachment))
    }

    fn remove(&self, attachment: &Attachment) -> Result<(), Error> {
        Links::open()?.delete(&attachment.host_interface)?;
        self.records.remove(&attachment.sandbox_id)?;
        let mut table = self.table.lock();
        for address in &attachment.addresses {
            table.addresses.give_back(*address);
        }
        table.attached.remove(&attachment.sandbox_id);
        Ok(())
    }
}

fn adopt(config: &Config, records: &Records, links: &mut Links) -> Result<Table, Error> {
    let mut addresses = Addresses::new(config.pod_cidr);
    let mut attached = BTreeMap::new();
    for pod in records.load()? {
        if pod.addresses.iter().all(|address| addresses.adopt(*address)) {
            attached.insert(pod.sandbox_id.clone(), pod);
        } else {
            tracing::warn!(sandbox = pod.sandbox_id, "dropping a record whose address cannot be its own");
            records.remove(&pod.sandbox_id)?;
        }
    }
    let own = config.gateway_interface();
    for name in interfaces(&config.interface_prefix())? {
        if name != own && !attached.values().any(|pod| pod.host_interface == name) {
            links.delete(&name)?;
        }
    }
    Ok(Table { addresses, attached, busy: BTreeSet::new() })
}

impl Table {
    /// The attachment of a sandbox, and whether it is a new one.
    fn reserve(&mut self, config: &Config, request: &AttachRequest) -> Result<(Attachment, bool), Error> {
        self.check_host_ports(request)?;
        let known = self.attached.get(&request.sandbox_id).cloned();
        let new = known.is_none();
        let mut attachment = match known {
            Some(attachment) => attachment,
            None => self.new_attachment(config, request)?,
        };
        attachment.host_ports = request.host_ports.clone();
        self.attached.insert(request.sandbox_id.clone(), attachment.clone());
        Ok((attachment, new))
    }

    fn new_attachment(&mut self, config: &Config, request: &AttachRequest) -> Result<Attachment, Error> {
        let address = self.addresses.take().ok_or(Error::Exhausted(config.pod_cidr))?;
        let host_interface = config
            .pod_interface(address)
            .ok_or_else(|| Error::Config(format!("{address} is not a pod's")))?;
        Ok(Attachment {
            sandbox_id: request.sandbox_id.clone(),
            pod_uid: request.pod_uid.clone(),
            pod_namespace: request.pod_namespace.clone(),
            pod_name: request.pod_name.clone(),
            addresses: vec![address],
            host_interface,
            host_ports: Vec::new(),
        })
    }

    fn check_host_ports(&self, request: &AttachRequest) -> Result<(), Error> {
        for pod in self.attached.values().filter(|pod| pod.sandbox_id != request.sandbox_id) {
            for wanted in &request.host_ports {
                if pod.host_ports.iter().any(|port| overlaps(port, wanted)) {
                    let any = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
                    return Err(Error::HostPortTaken {
                        address: wanted.host_ip.unwrap_or(any),
                        port: wanted.host_port,
                        protocol: wanted.protocol,
                        holder: format!("{}/{}", pod.pod_namespace, pod.pod_name),
                    });
                }
            }
        }
        Ok(())
    }
}
