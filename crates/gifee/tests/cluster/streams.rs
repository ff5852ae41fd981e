//! What goes through `exec`, `attach`, `cp` and `port-forward`, with the kubectl that speaks SPDY, the one that speaks it
//! through WebSockets, and those that speak WebSockets.

use crate::fixture::{AGES, BUSYBOX, Cluster, PAGE};
use crate::http::call;
use crate::run::{DEADLINE, Ran, run, runtime};
use crate::steps::Steps;
use gifee_base::Gvr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Bytes that go through in one piece.
const MUCH: &str = "30000000";

#[test]
fn streams() {
    let cluster = Cluster::up("streams");
    let steps = Steps::new(&cluster);
    steps.step("an image", || cluster.busybox());
    steps.step("a pod", || {
        cluster.kubectl(&["run", "box", "--image", BUSYBOX]).ok();
        let ready = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        cluster.until(&Gvr::core("pods"), "default", "box", ready);
    });
    std::thread::scope(|scope| {
        for age in AGES {
            let (cluster, steps) = (&cluster, &steps);
            scope.spawn(move || {
                let client = Client { cluster, age };
                steps.step(&format!("{age} exec with much in and out"), || client.carries_much());
                steps.step(&format!("{age} exec ends as its command does"), || client.ends());
                steps.step(&format!("{age} cp both ways"), || client.copies());
                steps.step(&format!("{age} attach"), || client.attaches());
                steps.step(&format!("{age} port-forward"), || client.forwards());
            });
        }
    });
    steps.end();
}

struct Client<'a> {
    cluster: &'a Cluster,
    age: &'static str,
}

impl Client<'_> {
    /// Runs a line of a shell in which `$k` is kubectl.
    fn shell(&self, line: &str) -> Ran {
        let program = self.cluster.kubectl_path(self.age);
        let home = self.cluster.folder.path().join(format!("home-{}", self.age));
        let environment =
            [("KUBECONFIG", self.cluster.kubeconfig()), ("HOME", home.as_path()), ("k", program.as_path())];
        run(Path::new("/bin/sh"), &["-c", line], &environment, b"")
    }

    fn carries_much(&self) {
        let line = format!("head -c {MUCH} /dev/zero | $k exec -i box -- wc -c");
        assert_eq!(self.shell(&line).ok().trim(), MUCH);
        let line = format!("$k exec box -- head -c {MUCH} /dev/zero | wc -c");
        assert_eq!(self.shell(&line).ok().trim(), MUCH);
        // Both ways at once, and nothing of it changed.
        let line =
            "head -c 5000000 /dev/urandom > $HOME/all; $k exec -i box -- cat < $HOME/all | cmp - $HOME/all";
        self.shell(&format!("mkdir -p $HOME; {line}")).ok();
    }

    fn ends(&self) {
        let ran = self.shell("$k exec box -- sh -c 'echo out; echo err >&2; exit 7'");
        assert_eq!((ran.code, ran.out.as_str()), (7, "out\n"), "{ran}");
        assert!(ran.err.starts_with("err\n") && ran.err.contains("exit code 7"), "{ran}");
        // It reads none of what it is sent, and is heard all the same.
        let line = format!("head -c {MUCH} /dev/zero | $k exec -i box -- sh -c 'echo enough; exit 3'");
        let ran = self.shell(&line);
        assert_eq!((ran.code, ran.out.as_str()), (3, "enough\n"), "{ran}");
        self.shell("$k exec box -- nothing-of-the-kind").fails(&["nothing-of-the-kind"]);
    }

    fn copies(&self) {
        let age = self.age;
        let line = format!(
            "mkdir -p $HOME/there/deep; head -c 3000000 /dev/urandom > $HOME/there/deep/file; echo word > $HOME/there/word; \
             $k cp $HOME/there box:/copy-{age} && $k cp box:/copy-{age} $HOME/back-{age} && diff -r $HOME/there $HOME/back-{age}"
        );
        self.shell(&line).ok();
    }

    fn attaches(&self) {
        let name = format!("listener-{}", self.age.replace('.', "-"));
        let line = "while read word; do echo got $word; done; echo over";
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: main\n    image: {BUSYBOX}\n    stdin: true\n    stdinOnce: true\n    command: [sh, -c, \"{line}\"]\n"
        );
        self.cluster.aged(self.age, &["apply", "-f", "-"], &pod).ok();
        let phase = |phase: &'static str| move |pod: &serde_json::Value| pod["status"]["phase"] == phase;
        self.cluster.until(&Gvr::core("pods"), "default", &name, phase("Running"));
        let said = self.shell(&format!("printf 'one\\ntwo\\n' | $k attach -i {name}")).ok();
        assert!(said.contains("got one\ngot two\nover\n"), "{said}");
        self.cluster.until(&Gvr::core("pods"), "default", &name, phase("Succeeded"));
    }

    /// Several connections at once through one forwarder.
    fn forwards(&self) {
        let _inside = runtime().enter();
        let mut child = tokio::process::Command::new(self.cluster.kubectl_path(self.age))
            .args(["port-forward", "box", ":8000"])
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let asking = async {
            let first = lines.next_line().await.unwrap().expect("it says where it listens");
            let address = first.split(' ').find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned();
            let keep = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            for _ in 0..3 {
                let all = (0..20).map(|_| call(&address, "/", None));
                for answer in futures_util::future::join_all(all).await {
                    let answer = answer.unwrap();
                    assert!(answer.code == 200 && answer.text.contains(PAGE), "{answer:?}");
                }
            }
            keep.abort();
        };
        runtime().block_on(async { tokio::time::timeout(DEADLINE, asking).await }).expect("all are answered");
    }
}
