//! What is decided once for a data directory and kept in it: names, ports, address ranges.
//!
//! Several data directories run side by side on one machine. Each gets an instance of its own, an index into ranges and
//! ports, chosen under one lock and registered in a folder that all of them share.

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// Where instances of this machine register; gone at reboot, made anew from each data directory.
const REGISTRY: &str = "/run/gifee";
/// How many instances one machine can hold: as many as ranges of the default shape.
const INSTANCES: u8 = 64;
const API_PORT: u16 = 6443;
const KUBELET_PORT: u16 = 10250;
const FILE: &str = "cluster.json";

/// The settings of one data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Short name of this instance in interfaces, tables and cgroups.
    pub instance: String,
    /// Which of the default ranges are in use.
    pub index: u8,
    /// Name of the node.
    pub node_name: String,
    /// Port of the API server.
    pub api_port: u16,
    /// Port of the node agent.
    pub kubelet_port: u16,
    /// Addresses of all pods, such as `10.244.0.0/16`.
    pub cluster_cidr: String,
    /// Prefix length of a node's range of them.
    #[serde(default = "node_cidr_mask_size")]
    pub node_cidr_mask_size: u8,
    /// Addresses of this machine's pods.
    pub pod_cidr: String,
    /// Addresses of Services.
    pub service_cidr: String,
    /// DNS domain.
    pub cluster_domain: String,
}

/// The usual size: 254 pods.
fn node_cidr_mask_size() -> u8 {
    24
}

/// What the command line asks for; absent values are chosen.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Name of the node; the host's by default.
    pub node_name: Option<String>,
    /// Port of the API server.
    pub api_port: Option<u16>,
    /// Port of the node agent.
    pub kubelet_port: Option<u16>,
    /// Addresses of pods.
    pub cluster_cidr: Option<String>,
    /// Prefix length of a node's range of them.
    pub node_cidr_mask_size: Option<u8>,
    /// Addresses of Services.
    pub service_cidr: Option<String>,
}

impl Settings {
    /// The settings of a data directory; None if it was never initialised.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn load(data_dir: &Path) -> Result<Option<Self>> {
        let path = data_dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    /// The settings of a data directory, chosen now if it is new.
    ///
    /// # Errors
    /// If the directory cannot be written, or what is wanted contradicts what was decided.
    pub fn open(data_dir: &Path, wanted: &Wanted) -> Result<Self> {
        fs::create_dir_all(data_dir).with_context(|| format!("creating {}", data_dir.display()))?;
        let data_dir = data_dir.canonicalize()?;
        let registry = Registry::lock()?;
        if let Some(settings) = Self::load(&data_dir)? {
            settings.agree(wanted)?;
            registry.register(&data_dir, &settings)?;
            return Ok(settings);
        }
        let taken = registry.taken(&data_dir)?;
        let settings = choose(wanted, &taken)?;
        let text = serde_json::to_vec_pretty(&settings)?;
        write_private(&data_dir.join(FILE), &text)?;
        registry.register(&data_dir, &settings)?;
        Ok(settings)
    }

    /// Takes an instance that has ended off the register of this machine.
    ///
    /// # Errors
    /// If the register cannot be written.
    pub fn forget(&self) -> Result<()> {
        let _registry = Registry::lock()?;
        match fs::remove_file(entry(&self.instance)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("unregistering"),
            _ => Ok(()),
        }
    }

    fn agree(&self, wanted: &Wanted) -> Result<()> {
        let differs = |flag: &str, have: &str, want: Option<String>| match want {
            Some(want) if want != have => bail!(
                "{flag} is {have} since this data directory was initialised; it cannot become {want} (start without the flag, or use a new --data-dir)"
            ),
            _ => Ok(()),
        };
        differs("--node-name", &self.node_name, wanted.node_name.clone())?;
        differs("--api-port", &self.api_port.to_string(), wanted.api_port.map(|port| port.to_string()))?;
        differs(
            "--kubelet-port",
            &self.kubelet_port.to_string(),
            wanted.kubelet_port.map(|port| port.to_string()),
        )?;
        differs("--cluster-cidr", &self.cluster_cidr, wanted.cluster_cidr.clone())?;
        let (have, want) = (self.node_cidr_mask_size, wanted.node_cidr_mask_size);
        differs("--node-cidr-mask-size", &have.to_string(), want.map(|size| size.to_string()))?;
        differs("--service-cidr", &self.service_cidr, wanted.service_cidr.clone())
    }

    /// The first address of the Service range: the `kubernetes` Service.
    ///
    /// # Errors
    /// If the range is malformed.
    pub fn api_address(&self) -> Result<IpAddr> {
        nth(&self.service_cidr, 1)
    }

    /// The cluster DNS's address: the tenth of the Service range.
    ///
    /// # Errors
    /// If the range is malformed.
    pub fn dns_address(&self) -> Result<IpAddr> {
        nth(&self.service_cidr, 10)
    }

    /// URL of the API server on this machine.
    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }
}

fn nth(cidr: &str, index: u32) -> Result<IpAddr> {
    let base = cidr.split('/').next().unwrap_or_default();
    let base: Ipv4Addr = base.parse().with_context(|| format!("{cidr} is no IPv4 range"))?;
    Ok(Ipv4Addr::from_bits(base.to_bits() + index).into())
}

fn entry(instance: &str) -> PathBuf {
    Path::new(REGISTRY).join(format!("{instance}.dir"))
}

struct Registry {
    _lock: Flock<fs::File>,
}

impl Registry {
    fn lock() -> Result<Self> {
        fs::create_dir_all(REGISTRY)
            .with_context(|| format!("creating {REGISTRY} (gifee needs root: try sudo)"))?;
        let file = fs::File::create(Path::new(REGISTRY).join("lock"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        Ok(Self { _lock: lock })
    }

    /// The settings of all other instances whose data directories still exist.
    fn taken(&self, own: &Path) -> Result<Vec<Settings>> {
        let mut taken = Vec::new();
        for entry in fs::read_dir(REGISTRY)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "dir") {
                continue;
            }
            let directory = PathBuf::from(fs::read_to_string(&path)?);
            match Settings::load(&directory) {
                Ok(Some(settings)) if directory != own => taken.push(settings),
                _ => fs::remove_file(&path)?,
            }
        }
        Ok(taken)
    }

    fn register(&self, data_dir: &Path, settings: &Settings) -> Result<()> {
        let path = entry(&settings.instance);
        let own = data_dir.to_string_lossy();
        match fs::read_to_string(&path) {
            Ok(other) if other != *own && Path::new(&other).join(FILE).exists() => bail!(
                "{other} runs as instance {:?} on this machine already; was {own} copied from it?",
                settings.instance
            ),
            _ => Ok(fs::write(&path, own.as_bytes())?),
        }
    }
}

fn choose(wanted: &Wanted, taken: &[Settings]) -> Result<Settings> {
    let routes = routes()?;
    for index in 0..INSTANCES {
        if taken.iter().any(|one| one.index == index) {
            continue;
        }
        let cluster_cidr =
            wanted.cluster_cidr.clone().unwrap_or_else(|| format!("10.{}.0.0/16", 244 - index));
        let service_cidr = wanted.service_cidr.clone().unwrap_or_else(|| format!("10.{}.0.0/16", 96 + index));
        let in_use = |cidr: &str| routes.iter().any(|route| overlap(route, cidr));
        if in_use(&cluster_cidr) || in_use(&service_cidr) {
            if wanted.cluster_cidr.is_some() && wanted.service_cidr.is_some() {
                bail!("{cluster_cidr} or {service_cidr} overlaps a route that this machine has already");
            }
            continue;
        }
        let port = |wanted: Option<u16>, base: u16, of: fn(&Settings) -> u16| -> Option<u16> {
            if wanted.is_some() {
                return wanted;
            }
            let mut ports = std::iter::once(base).chain((1..=200).map(|step| base + step * 10));
            ports.find(|port| taken.iter().all(|one| of(one) != *port) && free(*port))
        };
        let (Some(api_port), Some(kubelet_port)) = (
            port(wanted.api_port, API_PORT, |one| one.api_port),
            port(wanted.kubelet_port, KUBELET_PORT, |one| one.kubelet_port),
        ) else {
            bail!(
                "no free port was found for the API server and the node agent; name them with --api-port and --kubelet-port"
            );
        };
        let node_cidr_mask_size = wanted.node_cidr_mask_size.unwrap_or_else(node_cidr_mask_size);
        return Ok(Settings {
            instance: format!("g{index}"),
            index,
            node_name: wanted.node_name.clone().unwrap_or_else(host_name),
            api_port,
            kubelet_port,
            node_cidr_mask_size,
            pod_cidr: first_node_cidr(&cluster_cidr, node_cidr_mask_size),
            cluster_cidr,
            service_cidr,
            cluster_domain: "cluster.local".into(),
        });
    }
    bail!("this machine holds {INSTANCES} instances already, or routes to all of their ranges")
}

/// The part of the first node in a cluster range; a smaller range is the node's whole.
fn first_node_cidr(cluster_cidr: &str, size: u8) -> String {
    match cluster_cidr.split_once('/') {
        Some((base, prefix)) if prefix.parse::<u8>().is_ok_and(|prefix| prefix < size) => {
            format!("{base}/{size}")
        }
        _ => cluster_cidr.to_owned(),
    }
}

fn free(port: u16) -> bool {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).is_ok()
}

/// The machine's name as a node name: lower case, only what a DNS name may hold.
pub fn host_name() -> String {
    let name =
        nix::unistd::gethostname().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// The address other machines reach this one at: the source of its default route. No packet is sent.
pub fn host_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address of a range that is for documentation: any but a local one asks the default route.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

type Range = (u32, u32);

fn routes() -> Result<Vec<Range>> {
    let text = fs::read_to_string("/proc/net/route").context("reading the routes of this machine")?;
    let hexadecimal = |text: &str| u32::from_str_radix(text, 16).map(u32::swap_bytes).ok();
    let routes = text.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (base, mask) = (hexadecimal(fields.get(1)?)?, hexadecimal(fields.get(7)?)?);
        // The default route leads everywhere and is no conflict.
        (mask != 0).then_some((base, base | !mask))
    });
    Ok(routes.collect())
}

fn overlap(route: &Range, cidr: &str) -> bool {
    let Some((base, prefix)) = cidr.split_once('/') else { return false };
    let (Ok(base), Ok(prefix)) = (base.parse::<Ipv4Addr>(), prefix.parse::<u32>()) else { return false };
    let host = u32::MAX.checked_shr(prefix).unwrap_or_default();
    let (first, last) = (base.to_bits() & !host, base.to_bits() | host);
    route.0 <= last && first <= route.1
}

/// Writes a file that only its owner reads, whole or not at all.
///
/// # Errors
/// If the disk refuses.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_overlap() {
        let route = (Ipv4Addr::new(10, 244, 3, 0).to_bits(), Ipv4Addr::new(10, 244, 3, 255).to_bits());
        assert!(overlap(&route, "10.244.0.0/16"));
        assert!(!overlap(&route, "10.243.0.0/16"));
        assert!(overlap(&route, "10.244.3.128/25"));
        assert_eq!(first_node_cidr("10.244.0.0/16", 22), "10.244.0.0/22");
        assert_eq!(first_node_cidr("10.244.0.0/26", 24), "10.244.0.0/26");
        assert!(!overlap(&route, "nonsense"));
    }

    #[test]
    fn a_second_directory_gets_other_numbers_and_a_decided_one_keeps_its_own() {
        let first = choose(&Wanted::default(), &[]).unwrap();
        let second = choose(&Wanted::default(), std::slice::from_ref(&first)).unwrap();
        assert_ne!((first.index, &first.instance), (second.index, &second.instance));
        assert_ne!(first.api_port, second.api_port);
        assert_ne!(first.cluster_cidr, second.cluster_cidr);
        assert!(first.agree(&Wanted::default()).is_ok());
        let other = Wanted { api_port: Some(first.api_port + 1), ..Wanted::default() };
        assert!(first.agree(&other).unwrap_err().to_string().contains("--api-port"));
    }
}
