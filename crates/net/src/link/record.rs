//! Attachments on disk, a file each.
//!
//! Invariant: a file is whole or absent: it is written beside and renamed, and removed only when nothing
//! in the kernel is left of it. Nothing is synced to the disk, because what the files describe does not
//! outlive the kernel either; a file that cannot be read (after power loss) describes nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use crate::{Attachment, Error, HostPort, Protocol};

/// The folder of attachments, held by one process at a time.
pub struct Records {
    folder: PathBuf,
    _lock: Flock<File>,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { action, path, source }
}

impl Records {
    /// Opens the folder, making it if need be. Fails if another process has it.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let folder = state_dir.join("pods");
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        let path = state_dir.join("lock");
        let file = File::create(&path).map_err(failed("create", &path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| failed("lock", &path)(errno.into()))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Everything that is recorded. Files that cannot be understood are removed.
    pub fn load(&self) -> Result<Vec<Attachment>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed("read", &self.folder))? {
            let path = entry.map_err(failed("read", &self.folder))?.path();
            let bytes = fs::read(&path).map_err(failed("read", &path))?;
            let whole = path.extension().is_some_and(|extension| extension == "json");
            match serde_json::from_slice(&bytes).ok().as_ref().and_then(decode).filter(|_| whole) {
                Some(attachment) => found.push(attachment),
                None => {
                    tracing::warn!(path = %path.display(), "removing a record that cannot be understood");
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
            }
        }
        found.sort_by(|one, other| one.sandbox_id.cmp(&other.sandbox_id));
        Ok(found)
    }

    fn path(&self, sandbox_id: &str) -> PathBuf {
        self.folder.join(format!("{sandbox_id}.json"))
    }

    /// Records an attachment.
    pub fn write(&self, attachment: &Attachment) -> Result<(), Error> {
        let path = self.path(&attachment.sandbox_id);
        let beside = path.with_extension("json.new");
        let write = |mut file: File| file.write_all(encode(attachment).to_string().as_bytes());
        File::create(&beside).and_then(write).map_err(failed("write", &beside))?;
        fs::rename(&beside, &path).map_err(failed("write", &path))
    }

    /// Forgets an attachment.
    pub fn remove(&self, sandbox_id: &str) -> Result<(), Error> {
        let path = self.path(sandbox_id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

fn encode(attachment: &Attachment) -> Value {
    let port = |port: &HostPort| {
        json!({
            "hostIP": port.host_ip.map(|address| address.to_string()),
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol.to_string().to_uppercase(),
        })
    };
    json!({
        "sandboxID": attachment.sandbox_id,
        "podUID": attachment.pod_uid,
        "podNamespace": attachment.pod_namespace,
        "podName": attachment.pod_name,
        "addresses": attachment.addresses.iter().map(ToString::to_string).collect::<Vec<String>>(),
        "hostInterface": attachment.host_interface,
        "hostPorts": attachment.host_ports.iter().map(port).collect::<Vec<Value>>(),
    })
}

fn decode(value: &Value) -> Option<Attachment> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let port = |value: &Value| {
        let host_ip = match &value["hostIP"] {
            Value::Null => None,
            other => Some(other.as_str()?.parse().ok()?),
        };
        Some(HostPort {
            host_ip,
            host_port: number(&value["hostPort"])?,
            container_port: number(&value["containerPort"])?,
            protocol: Protocol::from_name(value["protocol"].as_str()?)?,
        })
    };
    Some(Attachment {
        sandbox_id: text("sandboxID")?,
        pod_uid: text("podUID")?,
        pod_namespace: text("podNamespace")?,
        pod_name: text("podName")?,
        addresses: value["addresses"]
            .as_array()?
            .iter()
            .map(|one| one.as_str()?.parse().ok())
            .collect::<Option<_>>()?,
        host_interface: text("hostInterface")?,
        host_ports: value["hostPorts"].as_array()?.iter().map(port).collect::<Option<_>>()?,
    })
}
