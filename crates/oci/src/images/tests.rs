//! Archives, good and bad, and a registry of our own.

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tar::{Builder, EntryType, Header};

use super::content::digest;
use super::store::ImageStore;
use super::unpack::unpack;
use super::*;
use crate::error::Error;
use crate::runtime::ImageService;

/// An entry of a layer: name, kind, content or target.
type Entry<'a> = (&'a str, EntryType, &'a str);

const FILE: EntryType = EntryType::Regular;
const FOLDER: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

/// A tar with names written as they are, however bad.
fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, kind, text) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == FOLDER { 0o751 } else { 0o640 });
        header.set_mtime(1_000_000);
        header.set_uid(7);
        header.set_gid(8);
        let data: &[u8] = if *kind == FILE { text.as_bytes() } else { &[] };
        header.set_size(data.len() as u64);
        let raw = header.as_gnu_mut().expect("a GNU header");
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(*kind, LINK | HARD) {
            raw.linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        tar.append(&header, data).expect("an entry");
    }
    tar.into_inner().expect("complete")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

fn unpacked(entries: &[Entry<'_>]) -> (tempfile::TempDir, PathBuf, Result<super::unpack::Unpacked, String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    std::fs::create_dir(&root).expect("a folder");
    std::fs::write(folder.path().join("outside"), "untouched").expect("a file");
    let bytes = layer(entries);
    let result = unpack(bytes.as_slice(), "layer sha256:1234", &root).map_err(|error| error.to_string());
    assert_eq!(std::fs::read_to_string(folder.path().join("outside")).expect("a file"), "untouched");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        2,
        "something was written outside"
    );
    if let Ok(unpacked) = &result {
        assert_eq!(unpacked.diff_id, digest(&bytes));
    }
    (folder, root, result)
}

#[test]
fn what_is_in_a_layer_is_on_disk() {
    let (_folder, root, result) = unpacked(&[
        ("./", FOLDER, ""),
        ("./bin/", FOLDER, ""),
        ("./bin/tool", FILE, "first"),
        ("./bin/tool", FILE, "program"),
        ("./bin/alias", LINK, "/bin/tool"),
        ("./bin/same", HARD, "bin/tool"),
        ("./deep/er/file", FILE, ""),
        ("./was", FILE, "a file"),
        ("./was/", FOLDER, ""),
        ("./was/now", FILE, "a folder"),
    ]);
    assert_eq!(result.expect("fine").implied, [Path::new("deep"), Path::new("deep/er")]);
    let about = |path: &str| std::fs::symlink_metadata(root.join(path)).expect("there");
    assert_eq!(std::fs::read_to_string(root.join("bin/same")).expect("a file"), "program");
    assert_eq!(about("bin/same").ino(), about("bin/tool").ino());
    assert_eq!(
        (about("bin").mode() & 0o7777, about("bin").uid(), about("bin").mtime()),
        (0o751, 7, 1_000_000)
    );
    assert_eq!((about("bin/tool").mode() & 0o7777, about("bin/tool").gid()), (0o640, 8));
    assert_eq!((about("bin/alias").uid(), about("bin/alias").mtime()), (7, 1_000_000));
    assert_eq!(std::fs::read_to_string(root.join("was/now")).expect("a file"), "a folder");
    assert_eq!((about("deep").mode() & 0o7777, about("").mode() & 0o7777), (0o755, 0o751));
}

#[test]
fn whiteouts() {
    let (_folder, root, result) = unpacked(&[
        ("etc/.wh.passwd", FILE, ""),
        ("var/", FOLDER, ""),
        ("var/.wh..wh..opq", FILE, ""),
        ("var/new", FILE, "x"),
        (".wh..wh.plnk", FILE, ""),
    ]);
    result.expect("fine");
    let hidden = std::fs::symlink_metadata(root.join("etc/passwd")).expect("there");
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
    assert_eq!(
        xattr::get(root.join("var"), "trusted.overlay.opaque").expect("readable"),
        Some(b"y".to_vec())
    );
    assert!(!root.join(".wh..wh.plnk").exists());
}

#[test]
fn hostile_layers() {
    let refused = |entries: &[Entry<'_>], expect: &str| {
        let (_folder, _, result) = unpacked(entries);
        let error = result.expect_err(expect);
        assert!(error.starts_with("layer sha256:1234: ") && error.contains(expect), "{error}");
    };
    refused(&[("../../etc/x", FILE, "x")], "entry \"../../etc/x\" escapes the root filesystem");
    refused(&[("a/../../outside", FILE, "x")], "entry \"a/../../outside\" escapes the root filesystem");
    refused(&[("a/", FOLDER, ""), ("a/../..", FOLDER, "")], "escapes the root filesystem");
    refused(&[("x", HARD, "../outside")], "entry \"x\" escapes the root filesystem");
    refused(&[("x", HARD, "/nothing")], "cannot be linked to \"nothing\"");
    refused(&[("d/", FOLDER, ""), ("x", HARD, "d")], "cannot be linked");
    refused(&[(".wh...", FILE, "")], "not a valid whiteout");
    refused(&[(".wh.", FILE, "")], "not a valid whiteout");
    refused(&[("x", EntryType::new(b'%'), "")], "unknown kind");
    refused(&[("loop", LINK, "loop"), ("loop/x", FILE, "")], "cannot be unpacked");

    // Links that lead out end at the root instead: nothing outside is touched.
    let (_folder, root, result) = unpacked(&[
        ("up", LINK, "../../../../../.."),
        ("up/outside", FILE, "inside"),
        ("host", LINK, "/"),
        ("host/second", FILE, "inside"),
        ("/absolute", FILE, "inside"),
        ("link", LINK, "../outside"),
        ("link", FILE, "replaced"),
    ]);
    result.expect("contained");
    for name in ["outside", "second", "absolute"] {
        assert_eq!(std::fs::read_to_string(root.join(name)).expect(name), "inside");
    }
    assert_eq!(std::fs::read_to_string(root.join("link")).expect("a file"), "replaced");

    // What would lead overlayfs astray does not arrive.
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions([
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc".as_slice()),
        ("SCHILY.xattr.user.kept", b"yes".as_slice()),
    ])
    .expect("extensions");
    let mut header = Header::new_ustar();
    header.set_entry_type(FOLDER);
    header.set_size(0);
    tar.append_data(&mut header, "d/", std::io::empty()).expect("an entry");
    let folder = tempfile::tempdir().expect("a folder");
    unpack(tar.into_inner().expect("complete").as_slice(), "layer", folder.path()).expect("fine");
    let extended = |name| xattr::get(folder.path().join("d"), name).expect("readable");
    assert_eq!((extended("trusted.overlay.redirect"), extended("user.kept")), (None, Some(b"yes".to_vec())));
}

#[test]
fn oversized_and_broken_layers() {
    let folder = tempfile::tempdir().expect("a folder");
    // A name of a gigabyte, out of a few kilobytes.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    let bomb = std::io::Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(b'a').take(1 << 30));
    let error = unpack(bomb, "layer", folder.path()).expect_err("too long").to_string();
    assert!(error.contains("more than is allowed"), "{error}");
    for broken in [&b"not a tar at all"[..], &gzip(b"nor this")[..12], &layer(&[("a", FILE, "text")])[..520]]
    {
        let result = unpack(broken, "layer sha256:9", folder.path());
        let error = result.expect_err("broken").to_string();
        assert!(error.starts_with("layer sha256:9"), "{error}");
    }
}

fn store() -> (tempfile::TempDir, ImageStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { root: folder.path().join("images"), ..Config::default() };
    let store = ImageStore::open(config).expect("a store");
    (folder, store)
}

/// Blobs of an image by digest, and its manifest.
struct Made {
    blobs: Vec<(String, Vec<u8>)>,
    manifest: serde_json::Value,
    config: Vec<u8>,
}

fn make(layers: &[Vec<u8>], uncompressed: &[Vec<u8>]) -> Made {
    let diff_ids: Vec<String> = uncompressed.iter().map(|bytes| digest(bytes)).collect();
    let config = serde_json::to_vec(&json!({
        "architecture": reference::architecture(), "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["A=b"], "User": "web", "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))
    .expect("JSON");
    let describe = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe("config.v1+json", &config),
        "layers": layers.iter().map(|bytes| describe("layer.v1.tar+gzip", bytes)).collect::<Vec<_>>(),
    });
    let mut blobs: Vec<(String, Vec<u8>)> =
        layers.iter().map(|bytes| (digest(bytes), bytes.clone())).collect();
    blobs.push((digest(&config), config.clone()));
    Made { blobs, manifest, config }
}

/// Two layers, of which the second hides and implies parts of the first.
fn two_layers() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let uncompressed = vec![
        layer(&[("etc/", FOLDER, ""), ("etc/one", FILE, "1"), ("etc/two", FILE, "2")]),
        layer(&[("etc/.wh.one", FILE, ""), ("etc/three", FILE, "3")]),
    ];
    (vec![gzip(&uncompressed[0]), uncompressed[1].clone()], uncompressed)
}

/// A tar of files.
fn archive(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.join("archive.tar");
    let mut tar = Builder::new(std::fs::File::create(&path).expect("a file"));
    for (name, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).expect("an entry");
    }
    tar.into_inner().expect("complete");
    path
}

fn check_two_layers(store: &ImageStore, name: &str) -> Stack {
    let stack = store.stack(name).expect("readable").expect("present");
    let paths: Vec<PathBuf> = stack.layers.iter().map(|layer| stack.folder.join(layer)).collect();
    assert_eq!(paths.len(), 2);
    assert!(std::fs::symlink_metadata(paths[0].join("etc/one")).expect("there").file_type().is_char_device());
    assert_eq!(std::fs::read_to_string(paths[1].join("etc/one")).expect("a file"), "1");
    // The upper layer only implies `etc`, and so takes after the lower one.
    let about = std::fs::metadata(paths[0].join("etc")).expect("there");
    assert_eq!((about.permissions().mode() & 0o7777, about.uid()), (0o751, 7));
    let image = &stack.image;
    assert_eq!(image.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(image.config.user.as_deref(), Some("web"));
    stack
}

#[tokio::test]
async fn oci_layouts() {
    let (folder, store) = store();
    let (layers, uncompressed) = two_layers();
    let made = make(&layers, &uncompressed);
    let manifest = serde_json::to_vec(&made.manifest).expect("JSON");
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
        "annotations": {"io.containerd.image.name": "example.com/app:v1"},
    }]});
    let index = serde_json::to_vec(&index).expect("JSON");
    let path = |digest: &str| format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
    let names: Vec<(String, Vec<u8>)> =
        made.blobs.iter().map(|(digest, bytes)| (path(digest), bytes.clone())).collect();
    let manifest_path = path(&digest(&manifest));
    let mut files: Vec<(&str, &[u8])> = vec![("index.json", &index), (&manifest_path, &manifest)];
    files.extend(names.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let images = store.import_archive(&archive(folder.path(), &files), None).await.expect("import");
    assert_eq!(images[0].names, ["example.com/app:v1"]);
    check_two_layers(&store, "example.com/app:v1");
    store.import_archive(&archive(folder.path(), &files), Some("mine")).await.expect("import");
    check_two_layers(&store, "mine");
    check_two_layers(&store, &images[0].id);
    let all = store.list().await.expect("a list");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].names, ["docker.io/library/mine:latest", "example.com/app:v1"]);
    // Without one of its blobs.
    let (other, empty) = self::store();
    files.pop();
    let error = empty.import_archive(&archive(other.path(), &files), None).await.expect_err("incomplete");
    assert!(error.to_string().contains("it lacks blob"), "{error}");
    // With one that is not what it is called.
    files.push((&names[0].0, b"something else"));
    let error = empty.import_archive(&archive(other.path(), &files), None).await.expect_err("wrong");
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert!(empty.list().await.expect("a list").is_empty());
}

#[tokio::test]
async fn docker_archives() {
    let (folder, store) = store();
    let (_, uncompressed) = two_layers();
    let made = make(&uncompressed, &uncompressed);
    let manifest =
        json!([{"Config": "abc.json", "RepoTags": ["app:v2"], "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    let manifest = serde_json::to_vec(&manifest).expect("JSON");
    let files: Vec<(&str, &[u8])> = vec![
        ("1/layer.tar", &uncompressed[0]),
        ("2/layer.tar", &uncompressed[1]),
        ("abc.json", &made.config),
        ("manifest.json", &manifest),
    ];
    let path = archive(folder.path(), &files);
    let images = store.import_archive(&path, None).await.expect("import");
    assert_eq!(images[0].names, ["docker.io/library/app:v2"]);
    check_two_layers(&store, "app:v2");
    let compressed = folder.path().join("archive.tar.gz");
    std::fs::write(&compressed, gzip(&std::fs::read(&path).expect("a file"))).expect("a file");
    store.import_archive(&compressed, Some("zipped")).await.expect("import");
    check_two_layers(&store, "zipped");
    let error =
        store.import_archive(&archive(folder.path(), &files[..3]), None).await.expect_err("no manifest");
    assert!(error.to_string().contains("neither an OCI layout nor a Docker archive"), "{error}");
}

#[tokio::test]
async fn removal() {
    let (folder, store) = store();
    let file = folder.path().join("rootfs.tar");
    for (name, text) in [("one", "1"), ("two", "2")] {
        std::fs::write(&file, layer(&[("word", FILE, text)])).expect("a file");
        store.import_rootfs(&file, name, ProcessConfig::default()).await.expect("import");
    }
    let layers = || std::fs::read_dir(folder.path().join("images/layers")).expect("layers").count() - 1;
    let blobs = || std::fs::read_dir(folder.path().join("images/blobs/sha256")).expect("blobs").count();
    assert_eq!((layers(), blobs()), (2, 6));
    store.take("container", &["one"]).expect("present");
    store.remove("one").await.expect("remove");
    store.remove("one").await.expect("remove again");
    assert_eq!(store.inspect("one").await.expect("readable"), None);
    assert_eq!((layers(), blobs()), (2, 6));
    store.unpin("container").expect("unpin");
    store.collect().expect("collect");
    assert_eq!((layers(), blobs()), (1, 3));
    let two = store.inspect("two").await.expect("readable").expect("present");
    store.remove(&two.id).await.expect("remove");
    assert_eq!((layers(), blobs()), (0, 0));
    assert!(store.inspect("nice name!").await.is_err());
}

#[tokio::test]
async fn interrupted_work_is_swept() {
    let (folder, store) = store();
    let left = folder.path().join("images/tmp/left");
    std::fs::create_dir_all(left.join("half/a/layer")).expect("a folder");
    std::fs::write(folder.path().join("images/tmp/file"), "half a blob").expect("a file");
    // A layer that does not unpack to its end has no name, and takes no room.
    let file = folder.path().join("rootfs.tar");
    std::fs::write(&file, layer(&[("fine", FILE, "x"), ("../bad", FILE, "x")])).expect("a file");
    let error = store.import_rootfs(&file, "bad", ProcessConfig::default()).await.expect_err("hostile");
    assert!(error.to_string().contains("entry \"../bad\" escapes the root filesystem"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path().join("images/layers")).expect("layers").count(), 1);
    assert!(store.list().await.expect("a list").is_empty());
    let again = ImageStore::open(Config { root: folder.path().join("images"), ..Config::default() })
        .expect("a store");
    assert_eq!(std::fs::read_dir(folder.path().join("images/tmp")).expect("a folder").count(), 0);
    again.collect().expect("collect");
    assert_eq!(std::fs::read_dir(folder.path().join("images/blobs/sha256")).expect("blobs").count(), 0);
}

/// A registry that serves what it is given and counts what is asked.
fn registry(files: Vec<(String, &'static str, Vec<u8>)>) -> (String, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let files = Arc::new(files);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (files, counted) = (files.clone(), counted.clone());
            std::thread::spawn(move || {
                let mut request = vec![0; 8192];
                let length = { &stream }.read(&mut request).unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let found = files
                    .iter()
                    .find(|(name, ..)| path == format!("/v2/{name}") || path == "/v2/" && name.is_empty());
                let (status, kind, body) = match found {
                    Some((_, kind, body)) => ("200 OK", *kind, body.clone()),
                    None if path == "/v2/" => ("200 OK", "application/json", b"{}".to_vec()),
                    None => (
                        "404 Not Found",
                        "application/json",
                        br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#.to_vec(),
                    ),
                };
                if path.contains("/blobs/") {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = { &stream }.write_all(head.as_bytes()).and_then(|()| { &stream }.write_all(&body));
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling() {
    let (_folder, store) = store();
    let (layers, uncompressed) = two_layers();
    let made = make(&layers, &uncompressed);
    let manifest = serde_json::to_vec(&made.manifest).expect("JSON");
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(b"other"), "size": 5,
         "platform": {"os": "linux", "architecture": "s390x"}},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
         "platform": {"os": "linux", "architecture": reference::architecture()}},
    ]});
    let index = serde_json::to_vec(&index).expect("JSON");
    let mut files = vec![
        ("app/manifests/v1".to_owned(), "application/vnd.oci.image.index.v1+json", index.clone()),
        (
            format!("app/manifests/{}", digest(&index)),
            "application/vnd.oci.image.index.v1+json",
            index.clone(),
        ),
        (
            format!("app/manifests/{}", digest(&manifest)),
            "application/vnd.oci.image.manifest.v1+json",
            manifest,
        ),
        ("app/manifests/broken".to_owned(), "application/vnd.oci.image.manifest.v1+json", {
            let mut other = made.manifest.clone();
            other["layers"][0]["digest"] = json!(digest(b"missing"));
            serde_json::to_vec(&other).expect("JSON")
        }),
    ];
    for (digest, bytes) in &made.blobs {
        files.push((format!("app/blobs/{digest}"), "application/octet-stream", bytes.clone()));
    }
    let (address, count) = registry(files);
    let name = format!("{address}/app:v1");
    let last = Arc::new(parking_lot::Mutex::new(PullProgress::default()));
    let seen = last.clone();
    let progress: Progress = Arc::new(move |now| *seen.lock() = now);
    // Two at the same time fetch once.
    let both = tokio::join!(store.pull(&name, None, progress.clone()), store.pull(&name, None, silent()));
    let image = both.0.expect("pull");
    assert_eq!(both.1.expect("pull"), image);
    assert_eq!(count.load(Ordering::Relaxed), 3);
    assert_eq!(image.names, std::slice::from_ref(&name));
    assert_eq!(image.digests, [format!("{address}/app@{}", digest(&index))]);
    let progress = *last.lock();
    assert_eq!((progress.layers_done, progress.layers, progress.bytes_done), (2, 2, progress.bytes));
    check_two_layers(&store, &name);
    let by_digest = store.pull(&image.digests[0], None, silent()).await.expect("pull");
    assert_eq!(by_digest.id, image.id);

    let missing = store.pull(&format!("{address}/app:none"), None, silent()).await.expect_err("not there");
    assert!(
        matches!(&missing, Error::Pull { retriable: false, reason, .. } if reason == "not found"),
        "{missing}"
    );
    let broken =
        store.pull(&format!("{address}/app:broken"), None, silent()).await.expect_err("a blob is missing");
    assert!(broken.to_string().contains("app:broken"), "{broken}");
    let nobody = store.pull("127.0.0.1:1/app:v1", None, silent()).await.expect_err("nobody there");
    assert!(matches!(nobody, Error::Pull { retriable: true, .. }), "{nobody}");
    assert!(matches!(store.pull("UPPER/case", None, silent()).await, Err(Error::Reference { .. })));
}

#[test]
fn names() {
    for (name, expect) in [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.2", "docker.io/library/nginx:1.2"),
        ("me/app", "docker.io/me/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("quay.io/a/b:c", "quay.io/a/b:c"),
    ] {
        assert_eq!(reference::normalise(name).expect(name), expect);
    }
    let digest = digest(b"");
    assert_eq!(
        reference::normalise(&format!("nginx:1@{digest}")).expect("valid"),
        format!("docker.io/library/nginx@{digest}")
    );
}
