//! What a cluster must refuse: with an error that says what is wrong, and without harm to anything else.

use crate::fixture::{Cluster, tar};
use crate::run::runtime;
use crate::steps::Steps;
use ::http::Method;
use gifee_base::{Gvr, ObjectKey, Status};
use gifee_client::{Client, Error, PatchKind, Request};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn refusals() {
    let cluster = Cluster::up("refusals");
    let steps = Steps::new(&cluster);
    let pid = cluster.pid();
    let client = cluster.client();
    let step = |name: &str, body: &dyn Fn()| {
        steps.step(name, || {
            body();
            let well = runtime().block_on(client.send(&Request::new(Method::GET, "/readyz")));
            assert!(well.is_ok(), "the server is not well afterwards: {well:?}");
            assert_eq!(cluster.pid(), pid, "the server is another one afterwards");
        });
    };
    let apply = |age: &str, text: &str, words: &[&str]| {
        cluster.aged(age, &[&["apply", "-f", "-"], words].concat(), text)
    };
    step("malformed YAML", &|| {
        cluster.gifee_with(&["apply", "-f", "-"], "kind: [Pod\n").fails(&["line"]);
        let status = post(&client, "application/yaml", b"kind: [Pod\n".to_vec());
        assert_eq!(status.code, 400, "{status:?}");
        let status = post(&client, "application/json", b"{\"kind\": ".to_vec());
        assert_eq!(status.code, 400, "{status:?}");
    });
    step("an unknown field", &|| {
        let text = pod("unknown", "restartPolicies: Never");
        apply("1.36", &text, &["--validate=strict"]).fails(&["unknown field \"spec.restartPolicies\""]);
        apply("1.32", &text, &[]).fails(&["unknown field \"spec.restartPolicies\""]);
        apply("1.20", &text, &[]).fails(&["unknown field \"restartPolicies\""]);
        let warned = apply("1.36", &text, &["--validate=warn"]);
        assert!(warned.err.contains("Warning: unknown field \"spec.restartPolicies\""), "{warned}");
        warned.ok();
    });
    step("a bad quantity", &|| {
        let text = pod("quantity", "resources: { limits: { memory: 12 cats } }");
        apply("1.36", &text, &[]).fails(&["quantities must match the regular expression"]);
    });
    step("a name that is too long", &|| {
        let words = ["must be no more than 253 bytes"];
        apply("1.36", &pod(&"n".repeat(254), "restartPolicy: Never"), &[]).fails(&words);
    });
    step("a wrong resourceVersion", &|| wrong_version(&client));
    step("a body of 10 MB", &|| {
        let body = serde_json::to_vec(&config_map("large", &"x".repeat(10 << 20))).unwrap();
        let status = post(&client, "application/json", body);
        assert_eq!(status.code, 413, "{status:?}");
        assert!(status.message.contains("limit is 3145728"), "{status:?}");
    });
    step("a deeply nested body", &|| {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inner = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
            let body = format!(
                "{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"deep\"}},\"data\":{inner}}}"
            );
            let status = post(&client, "application/json", body.clone().into_bytes());
            assert_eq!(status.code, 400, "{status:?}");
            let status = post(&client, "application/yaml", body.into_bytes());
            assert_eq!(status.code, 400, "{status:?}");
        }
    });
    step("a missing image", &|| missing_image(&cluster));
    step("an image that reaches outside its root", &|| hostile_image(&cluster));
    steps.end();
}

fn config_map(name: &str, text: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "text": text } })
}

/// A pod with one more line: of the container if it is about resources, else of the specification.
fn pod(name: &str, line: &str) -> String {
    let (spec, container) = if line.starts_with("resources") { ("", line) } else { (line, "") };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  nodeSelector: {{ nowhere: here }}\n  \
         {spec}\n  containers:\n  - name: main\n    image: none:1\n    {container}\n"
    )
}

/// What the server says to a body that it must refuse.
#[track_caller]
fn post(client: &Client, content_type: &str, body: Vec<u8>) -> Status {
    let request = Request::collection(Method::POST, &Gvr::core("configmaps"), "default");
    match runtime().block_on(client.send(&request.payload(content_type, bytes::Bytes::from(body)))) {
        Err(Error::Status(status)) => *status,
        other => panic!("not refused: {other:?}"),
    }
}

fn wrong_version(client: &Client) {
    let (gvr, key) = (Gvr::core("configmaps"), ObjectKey::new("default", "shared"));
    runtime().block_on(async {
        let old =
            client.create(&gvr, "default", config_map("shared", "one")).await.unwrap().to_value().unwrap();
        client.patch(&gvr, &key, PatchKind::Merge, json!({ "data": { "text": "two" } })).await.unwrap();
        let Err(Error::Status(status)) = client.update(&gvr, &key, old).await else { panic!("not refused") };
        assert_eq!(status.code, 409);
        assert!(status.message.contains("the object has been modified"), "{status:?}");
        let kept = client.get(&gvr, &key).await.unwrap().to_value().unwrap();
        assert_eq!(kept["data"]["text"], "two");
    });
}

fn missing_image(cluster: &Cluster) {
    let reason = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    // Nothing listens there, so that the answer is quick.
    cluster.kubectl(&["run", "absent", "--image=127.0.0.1:1/absent:1"]).ok();
    let pod = cluster.until(&Gvr::core("pods"), "default", "absent", |pod| reason(pod) == "ImagePullBackOff");
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].to_string();
    assert!(message.contains("127.0.0.1:1/absent:1"), "{message}");
    assert_eq!(pod["status"]["phase"], "Pending");
    let events = cluster.kubectl(&["get", "events", "--field-selector=involvedObject.name=absent"]).ok();
    for part in ["Failed to pull image \"127.0.0.1:1/absent:1\"", "ErrImagePull"] {
        assert!(events.contains(part), "no {part} in {events}");
    }
    cluster.kubectl(&["run", "never", "--image=absent:1", "--image-pull-policy=Never"]).ok();
    cluster.until(&Gvr::core("pods"), "default", "never", |pod| reason(pod) == "ErrImageNeverPull");
    let why = "(BadRequest): container \"never\" in pod \"never\" is waiting to start: ErrImageNeverPull";
    cluster.kubectl(&["logs", "never"]).fails(&[why]);
    cluster.kubectl(&["delete", "pod", "absent", "never"]).ok();
}

/// Archives whose layers would write outside the image: by their paths, and through a link.
fn hostile_image(cluster: &Cluster) {
    let folder = cluster.folder.path().canonicalize().unwrap();
    let (outside, files) = (folder.join("outside"), folder.join("files"));
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(files.join("link")).unwrap();
    fs::write(files.join("escaped"), "escaped").unwrap();
    fs::write(files.join("link/escaped"), "escaped").unwrap();
    let up = "../".repeat(32);
    let place = outside.to_string_lossy().into_owned();
    let by_path = format!("--transform=s,^,{up}{}/,", place.trim_start_matches('/'));
    let absolute = format!("--transform=s,^,{place}/,");
    let by_path = layer(&folder, "by-path", &["-P", &by_path, "escaped"]);
    let absolute = layer(&folder, "absolute", &["-P", &absolute, "escaped"]);
    let links = folder.join("links");
    fs::create_dir_all(&links).unwrap();
    std::os::unix::fs::symlink(&outside, links.join("link")).unwrap();
    let through = layer(
        &folder,
        "through",
        &["-C", &links.to_string_lossy(), "link", "-C", &files.to_string_lossy(), "link/escaped"],
    );
    for (file, refused) in [(by_path, true), (absolute, false), (through, false)] {
        let name = format!("{}:1", file.file_stem().unwrap().to_string_lossy());
        let ran = cluster.import(&file, &["--name", &name]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name} wrote outside: {ran}");
        if refused {
            ran.fails(&["escaped"]);
        }
    }
}

/// A Docker archive with one layer, which `tar` makes of these words.
fn layer(folder: &std::path::Path, name: &str, words: &[&str]) -> PathBuf {
    let work = folder.join(format!("work-{name}"));
    fs::create_dir_all(&work).unwrap();
    tar(&folder.join("files"), &work.join("layer.tar"), words);
    let sum = Command::new("sha256sum").arg(work.join("layer.tar")).output().unwrap();
    let digest = String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().to_owned();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/escaped"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] } });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [format!("{name}:1")], "Layers": ["layer.tar"] }]);
    fs::write(work.join("config.json"), config.to_string()).unwrap();
    fs::write(work.join("manifest.json"), manifest.to_string()).unwrap();
    let file = folder.join(format!("{name}.tar"));
    tar(&work, &file, &["manifest.json", "config.json", "layer.tar"]);
    file
}
