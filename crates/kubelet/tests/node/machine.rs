//! What a test needs: an API server in memory, a runtime with an image, a network, an agent, and nothing left of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gifee_base::{Gvr, ObjectKey, Status};
use gifee_client::fake::Fake;
use gifee_client::{Cache, Scope};
use gifee_kubelet::{Access, Config, Peer};
use gifee_net::Network;
use gifee_oci::images::{self, ProcessConfig};
use gifee_oci::{ImageService, ImageStore, Local, Runtime, cgroups};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Only bounds a hang.
const DEADLINE: Duration = Duration::from_secs(300);

/// The image that every machine has.
pub const IMAGE: &str = "busybox:test";

/// Moves the process into a network namespace of its own, with `lo`. The process has one thread.
pub fn isolate() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
    gifee_net::link::Links::open().expect("links").set_up("lo").expect("lo is up");
}

/// Lets everybody do everything, as tests of the server need.
struct Everybody;

#[async_trait]
impl Access for Everybody {
    async fn allowed(&self, peer: &Peer, _: &str, _: &str) -> Result<(), Status> {
        match peer.token.as_deref() {
            Some("refused") => Err(Status::new(gifee_base::Reason::Forbidden, "Forbidden")),
            _ => Ok(()),
        }
    }
}

/// A node and its API server.
pub struct Machine {
    pub fake: Arc<Fake>,
    pub runtime: Arc<Local>,
    pub images: ImageStore,
    pub network: Arc<Network>,
    pub folder: tempfile::TempDir,
    cgroup: String,
    number: u8,
    pods: Arc<Cache>,
    changed: Arc<Notify>,
    agent: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    stop: CancellationToken,
}

impl Machine {
    /// A node whose agent runs.
    pub async fn new() -> Machine {
        let mut machine = Machine::without_agent().await;
        machine.start().await;
        machine
    }

    /// A node whose agent does not yet run.
    pub async fn without_agent() -> Machine {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let images =
            ImageStore::open(images::Config { root: folder.path().join("images"), ..Default::default() });
        let images = images.expect("images");
        let archive = folder.path().join("busybox.tar");
        write_rootfs(&archive);
        let config = ProcessConfig { env: Some(vec!["PATH=/bin".to_owned()]), ..ProcessConfig::default() };
        images.import_rootfs(&archive, IMAGE, config).await.expect("import");
        let runtime = open_runtime(folder.path(), images.clone()).await;
        let network = Network::start(network_config(folder.path(), number)).await.expect("a network");
        let fake = Fake::new();
        let stop = CancellationToken::new();
        let pods = Cache::start(fake.client(), Scope::all(Gvr::core("pods")), stop.clone());
        let changed = Arc::new(Notify::new());
        let told = changed.clone();
        pods.subscribe(move |_| told.notify_waiters());
        pods.synced().await;
        let cgroup = format!("/gifee-kubelet-test-{}-{number}", std::process::id());
        Machine { fake, runtime, images, network, folder, cgroup, number, pods, changed, agent: None, stop }
    }

    /// Starts the agent.
    pub async fn start(&mut self) {
        let address = "127.0.0.1".parse().expect("an address");
        let mut config =
            Config::new("node", self.folder.path().join("agent"), address, tls(), Arc::new(Everybody));
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.cgroup_root.clone_from(&self.cgroup);
        config.cluster_dns = vec![self.network.config().cluster_dns];
        let stop = CancellationToken::new();
        let running = gifee_kubelet::run(
            config,
            self.fake.client(),
            self.runtime.clone(),
            Arc::new(self.images.clone()),
            self.network.clone(),
            stop.clone(),
        );
        let task = tokio::spawn(async move { running.await.expect("the agent runs") });
        self.agent = Some((stop, task));
    }

    /// Ends the agent wherever it is: nothing of it is asked to clean up.
    pub async fn kill_agent(&mut self) {
        let (stop, task) = self.agent.take().expect("it runs");
        stop.cancel();
        task.await.expect("it ends");
    }

    /// The port of the agent's server.
    pub async fn port(&self) -> u16 {
        let nodes = Gvr::core("nodes");
        let node = self.until(
            || self.fake.object(&nodes, &ObjectKey::cluster("node")),
            |node| node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].is_u64(),
        );
        let port = &node.await["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
        u16::try_from(port.as_u64().expect("a port")).expect("a port")
    }

    /// Creates a pod bound to the node.
    pub fn pod(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = json!("node");
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = json!(5);
        }
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container["image"].is_null() {
                    container["image"] = json!(IMAGE);
                    container["imagePullPolicy"] = json!("IfNotPresent");
                }
            }
        }
        self.fake.put(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec}));
    }

    /// A pod as it is.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.fake.object(&Gvr::core("pods"), &ObjectKey::new("default", name))
    }

    /// Waits until a pod is as `wanted` says.
    pub async fn wait(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until(|| self.get(name), wanted).await
    }

    /// Waits until a pod has a phase.
    pub async fn phase(&self, name: &str, phase: &str) -> Value {
        self.wait(name, |pod| pod["status"]["phase"] == phase).await
    }

    /// Waits until a pod is gone.
    pub async fn gone(&self, name: &str) {
        self.until(|| Some(json!(self.get(name).is_none())), |gone| gone == true).await;
    }

    /// Waits until something is as wanted.
    pub async fn until(&self, get: impl Fn() -> Option<Value>, wanted: impl Fn(&Value) -> bool) -> Value {
        let last = std::cell::RefCell::new(None);
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let now = get();
                if let Some(value) = now.clone().filter(|value| wanted(value)) {
                    return value;
                }
                last.replace(now);
                // What is not a pod does not notify.
                let _ = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(value) => value,
            Err(_) => panic!(
                "did not come: {}\nevents: {:#?}",
                serde_json::to_string_pretty(&last.take()).expect("json"),
                self.events()
            ),
        }
    }

    /// Deletes a pod as a client would.
    pub async fn delete(&self, name: &str, grace: Option<i64>) {
        let options = gifee_client::DeleteOptions { grace_period_seconds: grace, ..Default::default() };
        let key = ObjectKey::new("default", name);
        self.fake.client().delete(&Gvr::core("pods"), &key, &options).await.expect("deleted");
    }

    /// `reason: message` of all events so far.
    pub fn events(&self) -> Vec<String> {
        let events = self.fake.objects(&Gvr::core("events"));
        let text = |event: &Value| {
            format!("{}: {}", event["reason"].as_str().unwrap_or(""), event["message"].as_str().unwrap_or(""))
        };
        events.iter().map(text).collect()
    }

    /// The log of a run of a container, without times and tags.
    pub fn log(&self, pod: &str, container: &str, number: i32) -> String {
        let uid = self.get(pod).map(|pod| pod["metadata"]["uid"].as_str().unwrap_or("").to_owned());
        let folder = format!("default_{pod}_{}", uid.unwrap_or_default());
        let file =
            self.folder.path().join("agent/logs").join(folder).join(container).join(format!("{number}.log"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| format!("{}\n", line.splitn(4, ' ').nth(3).unwrap_or(""))).collect()
    }

    /// Deletes all pods and checks that nothing is left of them.
    pub async fn clean(mut self) {
        let names: Vec<String> = self.pods.read().all().map(|pod| pod.name().to_owned()).collect();
        for name in &names {
            self.delete(name, Some(1)).await;
        }
        for name in &names {
            self.gone(name).await;
        }
        let root = self.folder.path().join("agent");
        let runtime = self.runtime.clone();
        let empty =
            |folder: &Path| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        let clean = async {
            while !(runtime.sandboxes().await.expect("sandboxes").is_empty()
                && ["pods", "memory", "logs", "netns"].iter().all(|name| empty(&root.join(name))))
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, clean).await.is_err() {
            let left = std::process::Command::new("find").arg(&root).output().expect("find");
            panic!("left: {}", String::from_utf8_lossy(&left.stdout));
        }
        self.kill_agent().await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some((stop, task)) = self.agent.take() {
            task.abort();
            stop.cancel();
        }
        let _ = cgroups::kill(&self.cgroup);
        let _ = cgroups::remove(&self.cgroup);
        let root = self.folder.path().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points =
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|at| at.starts_with(&root));
        for point in points.collect::<Vec<_>>().into_iter().rev() {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = self.number;
    }
}

async fn open_runtime(folder: &Path, images: ImageStore) -> Arc<Local> {
    let executable = PathBuf::from("/proc/self/exe");
    let config = gifee_oci::local::Config { root: folder.join("run"), executable, images };
    Arc::new(Local::open(config).await.expect("a runtime"))
}

fn network_config(folder: &Path, number: u8) -> gifee_net::Config {
    gifee_net::Config {
        instance: format!("k{number}"),
        node_name: "node".to_owned(),
        pod_cidr: format!("10.{number}.0.0/24").parse().expect("a range"),
        cluster_cidr: format!("10.{number}.0.0/16").parse().expect("a range"),
        service_cidr: format!("172.20.{number}.0/24").parse().expect("a range"),
        cluster_dns: format!("172.20.{number}.10").parse().expect("an address"),
        cluster_domain: "cluster.local".to_owned(),
        mtu: None,
        state_dir: folder.join("network"),
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
    }
}

fn tls() -> Arc<rustls::ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.expect("a configuration"))
}

/// A tar of a root file system with busybox in it.
fn write_rootfs(path: &Path) {
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
    for folder in ["bin/", "etc/", "root/"] {
        add(folder, 0o755, &[]);
    }
    add("tmp/", 0o1777, &[]);
    add("bin/busybox", 0o755, &std::fs::read(busybox).expect("busybox"));
    add("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    for name in [
        "sh", "cat", "echo", "sleep", "ls", "env", "hostname", "kill", "touch", "rm", "test", "httpd",
        "date", "nc", "seq", "mkdir", "true", "wc", "head", "grep",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").expect("a link");
    }
    tar.into_inner().expect("complete");
}
