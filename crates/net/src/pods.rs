//! The pods of the node: addresses, links, records.
//!
//! Invariant: a record is on disk before anything of it is in the kernel, and until nothing is; whatever
//! a crash leaves, the next attach or detach of that sandbox finds and finishes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::link::{Addresses, Links, Records, default_mtu, interfaces, prepare_host};
use crate::{AttachRequest, Attachment, Config, Error, HostPort};

/// All that is attached.
pub struct Pods {
    config: Config,
    records: Records,
    links: Links,
    addresses: Addresses,
    attached: BTreeMap<String, Attachment>,
    mtu: u32,
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
        let addresses = Addresses::new(config.pod_cidr);
        let mut pods = Self { config: config.clone(), records, links, addresses, attached: BTreeMap::new(), mtu };
        pods.adopt()?;
        Ok(pods)
    }

    fn adopt(&mut self) -> Result<(), Error> {
        for pod in self.records.load()? {
            if pod.addresses.iter().all(|address| self.addresses.adopt(*address)) {
                self.attached.insert(pod.sandbox_id.clone(), pod);
            } else {
                tracing::warn!(sandbox = pod.sandbox_id, "dropping a record whose address cannot be its own");
                self.records.remove(&pod.sandbox_id)?;
            }
        }
        let own = self.config.gateway_interface();
        for name in interfaces(&self.config.interface_prefix())? {
            if name != own && !self.attached.values().any(|pod| pod.host_interface == name) {
                self.links.delete(&name)?;
            }
        }
        Ok(())
    }

    /// All attachments.
    pub fn list(&self) -> Vec<Attachment> {
        self.attached.values().cloned().collect()
    }

    /// One attachment.
    pub fn get(&self, sandbox_id: &str) -> Option<&Attachment> {
        self.attached.get(sandbox_id)
    }

    /// Gives a sandbox an address and links. Leaves nothing if it fails.
    pub fn attach(&mut self, request: &AttachRequest) -> Result<Attachment, Error> {
        let id = &request.sandbox_id;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(Error::Config(format!("sandbox id {id:?} is not made of letters, digits, '-', '_' and '.'")));
        }
        self.check_host_ports(request)?;
        let known = self.attached.get(id).cloned();
        let new = known.is_none();
        let mut attachment = match known {
            Some(attachment) => attachment,
            None => self.reserve(request)?,
        };
        attachment.host_ports = request.host_ports.clone();
        let made = self.records.write(&attachment).and_then(|()| self.connect(request, &attachment));
        if let Err(error) = made {
            if new {
                self.undo(&attachment);
            }
            return Err(error);
        }
        self.attached.insert(id.clone(), attachment.clone());
        Ok(attachment)
    }

    fn reserve(&mut self, request: &AttachRequest) -> Result<Attachment, Error> {
        let address = self.addresses.take().ok_or(Error::Exhausted(self.config.pod_cidr))?;
        let host_interface =
            self.config.pod_interface(address).ok_or_else(|| Error::Config(format!("{address} is not a pod's")))?;
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

    fn connect(&mut self, request: &AttachRequest, attachment: &Attachment) -> Result<(), Error> {
        let name = &attachment.host_interface;
        if self.links.is_whole(name, &request.netns)? {
            return Ok(());
        }
        let address = attachment.addresses[0];
        self.links.create_pod(name, &request.netns, address, self.config.gateway(), self.mtu)
    }

    fn undo(&mut self, attachment: &Attachment) {
        let result = self.remove(attachment);
        if let Err(error) = result {
            // The record stays if the link could not go; a later detach tries again.
            tracing::warn!(sandbox = attachment.sandbox_id, %error, "cannot undo a failed attachment");
            self.attached.insert(attachment.sandbox_id.clone(), attachment.clone());
        }
    }

    fn remove(&mut self, attachment: &Attachment) -> Result<(), Error> {
        self.links.delete(&attachment.host_interface)?;
        self.records.remove(&attachment.sandbox_id)?;
        for address in &attachment.addresses {
            self.addresses.give_back(*address);
        }
        Ok(())
    }

    /// Takes everything back from a sandbox.
    pub fn detach(&mut self, sandbox_id: &str) -> Result<(), Error> {
        let Some(attachment) = self.attached.get(sandbox_id).cloned() else { return Ok(()) };
        self.remove(&attachment)?;
        self.attached.remove(sandbox_id);
        Ok(())
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
