//! A cluster of a test's own: brought up by the binary, ended and deleted when it is dropped.

use crate::run::{DEADLINE, Ran, run, runtime};
use futures_util::StreamExt;
use gifee_base::{FieldSelector, Gvr};
use gifee_client::{Client, Event, Kubeconfig, ListOptions, Tls, WatchOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The binary under test.
pub const GIFEE: &str = env!("CARGO_BIN_EXE_gifee");
/// kubectl of these ages drives it.
pub const AGES: [&str; 3] = ["1.20", "1.32", "1.36"];
/// The image that [`Cluster::busybox`] makes. Its default command serves a page on port 8000.
pub const BUSYBOX: &str = "busybox:1";
/// What the page says.
pub const PAGE: &str = "a page out of busybox";

/// A running cluster.
pub struct Cluster {
    /// Which test it is for.
    pub subject: &'static str,
    /// A folder for the test's own files.
    pub folder: tempfile::TempDir,
    /// Its data directory.
    pub data_dir: PathBuf,
    kubeconfig: PathBuf,
}

/// What a part of gifee that lacks a right writes to the log.
const REFUSED: &str = "is forbidden: User \"system:";

impl Cluster {
    /// Brings one up.
    pub fn up(subject: &'static str) -> Self {
        Self::up_in(subject, &std::env::temp_dir())
    }

    /// Brings one up with its data directory in a folder below this one.
    pub fn up_in(subject: &'static str, place: &Path) -> Self {
        assert!(rustix::process::geteuid().is_root(), "clusters need root: sudo ./test");
        let folder = tempfile::Builder::new().prefix(&format!("gifee-{subject}-")).tempdir_in(place).unwrap();
        let data_dir = folder.path().canonicalize().unwrap().join("data");
        let kubeconfig = folder.path().join("kubeconfig");
        let cluster = Self { subject, folder, data_dir, kubeconfig };
        eprintln!("{}", cluster.start().ok());
        cluster
    }

    /// Runs `gifee up --detach` on it.
    pub fn start(&self) -> Ran {
        self.start_with(&[])
    }

    /// The same with further flags.
    pub fn start_with(&self, more: &[&str]) -> Ran {
        let (data_dir, kubeconfig) = (self.data_dir.to_string_lossy(), self.kubeconfig.to_string_lossy());
        let words = ["up", "--detach", "--data-dir", &data_dir, "--kubeconfig", &kubeconfig];
        self.gifee(&[&words, more].concat())
    }

    /// A file of a KubeletConfiguration.
    pub fn configuration(&self, fields: &Value) -> String {
        let mut tree =
            json!({ "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration" });
        tree.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let path = self.folder.path().join("kubelet.json");
        std::fs::write(&path, tree.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs `gifee down` on it.
    pub fn down(&self, purge: bool) -> Ran {
        let data_dir = self.data_dir.to_string_lossy();
        let words = ["down", "--data-dir", &data_dir, "--purge"];
        self.gifee(if purge { &words } else { &words[..3] })
    }

    /// Runs the binary.
    #[track_caller]
    pub fn gifee(&self, words: &[&str]) -> Ran {
        self.gifee_with(words, "")
    }

    /// Runs the binary with input.
    #[track_caller]
    pub fn gifee_with(&self, words: &[&str], input: &str) -> Ran {
        run(Path::new(GIFEE), words, &[("KUBECONFIG", &self.kubeconfig)], input.as_bytes())
    }

    /// Runs the newest kubectl.
    #[track_caller]
    pub fn kubectl(&self, words: &[&str]) -> Ran {
        self.aged("1.36", words, "")
    }

    /// Runs kubectl of an age, with input.
    #[track_caller]
    pub fn aged(&self, age: &str, words: &[&str], input: &str) -> Ran {
        let program = self.kubectl_path(age);
        // Its cache of what servers can do goes by address, and addresses are used again.
        let home = self.folder.path().join(format!("home-{age}"));
        run(&program, words, &[("KUBECONFIG", &self.kubeconfig), ("HOME", &home)], input.as_bytes())
    }

    /// Where kubectl of an age is.
    #[track_caller]
    pub fn kubectl_path(&self, age: &str) -> PathBuf {
        let program = target("peers").join(format!("kubectl-{age}"));
        assert!(program.exists(), "{} is missing: `./test` fetches it", program.display());
        program
    }

    /// How kubectl reaches it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Imports the image of an example.
    pub fn example(&self, name: &str) {
        let file = target("images").join(format!("{name}.tar"));
        assert!(file.exists(), "{} is missing: `./test` builds it", file.display());
        self.import(&file, &["--rootfs", "--name", &format!("{name}:1.0")]).ok();
    }

    /// Runs `gifee image import`.
    pub fn import(&self, file: &Path, more: &[&str]) -> Ran {
        let (file, data_dir) = (file.to_string_lossy(), self.data_dir.to_string_lossy());
        let mut words = vec!["image", "import", &*file, "--data-dir", &*data_dir];
        words.extend(more);
        self.gifee(&words)
    }

    /// Makes an image of the machine's static busybox and imports it.
    pub fn busybox(&self) {
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists());
        let busybox = busybox.expect("busybox is missing: `./test` installs it (Debian: busybox-static)");
        let root = self.folder.path().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("www")).unwrap();
        std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh",
            "cat",
            "echo",
            "sleep",
            "httpd",
            "wget",
            "nslookup",
            "hostname",
            "tar",
            "wc",
            "head",
            "sha256sum",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("www/index.html"), PAGE).unwrap();
        let file = self.folder.path().join("busybox.tar");
        tar(&root, &file, &["."]);
        // The first process of a container gets no signal that it does not ask for.
        let serve = r#"["sh", "-c", "trap 'exit 0' TERM; echo serving; httpd -f -p 8000 -h /www & wait"]"#;
        self.import(&file, &["--rootfs", "--name", BUSYBOX, "--cmd", serve]).ok();
    }

    /// A client of the API over TLS, with a connection of its own.
    pub fn client(&self) -> Client {
        let config = Kubeconfig::load(&self.kubeconfig).unwrap().tls(None).unwrap();
        Client::new(Arc::new(Tls::new(&config).unwrap())).named("cluster-test")
    }

    /// What `gifee` decided for this data directory.
    pub fn setting(&self, name: &str) -> String {
        let text = std::fs::read(self.data_dir.join("cluster.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()[name].as_str().unwrap().to_owned()
    }

    /// The process that serves it.
    pub fn pid(&self) -> i32 {
        std::fs::read_to_string(self.data_dir.join("gifee.lock")).unwrap().trim().parse().unwrap()
    }

    /// Kills the process that serves it, as a power cut would, and waits until it is gone.
    pub fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL).unwrap();
        let mut ended = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(
            rustix::event::poll(&mut ended, Some(&timeout)).unwrap(),
            1,
            "{} does not die",
            self.pid()
        );
    }

    /// Watches one object until it is as wanted; a missing one is null.
    #[track_caller]
    pub fn until(&self, gvr: &Gvr, namespace: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waited = runtime().block_on(async {
            tokio::time::timeout(DEADLINE, follow(&self.client(), gvr, namespace, name, &wanted, &mut last))
                .await
        });
        assert!(waited.is_ok(), "{} {namespace}/{name} did not become as wanted: {last:#}", gvr.resource);
        last
    }

    /// Watches all objects with these labels until they are as wanted.
    #[track_caller]
    pub fn until_all(
        &self,
        gvr: &Gvr,
        namespace: &str,
        labels: &str,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let mut last = Vec::new();
        let waited = runtime().block_on(async {
            tokio::time::timeout(
                DEADLINE,
                follow_all(&self.client(), gvr, namespace, labels, &wanted, &mut last),
            )
            .await
        });
        assert!(waited.is_ok(), "{} of {namespace} did not become as wanted: {last:#?}", gvr.resource);
        last
    }

    /// All objects of a resource in a namespace, with these labels.
    #[track_caller]
    pub fn list(&self, gvr: &Gvr, namespace: &str, labels: &str) -> Vec<Value> {
        let labels = gifee_base::LabelSelector::parse(labels).unwrap();
        let options = ListOptions { labels, ..ListOptions::default() };
        let page = runtime().block_on(self.client().list_all(gvr, namespace, &options)).unwrap();
        page.items.iter().map(|object| object.to_value().unwrap()).collect()
    }

    /// What a person would look at first when something is wrong.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for words in [&["get", "pods", "-A", "-o", "wide"][..], &["get", "events", "-A"]] {
            text.push_str(&self.gifee(words).to_string());
        }
        let log = std::fs::read_to_string(self.data_dir.join("gifee.log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(40).collect();
        text.extend(last.iter().rev().flat_map(|line| [*line, "\n"]));
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let log = std::fs::read_to_string(self.data_dir.join("gifee.log")).unwrap_or_default();
        // Controllers and the node are tried with their own rights only here.
        let refused: Vec<&str> = log.lines().filter(|line| line.contains(REFUSED)).collect();
        let refused = refused.join("\n");
        let down =
            Command::new(GIFEE).args(["down", "--purge", "--data-dir"]).arg(&self.data_dir).output().unwrap();
        if !down.status.success() {
            let said = String::from_utf8_lossy(&down.stderr).into_owned();
            eprintln!("{}: gifee down failed: {said}", self.subject);
            assert!(std::thread::panicking(), "{}: gifee down failed: {said}", self.subject);
        }
        let fine = refused.is_empty() || std::thread::panicking();
        assert!(fine, "{}: parts of gifee may not do what they do:\n{refused}", self.subject);
    }
}

/// Lists anew at each change.
async fn follow_all(
    client: &Client,
    gvr: &Gvr,
    namespace: &str,
    labels: &str,
    wanted: &impl Fn(&[Value]) -> bool,
    last: &mut Vec<Value>,
) {
    let labels = gifee_base::LabelSelector::parse(labels).unwrap();
    loop {
        let options = ListOptions { labels: labels.clone(), ..ListOptions::default() };
        let page = client.list_all(gvr, namespace, &options).await.unwrap();
        *last = page.items.iter().map(|object| object.to_value().unwrap()).collect();
        if wanted(last) {
            return;
        }
        let options = WatchOptions {
            labels: labels.clone(),
            resource_version: Some(page.resource_version),
            ..WatchOptions::default()
        };
        let mut watch = client.watch(gvr, namespace, &options).await.unwrap();
        // Any event, or the end of the watch, is cause to look again.
        while let Some(Ok(Event::Bookmark { .. })) = watch.next().await {}
    }
}

async fn follow(
    client: &Client,
    gvr: &Gvr,
    namespace: &str,
    name: &str,
    wanted: &impl Fn(&Value) -> bool,
    last: &mut Value,
) {
    let fields = FieldSelector::parse(&format!("metadata.name={name}")).unwrap();
    loop {
        let options = ListOptions { fields: fields.clone(), ..ListOptions::default() };
        let page = client.list(gvr, namespace, &options).await.unwrap();
        *last = page.items.first().map_or(Value::Null, |object| object.to_value().unwrap());
        if wanted(last) {
            return;
        }
        let options = WatchOptions {
            fields: fields.clone(),
            resource_version: Some(page.resource_version),
            ..WatchOptions::default()
        };
        let mut watch = client.watch(gvr, namespace, &options).await.unwrap();
        while let Some(Ok(event)) = watch.next().await {
            match event {
                Event::Added(object) | Event::Modified(object) => *last = object.to_value().unwrap(),
                Event::Deleted(_) => *last = Value::Null,
                Event::Bookmark { .. } => continue,
            }
            if wanted(last) {
                return;
            }
        }
    }
}

/// Where `./test` puts what it fetches and builds.
pub fn target(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(folder)
}

/// Packs files of a folder into an archive.
pub fn tar(folder: &Path, file: &Path, words: &[&str]) {
    let packed = Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(file).args(words).output().unwrap();
    assert!(packed.status.success(), "{packed:?}");
}
