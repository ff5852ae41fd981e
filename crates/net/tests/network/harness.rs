//! A host in a namespace, servers that say who they are and whom they see, clients that listen.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gifee_net::link::{Links, netns};
use gifee_net::service::{Endpoint, ServicePort, ServicePortName};
use gifee_net::{AttachRequest, Config, Error, HostPort, Network, PodNetwork, Protocol};
use nix::sched::{CloneFlags, unshare};

/// The address of the outside world's only machine, and the host's towards it.
pub const WORLD: &str = "192.0.2.2";
pub const HOST: &str = "192.0.2.1";
/// A dropped packet is noticed by its absence.
const PATIENCE: Duration = Duration::from_millis(700);
/// What is to be answered may take as long as this, which only bounds a hang.
const DEADLINE: Duration = Duration::from_secs(300);

pub struct Host {
    pub network: Arc<Network>,
    pub config: Config,
    folder: tempfile::TempDir,
}

pub struct Pod {
    pub id: String,
    pub address: IpAddr,
    pub netns: PathBuf,
}

/// Unbinds the namespaces in a folder and removes it, however the test ends.
struct Unbind(PathBuf);

impl Drop for Unbind {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = netns::remove(&entry.path());
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a test on a host of its own.
pub fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F + Send + 'static) {
    on_bare_host(move |folder| async move {
        let config = config(folder.path());
        let network = Network::start(config.clone()).await.unwrap();
        network.complete_services().await.unwrap();
        test(Host { network, config, folder }).await;
    });
}

/// Runs a test in a namespace that has a world beside it, and nothing of this crate.
pub fn on_bare_host<F: Future<Output = ()>>(test: impl FnOnce(tempfile::TempDir) -> F + Send + 'static) {
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root: they make network namespaces");
        let folder = tempfile::tempdir().unwrap();
        let _unbind = Unbind(folder.path().to_path_buf());
        let world = folder.path().join("world");
        netns::create(&world).unwrap();
        let mut links = Links::open().unwrap();
        links.set_up("lo").unwrap();
        links.create_pod("wan0", &world, WORLD.parse().unwrap(), HOST.parse().unwrap(), 1500).unwrap();
        // Threads of the runtime are children of this one, and so are in its namespace.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(test(folder))));
        runtime.shutdown_background();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    };
    let thread = std::thread::Builder::new().name("host".into()).spawn(body).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn config(folder: &Path) -> Config {
    Config {
        instance: "t1".into(),
        node_name: "node".into(),
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        cluster_dns: "10.96.0.10".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
        mtu: None,
        state_dir: folder.join("state"),
        resolv_conf: folder.join("resolv.conf"),
    }
}

pub fn request(id: &str, netns: &Path, host_ports: Vec<HostPort>) -> AttachRequest {
    AttachRequest {
        sandbox_id: id.into(),
        pod_uid: format!("uid-{id}"),
        pod_namespace: "default".into(),
        pod_name: id.into(),
        netns: netns.to_path_buf(),
        host_ports,
    }
}

impl Host {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn world(&self) -> PathBuf {
        self.path("world")
    }

    pub async fn pod(&self, id: &str) -> Pod {
        self.pod_with(id, vec![]).await.unwrap()
    }

    pub async fn pod_with(&self, id: &str, host_ports: Vec<HostPort>) -> Result<Pod, Error> {
        let netns = self.path(id);
        netns::create(&netns).unwrap();
        let attachment = self.network.attach(&request(id, &netns, host_ports)).await?;
        Ok(Pod { id: id.into(), address: attachment.addresses[0], netns })
    }

    /// A pod with a server on TCP and UDP port 8080.
    pub async fn server(&self, id: &str) -> Pod {
        let pod = self.pod(id).await;
        serve(Some(&pod.netns), id, SocketAddr::new(pod.address, 8080));
        pod
    }

    pub async fn apply(&self, ports: &[ServicePort]) {
        let changes = ports.iter().map(|port| (port.name.clone(), Some(port.clone()))).collect();
        self.network.change_services(changes).await.unwrap();
    }
}

pub fn service(name: &str, address: &str, protocol: Protocol, pods: &[&Pod]) -> ServicePort {
    let endpoint = |pod: &&Pod| Endpoint {
        address: pod.address,
        port: 8080,
        ready: true,
        serving: true,
        terminating: false,
        local: true,
    };
    ServicePort {
        name: ServicePortName {
            namespace: "default".into(),
            service: name.into(),
            protocol,
            port: String::new(),
        },
        cluster_ips: vec![address.parse().unwrap()],
        port: 80,
        node_port: None,
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        affinity_seconds: None,
        external_local: false,
        internal_local: false,
        endpoints: pods.iter().map(endpoint).collect(),
    }
}

fn within<T: Send>(place: Option<&Path>, work: impl FnOnce() -> T + Send) -> T {
    match place {
        Some(path) => netns::inside(path, || Ok(work())).unwrap(),
        None => work(),
    }
}

/// Answers `<name> <client address>` to each connection and each datagram, until the test ends.
pub fn serve(place: Option<&Path>, name: &str, address: SocketAddr) {
    let (listener, socket) =
        within(place, || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
    let own = name.to_owned();
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let _ = write!(stream, "{own} {}", from.ip());
        }
    });
    let own = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{own} {}", from.ip()).as_bytes(), from);
        }
    });
}

/// What a TCP server answers to a client in a place (`None` for the host).
pub fn ask(place: Option<&Path>, address: &str) -> io::Result<String> {
    ask_within(place, address, DEADLINE)
}

fn ask_within(place: Option<&Path>, address: &str, patience: Duration) -> io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    within(place, || {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// A UDP client that keeps its port.
pub fn udp(place: Option<&Path>, address: &str) -> UdpSocket {
    let socket = within(place, || UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(address.parse::<SocketAddr>().unwrap()).unwrap();
    socket
}

pub fn ask_udp(socket: &UdpSocket) -> io::Result<String> {
    socket.send(b"who")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// How often each name answers.
pub fn count(place: Option<&Path>, address: &str, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let answer = ask(place, address).unwrap();
        *counts.entry(answer.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

pub fn refused(result: io::Result<String>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether nothing answers, not even that nobody is there.
pub fn silent(place: Option<&Path>, address: &str) -> bool {
    let result = ask_within(place, address, PATIENCE);
    result.is_err_and(|error| matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock))
}

/// Whether nobody answers, or it is said that nobody is there.
pub fn unreachable(place: Option<&Path>, address: &str) -> bool {
    ask_within(place, address, PATIENCE).is_err()
}

/// Whether a UDP client is not answered.
pub fn silent_udp(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = ask_udp(socket);
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    answer.is_err()
}
