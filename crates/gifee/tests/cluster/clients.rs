//! Programs of other clients, unchanged: client-go over protobuf, an operator of controller-runtime and one of kopf,
//! kube-rs, the Python and the JavaScript client, and Helm; and a validator of OpenAPI documents.

use crate::fixture::{Cluster, target};
use crate::run::{Ran, run};
use crate::steps::Steps;
use gifee_base::Gvr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[test]
fn clients() {
    let cluster = Cluster::up("clients");
    let steps = Steps::new(&cluster);
    steps.step("an image", || cluster.busybox());
    steps.step("client-go", || says(&cluster, &program("client-go"), &[]));
    steps.step("kube-rs", || says(&cluster, &program("kube-rs"), &[]));
    steps.step("the Python client", || {
        says(&cluster, &program("python/bin/python"), &[&source("python/client.py")]);
    });
    steps.step("an independent validator of OpenAPI", || {
        says(&cluster, &program("python/bin/python"), &[&source("python/openapi.py")]);
    });
    steps.step("the JavaScript client", || javascript(&cluster));
    steps.step("an operator of controller-runtime", || echo(&cluster));
    steps.step("an operator of kopf", || keeper(&cluster));
    steps.step("Helm", || helm(&cluster));
    steps.end();
}

/// Where a program of another client is.
#[track_caller]
fn program(name: &str) -> PathBuf {
    let program = target("peers/clients").join(name);
    assert!(program.exists(), "{} is missing: `./test` builds it", program.display());
    program
}

fn source(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name).to_string_lossy().into_owned()
}

#[track_caller]
fn start(cluster: &Cluster, program: &Path, words: &[&str]) -> Ran {
    run(program, words, &[("KUBECONFIG", cluster.kubeconfig()), ("HOME", cluster.folder.path())], b"")
}

/// Runs a program that tests everything itself.
#[track_caller]
fn says(cluster: &Cluster, program: &Path, words: &[&str]) {
    let said = start(cluster, program, words).ok();
    assert!(said.trim_end().ends_with("all well"), "{said}");
}

fn javascript(cluster: &Cluster) {
    // Modules are looked for beside the program.
    let script = program("node").join("client.js");
    std::fs::copy(source("node/client.js"), &script).unwrap();
    says(cluster, Path::new("node"), &[&script.to_string_lossy()]);
}

/// A program that runs until it is dropped, and what it says.
struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    fn start(cluster: &Cluster, program: &Path, words: &[&str]) -> Self {
        let log = cluster.folder.path().join("operator.log");
        let file = std::fs::File::create(&log).unwrap();
        let mut command = Command::new(program);
        command.args(words).env("KUBECONFIG", cluster.kubeconfig()).env("HOME", cluster.folder.path());
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

fn definition(group: &str, kind: &str, plural: &str, field: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{ name: {plural}.{group} }}
spec:
  group: {group}
  scope: Namespaced
  names: {{ plural: {plural}, singular: {singular}, kind: {kind} }}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{ status: {{}} }}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {{ type: object, required: [{field}], properties: {{ {field}: {{ type: string }} }} }}
          status: {{ type: object, x-kubernetes-preserve-unknown-fields: true }}
"
    )
}

#[track_caller]
fn apply(cluster: &Cluster, text: &str) {
    cluster.aged("1.36", &["apply", "-f", "-"], text).ok();
}

#[track_caller]
fn define(cluster: &Cluster, group: &str, kind: &str, plural: &str, field: &str) {
    apply(cluster, &definition(group, kind, plural, field));
    let name = format!("crd/{plural}.{group}");
    cluster.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=20s"]).ok();
}

fn echo(cluster: &Cluster) {
    define(cluster, "example.com", "Echo", "echoes", "text");
    let _operator = Operator::start(cluster, &program("operator"), &[]);
    let echo = |text: &str| {
        format!("{{apiVersion: example.com/v1, kind: Echo, metadata: {{name: one}}, spec: {{text: {text}}}}}")
    };
    let (echoes, maps) = (Gvr::new("example.com", "v1", "echoes"), Gvr::core("configmaps"));
    for text in ["first", "second"] {
        apply(cluster, &echo(text));
        cluster.until(&maps, "default", "echo-one", |map| map["data"]["text"] == text);
        cluster.until(&echoes, "default", "one", |echo| echo["status"]["said"] == text);
    }
    cluster.kubectl(&["delete", "configmap", "echo-one"]).ok();
    cluster.until(&maps, "default", "echo-one", |map| map["data"]["text"] == "second");
    cluster.kubectl(&["delete", "echo", "one", "--timeout=20s"]).ok();
    cluster.until(&maps, "default", "echo-one", serde_json::Value::is_null);
}

fn keeper(cluster: &Cluster) {
    define(cluster, "keep.example.com", "Keep", "keeps", "word");
    let words = ["-m", "kopf", "run", "--namespace=default", "--standalone", &source("python/keeper.py")];
    let _operator = Operator::start(cluster, &program("python/bin/python"), &words);
    let keep = |word: &str| {
        format!(
            "{{apiVersion: keep.example.com/v1, kind: Keep, metadata: {{name: one}}, spec: {{word: {word}}}}}"
        )
    };
    let (keeps, secrets) = (Gvr::new("keep.example.com", "v1", "keeps"), Gvr::core("secrets"));
    for (word, encoded) in [("first", "Zmlyc3Q="), ("second", "c2Vjb25k")] {
        apply(cluster, &keep(word));
        cluster.until(&secrets, "default", "keep-one", |secret| secret["data"]["word"] == encoded);
        cluster.until(&keeps, "default", "one", |keep| keep["status"]["word"] == word);
    }
    cluster.until(&keeps, "default", "one", |keep| keep["status"]["counted"].as_u64() >= Some(3));
    cluster.kubectl(&["delete", "keep", "one", "--timeout=30s"]).ok();
    cluster.until(&Gvr::core("configmaps"), "default", "left-one", |map| !map.is_null());
    // Its owner took it along.
    cluster.until(&secrets, "default", "keep-one", serde_json::Value::is_null);
}

fn helm(cluster: &Cluster) {
    let (helm, chart) = (program("helm"), source("chart"));
    let says = |words: &[&str], parts: &[&str]| {
        let said = start(cluster, &helm, words).ok();
        for part in parts {
            assert!(said.contains(part), "`helm {}` says nothing of {part:?}:\n{said}", words.join(" "));
        }
    };
    says(&["install", "mine", &chart, "--wait", "--timeout=60s"], &["STATUS: deployed", "REVISION: 1"]);
    says(&["list"], &["mine", "deployed", "clients-0.1.0"]);
    let upgrade = ["upgrade", "mine", &chart, "--set", "replicas=2,colour=green", "--wait", "--timeout=60s"];
    says(&upgrade, &["REVISION: 2"]);
    let shown = [
        "get",
        "mug/mine",
        "deployment/mine",
        "-o",
        "jsonpath={.items[*].spec.colour} {.items[*].spec.replicas}",
    ];
    assert_eq!(cluster.kubectl(&shown).ok(), "green 2");
    says(&["history", "mine"], &["superseded", "deployed"]);
    says(&["rollback", "mine", "1", "--wait", "--timeout=60s"], &["Rollback was a success"]);
    assert_eq!(cluster.kubectl(&shown).ok(), "blue 1");
    says(&["status", "mine", "--show-resources"], &["v1/Deployment", "REVISION: 3"]);
    start(cluster, &helm, &["install", "mine", &chart]).fails(&["cannot re-use a name that is still in use"]);
    says(&["uninstall", "mine", "--wait", "--timeout=60s"], &["release \"mine\" uninstalled"]);
    let gone = cluster.kubectl(&[
        "get",
        "deployments,services,mugs",
        "-l",
        "app.kubernetes.io/managed-by=Helm",
        "-o",
        "name",
    ]);
    assert_eq!(gone.ok(), "");
    cluster.kubectl(&["get", "configmap", "mine-seen"]).fails(&["NotFound"]);
}
