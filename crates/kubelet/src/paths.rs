//! Where things of a pod are on the node.
//!
//! Invariant: everything derives from the agent's root folder, so that several agents live side by side. Answers to
//! the kubelet's `kubelet_getters.go`.

use std::path::{Path, PathBuf};

/// The folders of the agent.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Below `root`.
    pub fn new(root: &Path) -> Paths {
        Paths { root: root.to_owned() }
    }

    /// The folder of all pods.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// A file system in memory, shared by all volumes that must not reach the disk.
    pub fn memory(&self) -> PathBuf {
        self.root.join("memory")
    }

    /// Volumes that outlive pods.
    pub fn storage(&self) -> PathBuf {
        self.root.join("storage")
    }

    /// Logs of all pods.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Network namespaces of all pods.
    pub fn namespaces(&self) -> PathBuf {
        self.root.join("netns")
    }

    /// The folders of one pod.
    pub fn pod(&self, uid: &str) -> PodPaths {
        PodPaths::new(&self.root, uid)
    }
}

/// The folders of one pod.
#[derive(Clone, Debug)]
pub struct PodPaths {
    root: PathBuf,
    uid: String,
}

impl PodPaths {
    /// Below the agent's root.
    pub fn new(root: &Path, uid: &str) -> PodPaths {
        // A UID is part of paths; one that is not a plain name must not lead elsewhere.
        PodPaths { root: root.to_owned(), uid: uid.replace(['/', '\0'], "_") }
    }

    /// All of the pod but logs and what is in memory.
    pub fn folder(&self) -> PathBuf {
        self.root.join("pods").join(&self.uid)
    }

    /// Its volumes on disk.
    pub fn volumes(&self) -> PathBuf {
        self.folder().join("volumes")
    }

    /// Its volumes in memory.
    pub fn memory(&self) -> PathBuf {
        self.root.join("memory").join(&self.uid)
    }

    /// A volume on disk.
    pub fn volume(&self, kind: &str, name: &str) -> PathBuf {
        self.volumes().join(kind).join(name)
    }

    /// A volume in memory.
    pub fn memory_volume(&self, kind: &str, name: &str) -> PathBuf {
        self.memory().join(kind).join(name)
    }

    /// Parts of volumes that containers mount.
    pub fn subpaths(&self) -> PathBuf {
        self.folder().join("volume-subpaths")
    }

    /// Files of one container, such as termination messages.
    pub fn container(&self, name: &str) -> PathBuf {
        self.folder().join("containers").join(name)
    }

    /// The pod's `/etc/hosts`.
    pub fn hosts(&self) -> PathBuf {
        self.folder().join("etc-hosts")
    }

    /// The pod's `/etc/resolv.conf`.
    pub fn resolv_conf(&self) -> PathBuf {
        self.folder().join("resolv.conf")
    }

    /// The pod's logs.
    pub fn logs(&self, namespace: &str, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{namespace}_{name}_{}", self.uid))
    }

    /// The network namespace of a run of its sandbox.
    pub fn namespace(&self, sandbox: &str) -> PathBuf {
        self.root.join("netns").join(sandbox)
    }
}
