//! Variables of containers: where they come from, and what they stand in.

use super::{PODS, make, output, path, ready, shell, sleeper};
use crate::api::Api;
use crate::conformance::Step;
use serde_json::{Value, json};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("objects", variables_come_from_objects),
    ("downward", variables_say_what_the_pod_is),
    ("service-variables", variables_name_services),
    ("expansion", variables_stand_in_others_and_in_words),
    ("subpaths", variables_stand_in_parts_of_volumes),
    ("bad-subpaths", parts_outside_of_a_volume_are_refused),
    ("late-subpaths", a_part_can_be_named_later),
];

fn variables_come_from_objects(api: &Api<'_>) {
    let data = json!({ "data_1": "value_1", "data-2": "value_2", "3.data": "value_3" });
    let map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "words" }, "data": data });
    let secret =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "words" }, "stringData": data });
    api.post(&api.path("v1/configmaps"), &map);
    api.post(&api.path("v1/secrets"), &secret);
    for (kind, reference, key) in
        [("map", "configMapRef", "configMapKeyRef"), ("secret", "secretRef", "secretKeyRef")]
    {
        // A shell would keep back what it cannot name.
        let mut container =
            json!({ "name": "c", "image": crate::fixture::BUSYBOX, "command": ["busybox", "env"] });
        container["env"] =
            json!([{ "name": "ONE", "valueFrom": { key: { "name": "words", "key": "data_1" } } }]);
        container["envFrom"] = json!([{ reference: { "name": "words" } },
            { "prefix": "p-", reference: { "name": "words" } },
            { "prefix": "1-", reference: { "name": "words" } },
            { "prefix": "$_-", reference: { "name": "words" } },
            { "prefix": "#", reference: { "name": "words" } }]);
        let said = output(api, kind, &json!({ "containers": [container] }));
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.contains(&"ONE=value_1"), "{said}");
        for prefix in ["", "p-", "1-", "$_-", "#"] {
            for (name, value) in data.as_object().unwrap() {
                let line = format!("{prefix}{name}={}", value.as_str().unwrap());
                assert!(lines.contains(&line.as_str()), "{kind}: no {line} in {said}");
            }
        }
    }
}

fn variables_say_what_the_pod_is(api: &Api<'_>) {
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let amount = |name: &str, resource: &str, divisor: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } });
    let variables = json!([
        field("NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("UID", "metadata.uid"),
        field("POD_IP", "status.podIP"),
        field("HOST_IP", "status.hostIP"),
        field("HOST_IPS", "status.hostIPs"),
        amount("CPU_LIMIT", "limits.cpu", "0"),
        amount("MEMORY_LIMIT", "limits.memory", "0"),
        amount("CPU_REQUEST", "requests.cpu", "1m"),
        amount("MEMORY_REQUEST", "requests.memory", "0")
    ]);
    let mut container = shell("busybox env");
    container["env"] = variables;
    let value = |said: &str, name: &str| -> String {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("no {name} in {said}")).to_owned()
    };
    let said = output(api, "unlimited", &json!({ "containers": [container] }));
    let pod = api.get(&path(api, "unlimited"));
    for (name, expect) in [
        ("NAME", &pod["metadata"]["name"]),
        ("NAMESPACE", &pod["metadata"]["namespace"]),
        ("UID", &pod["metadata"]["uid"]),
        ("POD_IP", &pod["status"]["podIP"]),
        ("HOST_IP", &pod["status"]["hostIP"]),
        ("HOST_IPS", &pod["status"]["hostIPs"][0]["ip"]),
    ] {
        assert_eq!(value(&said, name), expect.as_str().unwrap(), "{name}");
    }
    let nodes = api.get("/api/v1/nodes");
    let allocatable = &nodes["items"][0]["status"]["allocatable"];
    let amount =
        |name: &str| allocatable[name].as_str().unwrap().parse::<gifee_base::Quantity>().unwrap().value();
    assert_eq!(value(&said, "CPU_LIMIT"), amount("cpu").to_string());
    assert_eq!(value(&said, "MEMORY_LIMIT"), amount("memory").to_string());
    container["resources"] = json!({ "requests": { "cpu": "250m", "memory": "32Mi" }, "limits": { "cpu": "1250m", "memory": "64Mi" } });
    let said = output(api, "limited", &json!({ "containers": [container] }));
    for (name, expect) in [
        ("CPU_LIMIT", "2"),
        ("MEMORY_LIMIT", "67108864"),
        ("CPU_REQUEST", "250"),
        ("MEMORY_REQUEST", "33554432"),
    ] {
        assert_eq!(value(&said, name), expect, "{name}");
    }
}

fn variables_name_services(api: &Api<'_>) {
    make(api, "server", &json!({ "containers": [sleeper()] }));
    let body = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "fooservice" },
        "spec": { "selector": { "name": "server" }, "ports": [{ "port": 8765, "targetPort": 8080 }] } });
    let service = api.post(&api.path("v1/services"), &body);
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    ready(api, "server");
    // The node knows of a service a moment after it is there.
    let tries = std::cell::Cell::new(0);
    super::ask("the variables of a service", || {
        tries.set(tries.get() + 1);
        let said =
            output(api, &format!("client-{}", tries.get()), &json!({ "containers": [shell("busybox env")] }));
        [
            format!("FOOSERVICE_SERVICE_HOST={address}"),
            "FOOSERVICE_SERVICE_PORT=8765".to_owned(),
            format!("FOOSERVICE_PORT=tcp://{address}:8765"),
            "FOOSERVICE_PORT_8765_TCP_PORT=8765".to_owned(),
            "FOOSERVICE_PORT_8765_TCP_PROTO=tcp".to_owned(),
            format!("FOOSERVICE_PORT_8765_TCP=tcp://{address}:8765"),
            format!("FOOSERVICE_PORT_8765_TCP_ADDR={address}"),
        ]
        .iter()
        .all(|line| said.lines().any(|one| one == line))
    });
}

fn variables_stand_in_others_and_in_words(api: &Api<'_>) {
    let mut container = shell("echo \"$COMPOSED\" \"$(COMPOSED)\" '$$(FOO)' '$(NOBODY)'");
    container["env"] = json!([{ "name": "FOO", "value": "foo-value" }, { "name": "BAR", "value": "bar-value" },
        { "name": "COMPOSED", "value": "$(FOO);;$(BAR)" }]);
    container["args"] = json!(["$(BAR)"]);
    let said = output(api, "command", &json!({ "containers": [container] }));
    assert_eq!(said, "foo-value;;bar-value foo-value;;bar-value $(FOO) $(NOBODY)\n");
    container["command"] = json!(["echo"]);
    assert_eq!(output(api, "arguments", &json!({ "containers": [container] })), "bar-value\n");
}

/// A container with a volume of which it has a part.
fn part(line: &str, variables: &Value, pattern: &str) -> Value {
    let mut container = shell(line);
    container["env"] = variables.clone();
    container["volumeMounts"] = json!([{ "name": "all", "mountPath": "/all" },
        { "name": "all", "mountPath": "/part", "subPathExpr": pattern }]);
    json!({ "containers": [container], "volumes": [{ "name": "all", "emptyDir": {} }] })
}

fn variables_stand_in_parts_of_volumes(api: &Api<'_>) {
    let name = json!([{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
    let spec = part("echo word > /part/file; cat /all/pod/deep/file", &name, "$(POD_NAME)/deep");
    assert_eq!(output(api, "pod", &spec), "word\n");
    let spec = part("exec sleep 100000", &name, "$(POD_NAME)");
    make(api, "lasting", &spec);
    ready(api, "lasting");
    assert_eq!(super::exec(api, "lasting", "c", "echo kept > /part/file; cat /all/lasting/file"), "kept\n");
    // It stays where it was, whatever is said of the pod later.
    api.patch(&path(api, "lasting"), &json!({ "metadata": { "annotations": { "mysubpath": "elsewhere" } } }));
    assert_eq!(super::exec(api, "lasting", "c", "cat /part/file"), "kept\n");
}

fn waits(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
}

fn parts_outside_of_a_volume_are_refused(api: &Api<'_>) {
    for (name, value, why) in
        [("absolute", "/tmp", "must not be an absolute path"), ("backticks", "..", "must not contain '..'")]
    {
        let variables = json!([{ "name": "PLACE", "value": value }]);
        make(api, name, &part("exec sleep 100000", &variables, "$(PLACE)"));
        let pod = api.until(PODS, name, waits);
        let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].to_string();
        assert!(message.contains(why), "{message}");
    }
}

fn a_part_can_be_named_later(api: &Api<'_>) {
    let variables = json!([{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "ANNOTATION", "valueFrom": { "fieldRef": { "fieldPath": "metadata.annotations['mysubpath']" } } }]);
    make(api, "late", &part("exec sleep 100000", &variables, "$(ANNOTATION)/$(POD_NAME)"));
    api.until(PODS, "late", waits);
    api.patch(&path(api, "late"), &json!({ "metadata": { "annotations": { "mysubpath": "mypath" } } }));
    ready(api, "late");
    assert_eq!(
        super::exec(api, "late", "c", "echo there > /part/file; cat /all/mypath/late/file"),
        "there\n"
    );
}
