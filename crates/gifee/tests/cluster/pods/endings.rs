//! How containers end, what they leave behind, and what runs before them.

use super::{PODS, SPEAKER, holds, make, output, path, phase, shell, sleeper};
use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::BUSYBOX;
use serde_json::{Value, json};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("outcomes", containers_end_as_expected),
    ("messages", last_words_are_reported),
    ("commands", commands_are_those_of_the_image_or_of_the_pod),
    ("failures", what_always_fails_says_so_and_can_be_deleted),
    ("init", init_containers_come_first),
    ("init-fails", nothing_starts_after_a_failed_init_container),
];

fn containers_end_as_expected(api: &Api<'_>) {
    // Fails at first, then ends well, then stays.
    let line = "echo hello >> /data/count; n=$(wc -l < /data/count); [ $n -eq 1 ] && exit 1; [ $n -eq 2 ] && exit 0; exec sleep 100000";
    for policy in ["Always", "OnFailure", "Never"] {
        let mut container = shell(line);
        container["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
        let spec = json!({ "restartPolicy": policy, "containers": [container],
            "volumes": [{ "name": "data", "emptyDir": {} }] });
        make(api, &policy.to_lowercase(), &spec);
    }
    let status = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    let always = api.until(PODS, "always", |pod| status(pod)["restartCount"] == 2 && holds(pod, "Ready"));
    assert_eq!(always["status"]["phase"], "Running");
    assert!(!status(&always)["state"]["running"].is_null());
    let once = status(&phase(api, "onfailure", "Succeeded"));
    assert_eq!((&once["restartCount"], &once["ready"]), (&json!(1), &json!(false)));
    assert_eq!(once["state"]["terminated"]["exitCode"], 0);
    let never = status(&phase(api, "never", "Failed"));
    assert_eq!((&never["restartCount"], &never["ready"]), (&json!(0), &json!(false)));
    assert_eq!(never["state"]["terminated"]["exitCode"], 1);
}

fn last_words_are_reported(api: &Api<'_>) {
    let log = "FallbackToLogsOnError";
    for (name, line, policy, file, expect) in [
        ("path", "echo -n DONE > /dev/termination-custom-log", "File", "/dev/termination-custom-log", "DONE"),
        ("log", "echo -n DONE; exit 1", log, "/dev/termination-log", "DONE"),
        ("nothing", "echo DONE", log, "/dev/termination-log", ""),
        ("file", "echo -n OK > /dev/termination-log; echo DONE", log, "/dev/termination-log", "OK"),
    ] {
        let mut container = shell(line);
        container["terminationMessagePolicy"] = policy.into();
        container["terminationMessagePath"] = file.into();
        if name == "path" {
            container["securityContext"] = json!({ "runAsUser": 1000 });
        }
        make(api, name, &json!({ "containers": [container] }));
        let pod = phase(api, name, if name == "log" { "Failed" } else { "Succeeded" });
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(ended["message"].as_str().unwrap_or_default(), expect, "{name}");
    }
}

fn commands_are_those_of_the_image_or_of_the_pod(api: &Api<'_>) {
    for (name, own, expect) in [
        ("defaults", json!({}), "entry word\n"),
        ("arguments", json!({ "args": ["override", "arguments"] }), "entry override arguments\n"),
        ("command", json!({ "command": ["echo", "own"] }), "own\n"),
        ("both", json!({ "command": ["echo", "own"], "args": ["override"] }), "own override\n"),
    ] {
        let mut container = json!({ "name": "c", "image": SPEAKER });
        container.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(output(api, name, &json!({ "containers": [container] })), expect);
    }
}

fn what_always_fails_says_so_and_can_be_deleted(api: &Api<'_>) {
    make(api, "false", &json!({ "containers": [shell("exit 1")] }));
    let pod = phase(api, "false", "Failed");
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("Error"), &json!(1)));
    make(api, "again", &json!({ "restartPolicy": "Always", "containers": [shell("exit 1")] }));
    api.until(PODS, "again", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1);
    for name in ["false", "again"] {
        api.delete(&path(api, name), &Value::Null);
        api.until(PODS, name, Value::is_null);
    }
}

/// Two containers that come before another.
fn prepared(first: &str, main: Value) -> Value {
    let mut main = main;
    main["name"] = "run1".into();
    let init =
        |name: &str, line: &str| json!({ "name": name, "image": BUSYBOX, "command": ["sh", "-c", line] });
    json!({ "initContainers": [init("init1", first), init("init2", "exit 0")], "containers": [main] })
}

fn init_containers_come_first(api: &Api<'_>) {
    make(api, "never", &prepared("exit 0", shell("exit 0")));
    let mut lasting = prepared("exit 0", sleeper());
    lasting["restartPolicy"] = "Always".into();
    make(api, "always", &lasting);
    for (pod, container_ready) in [
        (phase(api, "never", "Succeeded"), false),
        (api.until(PODS, "always", |pod| holds(pod, "Ready")), true),
    ] {
        assert!(holds(&pod, "Initialized"));
        let statuses = pod["status"]["initContainerStatuses"].as_array().unwrap();
        assert_eq!(statuses.len(), 2);
        for status in statuses {
            assert_eq!(status["ready"], true);
            assert_eq!(status["state"]["terminated"]["exitCode"], 0);
        }
        assert_eq!(pod["status"]["containerStatuses"][0]["ready"], container_ready);
    }
}

fn nothing_starts_after_a_failed_init_container(api: &Api<'_>) {
    make(api, "never", &prepared("exit 1", sleeper()));
    let mut again = prepared("exit 1", sleeper());
    again["restartPolicy"] = "Always".into();
    make(api, "always", &again);
    let pod = phase(api, "never", "Failed");
    let init = &pod["status"]["initContainerStatuses"];
    assert_eq!(init[0]["state"]["terminated"]["exitCode"], 1);
    let restarted =
        api.until(PODS, "always", |pod| pod["status"]["initContainerStatuses"][0]["restartCount"] == 2);
    assert_eq!(restarted["status"]["phase"], "Pending");
    for pod in [pod, restarted] {
        assert!(!holds(&pod, "Initialized"));
        let conditions = pod["status"]["conditions"].as_array().unwrap();
        let why = conditions.iter().find(|one| one["type"] == "Initialized").unwrap();
        assert_eq!(why["reason"], "ContainersNotInitialized");
        assert_eq!(why["message"], "containers with incomplete status: [init1 init2]");
        assert!(!pod["status"]["initContainerStatuses"][1]["state"]["waiting"].is_null());
        assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    }
}
