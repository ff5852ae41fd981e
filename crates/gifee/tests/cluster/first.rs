//! A person's first hour: a cluster comes up, workloads are made, shown, scaled, entered, deleted, with kubectl of
//! three ages and with gifee's own verbs; then the cluster goes down, comes back with everything in it, and goes.

use crate::fixture::{AGES, BUSYBOX, Cluster, PAGE};
use crate::http::answers;
use crate::leftovers;
use crate::run::Ran;
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::{Value, json};

#[test]
fn first() {
    let cluster = Cluster::up("first");
    let steps = Steps::new(&cluster);
    steps.step("up again changes nothing", || {
        let pid = cluster.pid();
        assert!(cluster.start().ok().contains("already running"));
        assert_eq!(cluster.pid(), pid);
    });
    steps.step("status", || {
        let said = cluster.gifee(&["status", "--data-dir", &cluster.data_dir.to_string_lossy()]).ok();
        assert!(said.contains("Ready") && !said.contains("NotReady"), "{said}");
    });
    steps.step("an image of one's own", || cluster.busybox());
    std::thread::scope(|scope| {
        for tool in AGES.into_iter().chain(["gifee"]) {
            let (steps, cluster) = (&steps, &cluster);
            scope.spawn(move || Tour { cluster, steps, tool }.walk());
        }
    });
    stop_and_go(&cluster, &steps);
    steps.end();
}

/// What one client does, in a namespace of its own.
struct Tour<'a> {
    cluster: &'a Cluster,
    steps: &'a Steps<'a>,
    tool: &'static str,
}

impl Tour<'_> {
    fn walk(&self) {
        self.step("the node is Ready", || {
            let nodes = self.run(&["get", "nodes"]).ok();
            assert!(nodes.contains(" Ready "), "{nodes}");
        });
        self.step("a namespace", || {
            self.run(&["create", "namespace", &self.namespace()]).ok();
        });
        self.step("a deployment", || {
            self.inside(&["create", "deployment", "web", &format!("--image={BUSYBOX}"), "--port=8000"]).ok();
            self.available(1);
        });
        self.step("expose", || {
            self.inside(&["expose", "deployment", "web", "--port=80", "--target-port=8000"]).ok();
            let service =
                self.cluster.until(&Gvr::core("services"), &self.namespace(), "web", Value::is_object);
            answers(&format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap()), "/", PAGE);
        });
        self.step("scale", || {
            self.inside(&["scale", "deployment/web", "--replicas=3"]).ok();
            self.available(3);
        });
        self.step("get all -o wide", || {
            let words = if self.own() { "pods,services,deployments,replicasets" } else { "all" };
            let all = self.inside(&["get", words, "-o", "wide"]).ok();
            for part in ["pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-", "10."] {
                assert!(all.contains(part), "no {part} in\n{all}");
            }
        });
        self.step("run and logs", || self.run_and_logs());
        if self.tool != "1.20" {
            self.step("exec", || self.exec());
        }
        if !self.own() {
            self.step("rollout", || self.rollout());
        }
        self.step("a deleted pod is replaced", || {
            let pods = self.pods();
            self.inside(&["delete", "pod", &pods[0]]).ok();
            self.available(3);
            assert!(!self.pods().contains(&pods[0]));
        });
        self.step("delete", || {
            self.inside(&["delete", "deployment", "web"]).ok();
            self.cluster.until(&deployments(), &self.namespace(), "web", Value::is_null);
        });
        self.step("a deleted namespace is empty", || {
            let (namespace, pods) = (self.namespace(), Gvr::core("pods"));
            self.run(&["delete", "namespace", &namespace]).ok();
            self.cluster.until(&Gvr::core("namespaces"), "", &namespace, Value::is_null);
            for gvr in [pods, Gvr::core("services"), Gvr::core("configmaps"), deployments()] {
                assert_eq!(self.cluster.list(&gvr, &namespace, "").len(), 0, "{}", gvr.resource);
            }
        });
    }

    fn run_and_logs(&self) {
        let mut words = vec!["run", "say", "--image", BUSYBOX, "--restart=Never", "--"];
        words.extend(["sh", "-c", "echo to out; echo to err >&2; exit 3"]);
        self.inside(&words).ok();
        let ended = |pod: &Value| pod["status"]["phase"] == "Failed";
        let pod = self.cluster.until(&Gvr::core("pods"), &self.namespace(), "say", ended);
        assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3, "{pod:#}");
        let mut said: Vec<_> = self.inside(&["logs", "say"]).ok().lines().map(str::to_owned).collect();
        // They are two pipes: nobody promises their order.
        said.sort();
        assert_eq!(said, ["to err", "to out"]);
        assert_eq!(self.inside(&["logs", &self.pods()[0]]).ok(), "serving\n");
    }

    fn exec(&self) {
        let pod = &self.pods()[0];
        let said = self.inside(&["exec", pod, "--", "sh", "-c", "hostname; echo wrong >&2; exit 7"]);
        assert_eq!((said.code, said.out.trim()), (7, pod.as_str()), "{said}");
        assert!(said.err.contains("wrong"), "{said}");
        let (namespace, text) = (self.namespace(), "through and back\n".repeat(2000));
        let echoed = self.run_with(&["-n", &namespace, "exec", "-i", pod, "--", "cat"], &text).ok();
        assert!(echoed == text, "{} of {} bytes came back", echoed.len(), text.len());
    }

    fn rollout(&self) {
        let before = self.pods();
        self.inside(&["rollout", "restart", "deployment/web"]).ok();
        self.inside(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
        let history = self.inside(&["rollout", "history", "deployment/web"]).ok();
        assert!(history.contains("\n2 "), "{history}");
        self.inside(&["rollout", "undo", "deployment/web"]).ok();
        self.inside(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
        let after = self.pods();
        assert!(after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");
    }

    fn step(&self, name: &str, body: impl FnOnce()) {
        self.steps.step(&format!("{} {name}", self.tool), body);
    }

    /// Whether the client is gifee itself.
    fn own(&self) -> bool {
        self.tool == "gifee"
    }

    fn namespace(&self) -> String {
        format!("tour-{}", self.tool.replace('.', "-"))
    }

    #[track_caller]
    fn inside(&self, words: &[&str]) -> Ran {
        let namespace = self.namespace();
        let (verb, rest) = words.split_first().unwrap();
        self.run(&[&[verb, "-n", &namespace], rest].concat())
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Ran {
        self.run_with(words, "")
    }

    #[track_caller]
    fn run_with(&self, words: &[&str], input: &str) -> Ran {
        match self.own() {
            true => self.cluster.gifee_with(words, input),
            false => self.cluster.aged(self.tool, words, input),
        }
    }

    #[track_caller]
    fn available(&self, replicas: i64) {
        available(self.cluster, &self.namespace(), "web", replicas);
    }

    /// Names of the deployment's pods that are not on their way out.
    fn pods(&self) -> Vec<String> {
        let pods = self.cluster.list(&Gvr::core("pods"), &self.namespace(), "app=web");
        let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        staying.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn deployments() -> Gvr {
    Gvr::new("apps", "v1", "deployments")
}

/// Waits until a deployment has this many copies that answer, all of its newest template, and no others.
#[track_caller]
pub fn available(cluster: &Cluster, namespace: &str, name: &str, replicas: i64) -> Value {
    cluster.until(&deployments(), namespace, name, |deployment| {
        let status = &deployment["status"];
        let current = status["observedGeneration"] == deployment["metadata"]["generation"];
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        current && counts.iter().all(|count| status[*count].as_i64() == Some(replicas))
    })
}

fn stop_and_go(cluster: &Cluster, steps: &Steps<'_>) {
    let (instance, data_dir) = (cluster.setting("instance"), &cluster.data_dir);
    steps.step("a workload that is to come back", || {
        cluster.kubectl(&["create", "deployment", "web", "--image", BUSYBOX, "--replicas=2"]).ok();
        available(cluster, "default", "web", 2);
        let running = leftovers::of(&instance, data_dir);
        // Else the check below would prove nothing.
        for part in ["process", "mount", "link", "control group"] {
            assert!(running.iter().any(|line| line.starts_with(part)), "no {part} in {running:#?}");
        }
    });
    steps.step("down leaves nothing running", || {
        cluster.down(false).ok();
        assert_eq!(leftovers::of(&instance, data_dir), [""; 0]);
        let status = cluster.gifee(&["status", "--data-dir", &data_dir.to_string_lossy()]);
        assert_eq!(status.code, 3, "{status}");
    });
    steps.step("a wrong configuration of the node is refused, and nothing of it stays", || {
        let file = cluster.configuration(&json!({ "maxPod": 60 }));
        let refused = cluster.start_with(&["--kubelet-config", &file]);
        assert!(refused.code != 0 && refused.err.contains("maxPod: unknown field"), "{refused}");
        assert_eq!(leftovers::of(&instance, data_dir), [""; 0]);
    });
    steps.step("up brings everything back", || {
        let file = cluster.configuration(&json!({ "maxPods": 60, "systemReserved": { "memory": "1Gi" } }));
        cluster.start_with(&["--kubelet-config", &file]).ok();
        let [node] = &cluster.list(&Gvr::core("nodes"), "", "")[..] else { panic!("not one node") };
        assert_eq!(node["status"]["capacity"]["pods"], "60");
        let amount = |place: &str| -> i64 {
            let text = node["status"][place]["memory"].as_str().unwrap();
            text.trim_end_matches("Ki").parse().unwrap()
        };
        assert_eq!(amount("capacity") - amount("allocatable"), (1 << 20) + (100 << 10));
        let pods = cluster.list(&Gvr::core("pods"), "default", "app=web");
        assert_eq!(pods.len(), 2, "{pods:#?}");
        available(cluster, "default", "web", 2);
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=60s"]).ok();
        let pods = cluster.list(&Gvr::core("pods"), "default", "app=web");
        for pod in &pods {
            answers(&format!("{}:8000", pod["status"]["podIP"].as_str().unwrap()), "/", PAGE);
        }
    });
    steps.step("down --purge leaves nothing at all", || {
        cluster.down(true).ok();
        assert_eq!(leftovers::of(&instance, data_dir), [""; 0]);
        assert!(!data_dir.exists());
        assert!(cluster.down(true).ok().contains("nothing to end"));
    });
}
