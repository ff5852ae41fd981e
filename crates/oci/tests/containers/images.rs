//! Images as containers see them, and what a crash leaves of an import.

use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use gifee_oci::ImageService;
use gifee_oci::images::ProcessConfig;
use gifee_oci::spec::ContainerSpec;
use tar::{Builder, EntryType, Header};

use crate::machine::{Machine, open_images, shell};

/// The first argument that makes this executable import an image, to be killed.
pub const IMPORTER: &str = "test-importer";

/// Imports an archive.
pub fn importer(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (folder, archive) = (args.next().expect("a folder"), args.next().expect("an archive"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let images = open_images(Path::new(&folder));
        println!("ready");
        images.import_rootfs(Path::new(&archive), "big", ProcessConfig::default()).await.expect("import");
    });
    ExitCode::SUCCESS
}

/// An import that is killed leaves nothing that is taken for an image, and can be done again.
pub async fn import_killed() {
    let machine = Machine::new().await;
    let folder = machine.folder.path().join("other");
    let archive = machine.folder.path().join("big.tar");
    let mut tar = Builder::new(std::fs::File::create(&archive).expect("a file"));
    for number in 0..1000 {
        let mut header = Header::new_gnu();
        header.set_size(10_000);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("folder{}/file{number}", number % 7), [b'x'; 10_000].as_slice())
            .expect("an entry");
    }
    tar.into_inner().expect("complete");
    for delay in [5, 40, 80, 120, 200] {
        let mut child = Command::new("/proc/self/exe")
            .args([IMPORTER.as_ref(), folder.as_os_str(), archive.as_os_str()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("an importer");
        let mut word = [0; 6];
        child.stdout.take().expect("piped").read_exact(&mut word).expect("ready");
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let _ = child.kill();
        let done = child.wait().expect("gone").success();
        let images = open_images(&folder);
        let stack = images.stack("big").expect("readable");
        assert_eq!(std::fs::read_dir(folder.join("images/tmp")).expect("a folder").count(), 0);
        if let Some(stack) = stack {
            let layer = stack.folder.join(&stack.layers[0]);
            let files: usize = (0..7)
                .map(|n| std::fs::read_dir(layer.join(format!("folder{n}"))).expect("a folder").count())
                .sum();
            assert_eq!(files, 1000, "after {delay} ms, {done}");
        }
    }
    let images = open_images(&folder);
    images.import_rootfs(&archive, "big", ProcessConfig::default()).await.expect("import");
    images.collect().expect("collect");
    assert_eq!(std::fs::read_dir(folder.join("images/blobs/sha256")).expect("blobs").count(), 3);
    machine.clean().await;
}

/// Upper layers hide, replace and add; the image says what runs, and as whom.
pub async fn layers() {
    let machine = Machine::new().await;
    let base = std::fs::read(machine.folder.path().join("busybox.tar")).expect("a tar");
    let entry = |tar: &mut Builder<Vec<u8>>, name: &str, text: &str, mode: u32| {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(mode);
        header.set_entry_type(if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
        tar.append_data(&mut header, name, text.as_bytes()).expect("an entry");
    };
    let mut second = Builder::new(Vec::new());
    for (name, text, mode) in
        [("etc/one", "1\n", 0o644), ("opt/", "", 0o755), ("opt/old", "old\n", 0o644), ("srv/gone", "", 0o644)]
    {
        entry(&mut second, name, text, mode);
    }
    let mut third = Builder::new(Vec::new());
    for (name, text, mode) in [
        ("srv/.wh.gone", "", 0o644),
        ("opt/", "", 0o755),
        ("opt/.wh..wh..opq", "", 0o644),
        ("opt/new", "new\n", 0o644),
        ("etc/one", "2\n", 0o644),
        ("tmp/made", "", 0o4755),
    ] {
        entry(&mut third, name, text, mode);
    }
    let layers = [base, second.into_inner().expect("complete"), third.into_inner().expect("complete")];
    let archive = machine.folder.path().join("layers.tar");
    write_docker_archive(&archive, &layers);
    let images = machine.images.import_archive(&archive, Some("layered")).await.expect("import");
    assert_eq!(images[0].layers.len(), 3);
    let sandbox = machine.sandbox().await;
    let script = "cat /etc/one; ls /opt /srv; stat -c %a /tmp /tmp/made; id -un; pwd; echo $0 $1";
    let spec = ContainerSpec {
        image: "layered".to_owned(),
        command: vec![],
        args: vec![script.to_owned(), "zero".to_owned(), "one".to_owned()],
        ..shell("")
    };
    let (exit, text) = machine.run(&sandbox, spec.clone()).await;
    assert_eq!(text, "2\n/opt:\nnew\n\n/srv:\n1777\n4755\nweb\n/opt\nzero one\n");
    assert_eq!(exit.code, 0);
    // The image may go while a container uses it, and goes when that does.
    let id =
        machine.start(&sandbox, ContainerSpec { args: vec!["exec sleep 1000".to_owned()], ..spec }).await;
    machine.images.remove("layered").await.expect("remove");
    let list = ["cat", "/etc/one"].map(str::to_owned);
    use gifee_oci::Runtime;
    let result = machine.runtime.exec_sync(&id, &list, None).await.expect("exec");
    assert_eq!(result.stdout, b"2\n");
    machine.runtime.remove_container(&id).await.expect("remove");
    machine.images.collect().expect("collect");
    // The base layer is another image's as well; beside it lies only the empty one.
    let left = std::fs::read_dir(machine.folder.path().join("images/layers")).expect("layers").count();
    assert_eq!(left, 2);
    machine.clean().await;
}

/// What `docker save` writes.
fn write_docker_archive(path: &Path, layers: &[Vec<u8>]) {
    let mut tar = Builder::new(std::fs::File::create(path).expect("a file"));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).expect("an entry");
    };
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "config": {
            "Env": ["PATH=/bin"], "Entrypoint": ["sh", "-c"], "Cmd": ["false"], "User": "web", "WorkingDir": "/opt",
        },
    });
    add("config.json", &serde_json::to_vec(&config).expect("JSON"));
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": null, "Layers": names}]);
    add("manifest.json", &serde_json::to_vec(&manifest).expect("JSON"));
    tar.into_inner().expect("complete");
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let hash = sha2::Sha256::digest(bytes);
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}
