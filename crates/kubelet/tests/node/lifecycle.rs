//! Pods from their first container to their last.

use gifee_oci::Runtime;
use serde_json::{Value, json};

use crate::machine::Machine;

fn shell(script: &str) -> Value {
    json!(["sh", "-c", script])
}

/// The condition of a type is True.
fn holds(pod: &Value, kind: &str) -> bool {
    let all = pod["status"]["conditions"].as_array();
    all.into_iter().flatten().any(|one| one["type"] == kind && one["status"] == "True")
}

pub async fn runs_and_ends() {
    let machine = Machine::new().await;
    machine.fake.put(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "default"}, "data": {"COLOUR": "green"}}));
    machine.pod(
        "job",
        json!({"restartPolicy": "Never", "hostname": "worker", "containers": [{"name": "main",
            "command": shell("echo $COLOUR $NAME $IP; cat /etc/hosts | head -1; hostname; echo bye > /dev/termination-log"),
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}]}),
    );
    let pod = machine.phase("job", "Succeeded").await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["terminated"]["exitCode"], 0, "{status}");
    assert_eq!(status["state"]["terminated"]["message"], "bye\n");
    assert_eq!(status["state"]["terminated"]["reason"], "Completed");
    let address = pod["status"]["podIP"].as_str().unwrap();
    let log = machine.log("job", "main", 0);
    assert_eq!(log, format!("green job {address}\n# Kubernetes-managed hosts file.\nworker\n"));
    assert!(!holds(&pod, "Ready") && holds(&pod, "Initialized"));
    let events = machine.events();
    for wanted in [
        "Pulled: Container image \"busybox:test\" already present",
        "Created: Container created",
        "Started: Container started",
    ] {
        assert!(events.iter().any(|event| event.starts_with(wanted)), "{wanted} in {events:#?}");
    }
    machine.pod("failed", json!({"restartPolicy": "Never", "containers": [{"name": "main", "command": shell("echo last; exit 3"),
        "terminationMessagePolicy": "FallbackToLogsOnError"}]}));
    let pod = machine.phase("failed", "Failed").await;
    let end = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((end["exitCode"].as_i64(), end["message"].as_str()), (Some(3), Some("last\n")));
    machine.clean().await;
}

pub async fn init_and_sidecars() {
    let machine = Machine::new().await;
    machine.pod(
        "app",
        json!({"restartPolicy": "Always",
            "volumes": [{"name": "shared", "emptyDir": {"medium": "Memory"}}],
            "initContainers": [
                {"name": "first", "command": shell("echo first >> /v/order"), "volumeMounts": [{"name": "shared", "mountPath": "/v"}]},
                {"name": "side", "restartPolicy": "Always", "command": shell("echo side >> /v/order; trap 'exit 0' TERM; while true; do sleep 0.1; done"),
                    "volumeMounts": [{"name": "shared", "mountPath": "/v"}],
                    "startupProbe": {"exec": {"command": ["test", "-s", "/v/order"]}, "periodSeconds": 1}},
                {"name": "second", "command": shell("echo second >> /v/order"), "volumeMounts": [{"name": "shared", "mountPath": "/v"}]}],
            "containers": [{"name": "main", "command": shell("echo $(cat /v/order); exec sleep 1000"),
                "volumeMounts": [{"name": "shared", "mountPath": "/v"}]}]}),
    );
    machine.wait("app", |pod| holds(pod, "Ready")).await;
    machine.wait("app", |_| machine.log("app", "main", 0) == "first side second\n").await;
    machine.clean().await;
}

pub async fn crash_loop() {
    let machine = Machine::new().await;
    machine.pod("crash", json!({"containers": [{"name": "main", "command": shell("echo run; exit 1")}]}));
    let pod = machine
        .wait("crash", |pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1);
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    let message = status["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("back-off 10s restarting failed container=main pod=crash_default("),
        "{message}"
    );
    assert_eq!(pod["status"]["phase"], "Running");
    // A program that does not exist is a failed start.
    machine.pod("typo", json!({"containers": [{"name": "main", "command": ["nonsense"]}]}));
    let pod = machine
        .wait("typo", |pod| {
            pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "StartError"
        })
        .await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 128);
    machine.clean().await;
}

pub async fn graceful_deletion() {
    let machine = Machine::new().await;
    let folder = machine.folder.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    machine.pod(
        "web",
        json!({"terminationGracePeriodSeconds": 6000,
            "volumes": [{"name": "out", "hostPath": {"path": folder}}],
            "containers": [{"name": "main",
                "command": shell("trap 'echo term >> /out/order; exit 0' TERM; touch /out/up; while true; do sleep 0.05; done"),
                "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo start >> /out/order"]}},
                    "preStop": {"exec": {"command": ["sh", "-c", "echo stop >> /out/order; sleep 0.3; echo stopped >> /out/order"]}}},
                "readinessProbe": {"exec": {"command": ["test", "-e", "/out/up"]}, "periodSeconds": 1},
                "volumeMounts": [{"name": "out", "mountPath": "/out"}]}]}),
    );
    machine.wait("web", |pod| holds(pod, "Ready")).await;
    machine.delete("web", None).await;
    machine.gone("web").await;
    assert_eq!(std::fs::read_to_string(folder.join("order")).unwrap(), "start\nstop\nstopped\nterm\n");
    // A pod that does not listen is killed when its time is over, and sooner if that is asked for.
    machine.pod(
        "deaf",
        json!({"terminationGracePeriodSeconds": 6000, "containers": [{"name": "main",
        "command": shell("trap '' TERM; while true; do sleep 0.1; done")}]}),
    );
    machine.wait("deaf", |pod| holds(pod, "Ready")).await;
    machine.delete("deaf", None).await;
    machine.wait("deaf", |pod| !pod["metadata"]["deletionTimestamp"].is_null()).await;
    machine.delete("deaf", Some(1)).await;
    machine.gone("deaf").await;
    machine.clean().await;
}

pub async fn missing_image() {
    let machine = Machine::new().await;
    machine.pod("none", json!({"containers": [{"name": "main", "image": "127.0.0.1:1/no/such:1", "imagePullPolicy": "IfNotPresent"}]}));
    let reason = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
    machine.wait("none", |pod| reason(pod) == "ErrImagePull").await;
    let pod = machine.wait("none", |pod| reason(pod) == "ImagePullBackOff").await;
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Back-off pulling image \"127.0.0.1:1/no/such:1\": ErrImagePull: "),
        "{message}"
    );
    assert_eq!(pod["status"]["phase"], "Pending");
    machine.pod(
        "never",
        json!({"containers": [{"name": "main", "image": "no/such:1", "imagePullPolicy": "Never"}]}),
    );
    machine.wait("never", |pod| reason(pod) == "ErrImageNeverPull").await;
    machine.clean().await;
}

pub async fn missing_config() {
    let machine = Machine::new().await;
    machine.pod(
        "late",
        json!({"containers": [{"name": "main", "command": ["sleep", "1000"],
        "envFrom": [{"configMapRef": {"name": "later"}}]}]}),
    );
    let pod = machine
        .wait("late", |pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
                == "CreateContainerConfigError"
        })
        .await;
    let message = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
    assert_eq!(message, "configmap \"later\" not found");
    machine.fake.put(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "later", "namespace": "default"}, "data": {"A": "1"}}));
    machine.wait("late", |pod| holds(pod, "Ready")).await;
    machine.clean().await;
}

pub async fn lost_sandbox() {
    let machine = Machine::new().await;
    machine.pod("held", json!({"containers": [{"name": "main", "command": ["sleep", "1000"]}]}));
    let before = machine.wait("held", |pod| holds(pod, "Ready")).await;
    let sandbox = machine.runtime.sandboxes().await.unwrap().remove(0);
    let holder = sandbox.pid.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(holder as i32), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let pod = machine
        .wait("held", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1 && holds(pod, "Ready"))
        .await;
    assert_ne!(before["status"]["podIP"], Value::Null);
    assert_ne!(pod["status"]["podIP"], Value::Null);
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 255);
    assert!(machine.events().iter().any(|event| event.starts_with("SandboxChanged: ")));
    machine.clean().await;
}

pub async fn namespaces_of_the_host() {
    let machine = Machine::new().await;
    machine.pod(
        "host",
        json!({"hostNetwork": true, "hostPID": true, "restartPolicy": "Never", "containers": [{"name": "main",
        "command": shell("head -1 /etc/hosts; test -d /proc/2 && echo sees; hostname")}]}),
    );
    let pod = machine.phase("host", "Succeeded").await;
    assert_eq!(pod["status"]["podIP"], pod["status"]["hostIP"]);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let log = machine.log("host", "main", 0);
    assert_eq!(log, format!("# Kubernetes-managed hosts file (host network).\nsees\n{host}\n"));
    machine.pod("shared", json!({"shareProcessNamespace": true, "containers": [
        {"name": "one", "command": ["sleep", "4711"]},
        {"name": "two", "command": shell("while ! grep -q 4711 /proc/[0-9]*/cmdline; do sleep 0.05; done; echo seen; exec sleep 1000")}]}));
    machine.wait("shared", |_| machine.log("shared", "two", 0).contains("seen")).await;
    machine.clean().await;
}

pub async fn deadline() {
    let machine = Machine::new().await;
    machine.pod(
        "late",
        json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1, "containers": [
        {"name": "main", "command": shell("trap 'exit 0' TERM; while true; do sleep 0.1; done")}]}),
    );
    let pod = machine.phase("late", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    machine.clean().await;
}

pub async fn ephemeral_container() {
    let machine = Machine::new().await;
    machine.pod("target", json!({"containers": [{"name": "main", "command": ["sleep", "4711"]}]}));
    machine.wait("target", |pod| holds(pod, "Ready")).await;
    let key = gifee_base::ObjectKey::new("default", "target");
    machine.fake.change(&gifee_base::Gvr::core("pods"), &key, |pod| {
        pod["metadata"]["generation"] = json!(2);
        pod["spec"]["ephemeralContainers"] = json!([{"name": "look", "image": crate::machine::IMAGE,
            "imagePullPolicy": "IfNotPresent", "targetContainerName": "main",
            "command": ["sh", "-c", "grep -c 4711 /proc/1/cmdline; exit 5"]}]);
    });
    let pod = machine
        .wait("target", |pod| {
            pod["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 5
        })
        .await;
    assert_eq!(machine.log("target", "look", 0), "1\n");
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(holds(&pod, "Ready"));
    machine.clean().await;
}

pub async fn dead_runs_are_removed() {
    let machine = Machine::new().await;
    // Each run lasts too short for a back-off to be forgotten, so four runs take half a minute: three are enough.
    machine.pod(
        "crash",
        json!({"containers": [{"name": "main", "command": shell("echo run; sleep 0.2; exit 1")}]}),
    );
    machine.wait("crash", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 2).await;
    machine
        .wait("crash", |pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    machine.wait("crash", |_| machine.log("crash", "main", 0).is_empty()).await;
    assert_eq!(machine.log("crash", "main", 1), "run\n");
    assert_eq!(machine.log("crash", "main", 2), "run\n");
    assert_eq!(machine.runtime.containers().await.unwrap().len(), 2);
    machine.clean().await;
}
