//! What the machine is and has.
//!
//! Answers to cadvisor's machine information and to the kubelet's container manager.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::config::Config;
use crate::eviction::thresholds::Thresholds;
use crate::usage;
use gifee_base::Quantity;
use gifee_base::quantity::Format;
use k8s_openapi::api::core::v1::NodeSystemInfo;

/// The Kubernetes version that the agent speaks.
pub const VERSION: &str = "v1.37.0";

/// What the machine has.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Processors.
    pub cpus: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Bytes of the disk that the agent's folder is on.
    pub disk_bytes: i64,
    /// What it is.
    pub info: NodeSystemInfo,
}

impl Machine {
    /// Looks at the machine.
    pub fn look(root: &Path) -> std::io::Result<Machine> {
        let memory = memory()?.0;
        let disk = rustix::fs::statvfs(root)?;
        let read =
            |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let uname = rustix::system::uname();
        let architecture = match uname.machine().to_str().unwrap_or_default() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let info = NodeSystemInfo {
            architecture: architecture.to_owned(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            container_runtime_version: concat!("gifee://", env!("CARGO_PKG_VERSION")).to_owned(),
            kernel_version: uname.release().to_string_lossy().into_owned(),
            kubelet_version: VERSION.to_owned(),
            machine_id: read("/etc/machine-id"),
            operating_system: "linux".to_owned(),
            os_image: os_image(&read("/etc/os-release")),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            ..NodeSystemInfo::default()
        };
        let cpus =
            std::thread::available_parallelism().map_or(1, |cpus| i64::try_from(cpus.get()).unwrap_or(1));
        let disk_bytes = i64::try_from(disk.f_blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
        Ok(Machine { cpus, memory_bytes: memory, disk_bytes, info })
    }

    /// What there is.
    pub fn capacity(&self, pods: usize) -> BTreeMap<String, Quantity> {
        self.resources(pods, self.memory_bytes, self.disk_bytes)
    }

    /// What pods can have.
    pub fn allocatable(&self, config: &Config) -> BTreeMap<String, Quantity> {
        let thresholds = &config.thresholds;
        let memory = (self.memory_bytes - thresholds.memory.of(self.memory_bytes)).max(0);
        let disk = (self.disk_bytes - thresholds.disk(self.disk_bytes)).max(0);
        let mut resources = self.resources(config.max_pods, memory, disk);
        for (name, reserved) in &config.reserved {
            if let Some(amount) = resources.get_mut(name) {
                *amount = amount.minus(*reserved).max(Quantity::ZERO);
            }
        }
        resources
    }

    fn resources(&self, pods: usize, memory: i64, disk: i64) -> BTreeMap<String, Quantity> {
        let units = |value: i64| Quantity::from_units(value, Format::DecimalSi);
        // Rounded to what is written as `Ki`.
        let bytes = |value: i64| Quantity::from_units(value / 1024 * 1024, Format::BinarySi);
        BTreeMap::from([
            ("cpu".to_owned(), units(self.cpus)),
            ("memory".to_owned(), bytes(memory)),
            ("ephemeral-storage".to_owned(), bytes(disk)),
            ("pods".to_owned(), units(i64::try_from(pods).unwrap_or(110))),
            ("hugepages-1Gi".to_owned(), Quantity::ZERO),
            ("hugepages-2Mi".to_owned(), Quantity::ZERO),
        ])
    }
}

fn os_image(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".to_owned())
}

/// Bytes of memory: all, and what is available.
fn memory() -> std::io::Result<(i64, i64)> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        number.and_then(|number| number.parse::<i64>().ok()).unwrap_or(0) * 1024
    };
    Ok((field("MemTotal"), field("MemAvailable")))
}

/// Bytes of memory that could be given away; `None` if the machine does not say.
pub fn memory_available() -> Option<i64> {
    memory().ok().map(|(_, available)| available).filter(|available| *available > 0)
}

/// What the machine runs short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk, or inodes.
    pub disk: bool,
    /// Process numbers.
    pub pids: bool,
}

/// Looks what the machine runs short of. What cannot be read is no pressure.
pub fn pressure(root: &Path, thresholds: &Thresholds) -> Pressure {
    let memory = memory().is_ok_and(|(all, available)| available < thresholds.memory.of(all));
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let room = usage::room(root);
    // As df counts: what is set aside for others is nothing that pods could have used up.
    let usable = number(room.used.saturating_add(room.available));
    let disk = number(room.available) < thresholds.disk(usable)
        || number(room.inodes_free) < thresholds.inodes(number(room.inodes));
    let read = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i64>().ok());
    let used = fs::read_to_string("/proc/loadavg").ok().and_then(|text| {
        let field = text.split_whitespace().nth(3)?;
        field.split('/').nth(1)?.parse::<i64>().ok()
    });
    let most = read("/proc/sys/kernel/pid_max");
    let pids = used.zip(most).is_some_and(|(used, most)| most - used < thresholds.processes.of(most));
    Pressure { memory, disk, pids }
}
