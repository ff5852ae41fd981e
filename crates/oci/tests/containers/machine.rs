//! What a test needs: a runtime, an image, a sandbox, and nothing left of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gifee_oci::images::{self, ProcessConfig};
use gifee_oci::local::{Config, Local};
use gifee_oci::spec::{ContainerSpec, SandboxSpec};
use gifee_oci::status::{ContainerStatus, EventKind, Exit};
use gifee_oci::{ImageService, ImageStore, Runtime, cgroups};

/// The image that every machine has.
pub const IMAGE: &str = "busybox:test";

/// A runtime of a test's own.
pub struct Machine {
    pub runtime: Local,
    pub images: ImageStore,
    pub folder: tempfile::TempDir,
    pub cgroup: String,
}

impl Machine {
    /// A runtime with the image in it.
    pub async fn new() -> Machine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let cgroup =
            format!("/gifee-oci-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let images = open_images(folder.path());
        let archive = folder.path().join("busybox.tar");
        write_rootfs(&archive);
        let config = ProcessConfig {
            env: Some(vec!["PATH=/bin".to_owned(), "FROM_IMAGE=yes".to_owned()]),
            ..ProcessConfig::default()
        };
        images.import_rootfs(&archive, IMAGE, config).await.expect("import");
        let runtime = open_runtime(folder.path(), images.clone()).await;
        Machine { runtime, images, folder, cgroup }
    }

    /// A folder for logs.
    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// A sandbox with this group as its parent.
    pub fn sandbox_spec(&self) -> SandboxSpec {
        SandboxSpec {
            name: "test".to_owned(),
            hostname: Some("box".to_owned()),
            cgroup_parent: self.cgroup.clone(),
            log_directory: self.logs(),
            ..SandboxSpec::default()
        }
    }

    /// A sandbox that is ready.
    pub async fn sandbox(&self) -> String {
        self.runtime.create_sandbox(self.sandbox_spec()).await.expect("a sandbox").id
    }

    /// Runs a container to its end; returns that and what it wrote.
    pub async fn run(&self, sandbox: &str, spec: ContainerSpec) -> (Exit, String) {
        let name = format!("{}.log", COUNTER.fetch_add(1, Ordering::Relaxed));
        let spec = ContainerSpec { log_path: Some(PathBuf::from(&name)), ..spec };
        let id = self.runtime.create_container(sandbox, spec).await.expect("create");
        self.runtime.start_container(&id).await.expect("start");
        let exit = self.exit(&id).await;
        let text = output(&self.logs().join(name));
        self.runtime.remove_container(&id).await.expect("remove");
        (exit, text)
    }

    /// Creates and starts a container; returns its id.
    pub async fn start(&self, sandbox: &str, spec: ContainerSpec) -> String {
        let id = self.runtime.create_container(sandbox, spec).await.expect("create");
        self.runtime.start_container(&id).await.expect("start");
        id
    }

    /// Waits for a container's end.
    pub async fn exit(&self, id: &str) -> Exit {
        wait_for_exit(&self.runtime, id).await
    }

    /// Removes everything and checks that nothing is left.
    pub async fn clean(self) {
        self.runtime.clear().await.expect("clear");
        let root = self.folder.path().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&root), "a mount is left");
        let left: Vec<_> = cgroups::children(&self.cgroup).expect("groups");
        assert_eq!(left, Vec::<String>::new(), "control groups are left");
        cgroups::remove(&self.cgroup).expect("remove the parent");
        let sandboxes = self.folder.path().join("run/sandboxes");
        assert_eq!(std::fs::read_dir(sandboxes).expect("a folder").count(), 0, "a folder is left");
        let pins = self.folder.path().join("images/pins");
        assert_eq!(std::fs::read_dir(pins).expect("a folder").count(), 0, "a pin is left");
        assert_eq!(processes_of(&root), Vec::<i32>::new(), "a process is left");
    }
}

impl Drop for Machine {
    /// What a failed test leaves is ended here; after [`Machine::clean`] there is nothing.
    fn drop(&mut self) {
        let _ = cgroups::kill(&self.cgroup);
        let _ = cgroups::remove(&self.cgroup);
        let root = self.folder.path().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for point in
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| at.starts_with(&root))
        {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Opens the images of a folder.
pub fn open_images(folder: &Path) -> ImageStore {
    ImageStore::open(images::Config { root: folder.join("images"), ..images::Config::default() })
        .expect("images")
}

/// Opens the runtime of a folder.
pub async fn open_runtime(folder: &Path, images: ImageStore) -> Local {
    let executable = PathBuf::from("/proc/self/exe");
    Local::open(Config { root: folder.join("run"), executable, images }).await.expect("a runtime")
}

/// Waits for a container's end, at most for half a minute.
pub async fn wait_for_exit(runtime: &dyn Runtime, id: &str) -> Exit {
    let mut events = runtime.events();
    let wait = async {
        if let ContainerStatus { exit: Some(exit), .. } = runtime.container(id).await.expect("known") {
            return exit;
        }
        loop {
            let event = events.recv().await.expect("an event");
            if let EventKind::Exited(exit) = event.kind
                && event.container == id
            {
                return exit;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it ends")
}

/// A container that runs a shell command.
pub fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        name: "shell".to_owned(),
        image: IMAGE.to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        ..ContainerSpec::default()
    }
}

/// The text of a log file, without times and tags.
pub fn output(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut out = String::new();
    for line in text.lines() {
        let mut fields = line.splitn(4, ' ');
        let tag = fields.nth(2).unwrap_or_default();
        out.push_str(fields.next().unwrap_or_default());
        if tag == "F" {
            out.push('\n');
        }
    }
    out
}

/// Processes whose command line names this folder.
pub fn processes_of(root: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(root)
    };
    numbers.filter(ours).collect()
}

/// A tar of a root file system with busybox in it.
pub fn write_rootfs(path: &Path) {
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox (package busybox-static) is installed");
    let mut tar = tar::Builder::new(std::fs::File::create(path).expect("a file"));
    let mut add = |name: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_entry_type(if name.ends_with('/') {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        tar.append_data(&mut header, name, bytes).expect("an entry");
    };
    for folder in ["bin/", "etc/", "root/", "srv/"] {
        add(folder, 0o755, &[]);
    }
    add("tmp/", 0o1777, &[]);
    add("bin/busybox", 0o755, &std::fs::read(busybox).expect("busybox"));
    add("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/sh\n");
    add("etc/group", 0o644, b"root:x:0:\nwww:x:44:\nextra:x:50:web\n");
    for name in [
        "sh", "cat", "echo", "sleep", "ls", "id", "pwd", "env", "mount", "hostname", "ps", "kill", "dd",
        "mkdir", "touch", "stty", "tty", "head", "tail", "wc", "grep", "true", "false", "chmod", "rm", "yes",
        "mknod", "unshare", "seq", "stat", "test", "ip", "sysctl", "readlink", "trap", "setsid", "nice",
        "awk", "find", "sort", "tr",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").expect("a link");
    }
    tar.into_inner().expect("complete");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("readable");
}
