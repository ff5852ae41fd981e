//! What a person types at a terminal besides the tour: what watches, follows, edits, explains and asks, and a shell in
//! a container; and a container whose process is killed.

use crate::commands;
use crate::first::available;
use crate::fixture::{BUSYBOX, Cluster};
use crate::leftovers;
use crate::run::{DEADLINE, runtime};
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: { name: web, labels: { app: web } }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
      - name: main
        image: busybox:1
        ports: [{ containerPort: 8000 }]
";

#[test]
fn shell() {
    let cluster = Cluster::up("shell");
    let steps = Steps::new(&cluster);
    steps.step("an image", || cluster.busybox());
    for age in ["1.20", "1.36"] {
        let namespace = format!("shell-{}", age.replace('.', "-"));
        let shell = Shell { cluster: &cluster, age, namespace };
        steps.step(&format!("{age} apply, diff, edit, patch"), || shell.changes());
        steps.step(&format!("{age} describe, explain, auth"), || shell.questions());
        steps.step(&format!("{age} get -w"), || shell.watches());
        steps.step(&format!("{age} logs -f"), || shell.follows());
        steps.step(&format!("{age} every other command"), || commands::run(&shell));
        steps.step(&format!("{age} exec -it"), || shell.enters());
        steps.step(&format!("{age} delete -l"), || shell.deletes());
    }
    for age in ["1.20", "1.32", "1.36"] {
        steps.step(&format!("{age} explain --recursive of every resource"), || explains(&cluster, age));
    }
    steps.step("a container that is killed is started again and counted", || killed(&cluster));
    steps.end();
}

/// Has every resource of every version explained, down to the last field.
fn explains(cluster: &Cluster, age: &str) {
    let program = cluster.kubectl_path(age);
    let kubectl =
        |words: &[&str]| crate::run::run(&program, words, &[("KUBECONFIG", cluster.kubeconfig())], b"").ok();
    let versions = kubectl(&["api-versions"]);
    let explain = |version: &str| {
        let path = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
        let found: serde_json::Value = serde_json::from_str(&kubectl(&["get", "--raw", &path])).unwrap();
        for one in found["resources"].as_array().unwrap() {
            let (name, kind) = (one["name"].as_str().unwrap(), one["kind"].as_str().unwrap());
            if !name.contains('/') {
                let said = kubectl(&["explain", name, "--recursive", &format!("--api-version={version}")]);
                assert!(said.contains(kind) && said.contains("FIELDS:"), "{age} {version} {name}: {said}");
            }
        }
    };
    // This kubectl takes "nodes" for Nodes in whatever group it is asked for them.
    let understood = |version: &&str| age != "1.20" || !version.starts_with("metrics.k8s.io/");
    std::thread::scope(|scope| {
        let explain = &explain;
        let all: Vec<_> = versions
            .lines()
            .filter(understood)
            .map(|version| scope.spawn(move || explain(version)))
            .collect();
        all.into_iter().for_each(|one| one.join().unwrap());
    });
}

/// A kubectl of some age at work in a namespace of its own.
pub struct Shell<'a> {
    pub cluster: &'a Cluster,
    pub age: &'static str,
    pub namespace: String,
}

impl Shell<'_> {
    #[track_caller]
    pub fn run(&self, words: &[&str], input: &str) -> crate::run::Ran {
        let (verb, rest) = words.split_first().unwrap();
        self.cluster.aged(self.age, &[&[*verb, "-n", &self.namespace], rest].concat(), input)
    }

    /// Runs it; all of this must be in what it says.
    #[track_caller]
    pub fn says(&self, words: &[&str], parts: &[&str]) {
        let said = self.run(words, "").ok();
        for part in parts {
            assert!(said.contains(part), "`{}` says nothing of {part:?}:\n{said}", words.join(" "));
        }
    }

    fn changes(&self) {
        self.cluster.aged(self.age, &["create", "namespace", &self.namespace], "").ok();
        assert_eq!(self.run(&["apply", "-f", "-"], DEPLOYMENT).ok(), "deployment.apps/web created\n");
        assert_eq!(self.run(&["apply", "-f", "-"], DEPLOYMENT).ok(), "deployment.apps/web unchanged\n");
        let same = self.run(&["diff", "-f", "-"], DEPLOYMENT);
        assert_eq!((same.code, same.out.as_str()), (0, ""), "{same}");
        let more = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
        let differs = self.run(&["diff", "-f", "-"], &more);
        assert!(differs.code == 1 && differs.out.contains("+  replicas: 3"), "{differs}");
        assert_eq!(self.run(&["apply", "-f", "-"], &more).ok(), "deployment.apps/web configured\n");
        self.edits();
        self.says(&["patch", "deployment/web", "-p", r#"{"spec":{"replicas":2}}"#], &["patched"]);
        let merge = r#"{"metadata":{"annotations":{"by":"merge"}}}"#;
        self.says(&["patch", "deployment/web", "--type=merge", "-p", merge], &["patched"]);
        let json = r#"[{"op":"add","path":"/metadata/labels/by","value":"json"}]"#;
        self.says(&["patch", "deployment/web", "--type=json", "-p", json], &["patched"]);
        self.says(&["label", "deployment", "web", "tier=front"], &["labeled"]);
        self.says(&["annotate", "deployment", "web", "note=kept"], &["annotated"]);
        let shown = "jsonpath={.metadata.labels} {.metadata.annotations.by} {.metadata.annotations.note}";
        self.says(&["get", "deployment", "web", "-o", shown], &["front", "json", "merge kept"]);
        self.run(&["label", "deployment", "web", "tier=back"], "").fails(&["--overwrite"]);
        available(self.cluster, &self.namespace, "web", 2);
    }

    /// The editor is a script that changes one line.
    fn edits(&self) {
        let editor = self.cluster.folder.path().join(format!("editor-{}", self.age));
        fs::write(&editor, "#!/bin/sh\nexec sed -i 's/^  replicas: 3$/  replicas: 4/' \"$1\"\n").unwrap();
        fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
        let program = self.cluster.kubectl_path(self.age);
        let words = ["edit", "-n", &self.namespace, "deployment/web"];
        let environment = [("KUBECONFIG", self.cluster.kubeconfig()), ("KUBE_EDITOR", editor.as_path())];
        let said = crate::run::run(&program, &words, &environment, b"").ok();
        assert_eq!(said, "deployment.apps/web edited\n");
        self.says(&["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"], &["4"]);
    }

    fn questions(&self) {
        let pods = self.cluster.list(&Gvr::core("pods"), &self.namespace, "app=web");
        let pod = pods[0]["metadata"]["name"].as_str().unwrap();
        let parts =
            ["Name:", pod, "Image:", BUSYBOX, "Ready:          True", "Events:", "Scheduled", "Started"];
        self.says(&["describe", "pod", pod], &parts);
        let parts = ["StrategyType:", "RollingUpdate", "Available", "ScalingReplicaSet", "NewReplicaSet:"];
        self.says(&["describe", "deployment", "web"], &parts);
        self.says(&["describe", "node"], &["Allocatable:", "Non-terminated Pods:", pod]);
        let parts = ["rollingUpdate", "maxSurge", "maxUnavailable"];
        self.says(&["explain", "deployment.spec.strategy", "--recursive"], &parts);
        self.says(&["explain", "pods.spec.containers.livenessProbe"], &["periodSeconds", "How often"]);
        self.run(&["explain", "deployment.spec.nothing"], "").fails(&["does not exist"]);
        self.says(&["auth", "can-i", "--list"], &["*.*", "selfsubjectaccessreviews"]);
        self.says(&["auth", "can-i", "create", "pods"], &["yes"]);
        let refused = self.run(&["auth", "can-i", "create", "pods", "--as=nobody"], "");
        assert!(refused.code == 1 && refused.out.contains("no"), "{refused}");
        self.run(&["get", "pods", "--as=nobody"], "")
            .fails(&["pods is forbidden: User \"nobody\" cannot list resource \"pods\" in API group \"\""]);
    }

    fn watches(&self) {
        let run = |name: &str| {
            let words = ["run", name, "--labels=watched=yes", "--image", BUSYBOX, "--restart=Never", "--"];
            self.run(&[&words[..], &["sh", "-c", "sleep 0.2"]].concat(), "").ok();
        };
        run("early");
        let mut watch = self.streams(&["get", "pods", "-w", "-l", "watched=yes"]);
        // Only when it has said what was there is nothing missed of what comes.
        let seen = |lines: &[String], pod: &str, word: &str| {
            lines.iter().any(|line| line.starts_with(pod) && line.contains(word))
        };
        watch.until(|lines| seen(lines, "early", ""));
        run("seen");
        watch.until(|lines| seen(lines, "seen", "Pending") && seen(lines, "seen", "Completed"));
    }

    fn follows(&self) {
        let script = "for number in 1 2 3 4 5; do echo line $number; sleep 0.2; done";
        self.run(&["run", "talk", "--image", BUSYBOX, "--restart=Never", "--", "sh", "-c", script], "").ok();
        let started =
            |pod: &Value| pod["status"]["phase"] == "Running" || pod["status"]["phase"] == "Succeeded";
        self.cluster.until(&Gvr::core("pods"), &self.namespace, "talk", started);
        // It ends by itself when the container does.
        let said = self.run(&["logs", "-f", "talk"], "").ok();
        assert_eq!(said, "line 1\nline 2\nline 3\nline 4\nline 5\n");
        self.says(&["logs", "talk", "--tail=1", "--timestamps"], &["Z line 5"]);
    }

    /// `script` gives it a terminal.
    fn enters(&self) {
        let program = self.cluster.kubectl_path(self.age);
        let line = format!(
            "{} exec -it -n {} deployment/web -- sh -c 'tty=no; [ -t 0 ] && tty=yes; read word; echo tty=$tty word=$word; exit 5'",
            program.display(),
            self.namespace
        );
        let environment = [("KUBECONFIG", self.cluster.kubeconfig())];
        let ran = crate::run::run(
            Path::new("/usr/bin/script"),
            &["--quiet", "--return", "--command", &line, "/dev/null"],
            &environment,
            b"hello\n",
        );
        assert!(ran.code == 5 && ran.out.contains("tty=yes word=hello"), "{ran}");
    }

    fn deletes(&self) {
        self.says(&["delete", "all", "-l", "app=web"], &["deployment.apps \"web\"", "deleted"]);
        let deployments = Gvr::new("apps", "v1", "deployments");
        self.cluster.until(&deployments, &self.namespace, "web", Value::is_null);
        self.cluster.aged(self.age, &["delete", "namespace", &self.namespace], "").ok();
        assert_eq!(self.cluster.list(&Gvr::core("pods"), &self.namespace, "").len(), 0);
    }

    fn streams(&self, words: &[&str]) -> Stream {
        let (verb, rest) = words.split_first().unwrap();
        let _inside = runtime().enter();
        let mut child = Command::new(self.cluster.kubectl_path(self.age))
            .args([*verb, "-n", &self.namespace])
            .args(rest)
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Stream { _child: child, lines }
    }
}

/// A command that goes on talking; it is ended when this goes.
struct Stream {
    _child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Stream {
    /// Reads until what was read is enough.
    #[track_caller]
    fn until(&mut self, enough: impl Fn(&[String]) -> bool) {
        let mut seen = Vec::new();
        let read = async {
            while !enough(&seen) {
                seen.push(self.lines.next_line().await.unwrap().expect("it ended"));
            }
        };
        let waited = runtime().block_on(async { tokio::time::timeout(DEADLINE, read).await });
        assert!(waited.is_ok(), "it said no more than {seen:#?}");
    }
}

fn killed(cluster: &Cluster) {
    let (pods, started) = (Gvr::core("pods"), |pod: &Value| pod["status"]["containerStatuses"][0].clone());
    cluster.kubectl(&["run", "victim", "--image", BUSYBOX]).ok();
    let before = cluster.until(&pods, "default", "victim", |pod| started(pod)["ready"] == true);
    let group = format!("gifee-{}", cluster.setting("instance"));
    let all = leftovers::processes(&group, &cluster.data_dir);
    let (pid, _) = all.iter().find(|(_, command)| command.starts_with("sh -c trap")).expect("it runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let again = |pod: &Value| started(pod)["restartCount"] == 1 && started(pod)["ready"] == true;
    let after = cluster.until(&pods, "default", "victim", again);
    assert_eq!(started(&after)["lastState"]["terminated"]["exitCode"], 137, "{after:#}");
    assert_ne!(started(&after)["containerID"], started(&before)["containerID"]);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
}
