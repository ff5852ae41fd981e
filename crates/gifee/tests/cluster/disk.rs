//! A disk that fills up under a cluster: writes are refused in plain words, reads go on, nothing acknowledged is lost,
//! and writes go on once there is room.

use crate::fixture::Cluster;
use crate::run::runtime;
use crate::steps::Steps;
use gifee_base::{Gvr, ObjectKey, Status};
use gifee_client::{Client, Error};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Bytes of the disk: room for what a cluster writes at its start and for the journal's allocation ahead.
const DISK: &str = "size=768m";
/// Objects of this size are written until one is refused.
const OBJECT_BYTES: usize = 512 << 10;

#[test]
fn disk() {
    let disk = Disk::mount();
    let cluster = Cluster::up_in("disk", Path::new(disk.folder.path()));
    let steps = Steps::new(&cluster);
    let (client, maps) = (cluster.client(), Gvr::core("configmaps"));
    let mut acknowledged = Vec::new();
    steps.step("a write", || acknowledged.push(create(&client, 0).expect("there is room")));
    let filler = disk.folder.path().join("filler");
    steps.step("a full disk refuses writes and says why", || {
        fill(&filler);
        let refused = (1..2_000).find_map(|number| match create(&client, number) {
            Ok(name) => {
                acknowledged.push(name);
                None
            }
            Err(status) => Some(status),
        });
        let status = refused.expect("a full disk took 1 GB");
        assert_eq!(status.code, 500, "{status:?}");
        assert!(status.message.to_lowercase().contains("no space left on"), "{status:?}");
    });
    steps.step("reads go on", || {
        let read = runtime().block_on(client.get(&maps, &ObjectKey::new("default", &acknowledged[0])));
        assert!(read.is_ok(), "{read:?}");
    });
    steps.step("with room again, writes go on", || {
        fs::remove_file(&filler).unwrap();
        acknowledged.push(create(&client, 5_000).expect("there is room again"));
    });
    steps.step("everything acknowledged is there, also after a kill", || {
        let there = || -> Vec<String> {
            let all = cluster.list(&maps, "default", "");
            all.iter().map(|map| map["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let before = there();
        assert!(acknowledged.iter().all(|name| before.contains(name)));
        cluster.kill();
        cluster.start().ok();
        let after = there();
        assert!(acknowledged.iter().all(|name| after.contains(name)));
    });
    steps.end();
    drop(cluster);
}

/// A small file system of its own.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn mount() -> Self {
        let folder = tempfile::Builder::new().prefix("gifee-full-").tempdir().unwrap();
        let options = std::ffi::CString::new(DISK).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, Some(options.as_c_str())).unwrap();
        Self { folder }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let gone = rustix::mount::unmount(self.folder.path(), rustix::mount::UnmountFlags::DETACH);
        assert!(gone.is_ok() || std::thread::panicking(), "{gone:?}");
    }
}

/// Writes until not one byte more goes in.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4 << 10, 1] {
        let piece = vec![0x5a; size];
        while file.write_all(&piece).is_ok() {}
    }
}

fn create(client: &Client, number: usize) -> Result<String, Box<Status>> {
    let name = format!("large-{number}");
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
        "data": { "text": "x".repeat(OBJECT_BYTES) } });
    match runtime().block_on(client.create(&Gvr::core("configmaps"), "default", object)) {
        Ok(_) => Ok(name),
        Err(Error::Status(status)) => Err(status),
        Err(other) => panic!("no answer: {other:?}"),
    }
}
