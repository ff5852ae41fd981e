//! Environments by table.

use std::collections::HashMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use serde_json::{Value, json};

use super::*;

#[derive(Default)]
struct Stored {
    maps: HashMap<String, Arc<ConfigMap>>,
    secrets: HashMap<String, Arc<Secret>>,
}

impl Sources for Stored {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        self.maps.get(name).cloned()
    }
    fn secret(&self, name: &str) -> Option<Arc<Secret>> {
        self.secrets.get(name).cloned()
    }
}

impl Files for Stored {
    fn text(&self, volume: &str, path: &str) -> Result<Option<String>, String> {
        match (volume, path) {
            ("shared", "made.env") => {
                Ok(Some("\n # a comment\n ONE = 'a b\n $(c)' \nTWO=two words \nTHREE='3'x\n".into()))
            }
            ("shared", "huge.env") => Err("too large".into()),
            _ => Ok(None),
        }
    }
}

fn stored() -> Stored {
    let map = json!({"data": {"one": "1", "two": "2", "bad=name": "x"}});
    let secret = json!({"data": {"password": "aHVudGVyMg=="}});
    Stored {
        maps: HashMap::from([("settings".into(), Arc::new(serde_json::from_value(map).unwrap()))]),
        secrets: HashMap::from([("login".into(), Arc::new(serde_json::from_value(secret).unwrap()))]),
    }
}

fn check(container: Value, expect: Expect) {
    let mut container = container;
    container["name"] = json!("main");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "blog", "namespace": "web", "uid": "u1", "labels": {"app": "blog", "q": "a\"b"}},
        "spec": {"nodeName": "node1", "serviceAccountName": "robot", "containers": [container]}
    }))
    .unwrap();
    let facts = Facts {
        pod_addresses: vec!["10.0.0.7".parse().unwrap()],
        host_addresses: vec!["192.168.1.1".parse().unwrap()],
        services: vec![("DB_SERVICE_HOST".into(), "10.96.0.9".into())],
        allocatable: BTreeMap::from([("cpu".into(), "2".parse().unwrap())]),
    };
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let text = match environment(&pod, container, &stored(), &stored(), &facts) {
        Ok(made) => {
            let args = expand_all(container.args.as_ref(), &made);
            let lines: Vec<String> = made.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{}\nargs {args:?}", lines.join("\n"))
        }
        Err(error) => format!("error: {error}"),
    };
    expect.assert_eq(&text);
}

#[test]
fn values_expand_what_stands_before_them() {
    check(
        json!({"env": [
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(C)-$$(A)-$(DB_SERVICE_HOST)"},
            {"name": "C", "value": "$(B"}], "args": ["$(A)", "$(NOPE)", "$$(A)", "$"]}),
        expect![[r#"
            A=1
            B=1-$(C)-$(A)-10.96.0.9
            C=$(B
            DB_SERVICE_HOST=10.96.0.9
            args ["1", "$(NOPE)", "$(A)", "$"]"#]],
    );
}

#[test]
fn objects_are_imported_and_overridden() {
    check(
        json!({"envFrom": [{"prefix": "X_", "configMapRef": {"name": "settings"}},
                {"secretRef": {"name": "login"}}, {"secretRef": {"name": "none", "optional": true}}],
            "env": [{"name": "X_one", "value": "over"},
                {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "two"}}},
                {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "login", "key": "no", "optional": true}}}]}),
        expect![[r#"
            X_one=over
            X_two=2
            password=hunter2
            KEY=2
            DB_SERVICE_HOST=10.96.0.9
            args []"#]],
    );
}

#[test]
fn fields_and_resources() {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let resource = |name: &str, resource: &str, divisor: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}});
    check(
        json!({"resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}, "env": [
            field("NAME", "metadata.name"), field("APP", "metadata.labels['app']"),
            field("IP", "status.podIP"), field("HOST", "status.hostIP"), field("NODE", "spec.nodeName"),
            field("LABELS", "metadata.labels"),
            resource("MEMORY", "limits.memory", "1Mi"), resource("CPU", "requests.cpu", "1"),
            resource("MILLI", "requests.cpu", "1m"), resource("NODE_CPU", "limits.cpu", "0")]}),
        expect![[r#"
            NAME=blog
            APP=blog
            IP=10.0.0.7
            HOST=192.168.1.1
            NODE=node1
            LABELS=app="blog"
            q="a\"b"
            MEMORY=64
            CPU=1
            MILLI=250
            NODE_CPU=2
            DB_SERVICE_HOST=10.96.0.9
            args []"#]],
    );
}

#[test]
fn files_say_what_variables_are() {
    let variable = |path: &str, key: &str, optional: bool| {
        json!({"env": [{"name": "A", "valueFrom": {
        "fileKeyRef": {"volumeName": "shared", "path": path, "key": key, "optional": optional}}}]})
    };
    check(
        variable("made.env", "ONE", false),
        expect![[r#"
            A=a b
             $(c)
            DB_SERVICE_HOST=10.96.0.9
            args []"#]],
    );
    check(
        variable("made.env", "TWO", false),
        expect![[r#"
            A=two words
            DB_SERVICE_HOST=10.96.0.9
            args []"#]],
    );
    for (path, key) in [("made.env", "THREE"), ("huge.env", "ONE"), ("none.env", "ONE")] {
        check(
            variable(path, key, false),
            match path {
                "made.env" => expect![
                    "error: couldn't read key THREE from file made.env of volume shared: something stands behind the value that ends in line 6"
                ],
                "huge.env" => {
                    expect!["error: couldn't read key ONE from file huge.env of volume shared: too large"]
                }
                _ => expect![
                    "error: couldn't read key ONE from file none.env of volume shared: it is not there"
                ],
            },
        );
    }
    check(
        variable("none.env", "ONE", true),
        expect![[r#"
            DB_SERVICE_HOST=10.96.0.9
            args []"#]],
    );
}

#[test]
fn lines_that_declare_nothing_are_named() {
    let check = |text: &str, expect: Result<Option<&str>, &str>| {
        let found = file::find(text, "A");
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), expect, "{text:?}");
    };
    check("", Ok(None));
    check("B=1\nA=2\nA=3", Ok(Some("2")));
    check("A=", Ok(Some("")));
    check("A=''", Ok(Some("")));
    check("A='x=\"y\" # z'\r\n", Ok(Some("x=\"y\" # z")));
    check("AB='1\nA=2'\nA='3'", Ok(Some("3")));
    check("B='1\n2'\nwhat\nA=1", Err("line 3 declares no variable"));
    check("what\nA=1", Err("line 1 declares no variable"));
    check("A='1", Err("the value in line 1 has no closing quote"));
}

#[test]
fn what_is_missing_is_named() {
    let reference = |kind: &str, name: &str, key: &str| json!({"env": [{"name": "A", "valueFrom": {kind: {"name": name, "key": key}}}]});
    check(reference("configMapKeyRef", "none", "a"), expect![[r#"error: configmap "none" not found"#]]);
    check(
        reference("configMapKeyRef", "settings", "three"),
        expect!["error: couldn't find key three in ConfigMap web/settings"],
    );
    check(
        reference("secretKeyRef", "login", "user"),
        expect!["error: couldn't find key user in Secret web/login"],
    );
    check(
        json!({"envFrom": [{"secretRef": {"name": "none"}}]}),
        expect![[r#"error: secret "none" not found"#]],
    );
}

#[test]
fn services_of_the_namespace_and_the_api_server() {
    let service = |namespace: &str, name: &str, ip: &str| -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": ip, "ports": [{"name": "http-main", "port": 80}, {"port": 53, "protocol": "UDP"}]}}))
        .unwrap()
    };
    let all = [
        service("default", "kubernetes", "10.96.0.1"),
        service("web", "my-db", "10.96.0.9"),
        service("web", "headless", "None"),
        service("other", "x", "10.96.0.10"),
    ];
    let made = services::variables(all.iter(), "web", true);
    let lines: Vec<String> = made.iter().map(|(name, value)| format!("{name}={value}")).collect();
    expect![[r#"
        MY_DB_SERVICE_HOST=10.96.0.9
        MY_DB_SERVICE_PORT=80
        MY_DB_SERVICE_PORT_HTTP_MAIN=80
        MY_DB_PORT=tcp://10.96.0.9:80
        MY_DB_PORT_80_TCP=tcp://10.96.0.9:80
        MY_DB_PORT_80_TCP_PROTO=tcp
        MY_DB_PORT_80_TCP_PORT=80
        MY_DB_PORT_80_TCP_ADDR=10.96.0.9
        MY_DB_PORT_53_UDP=udp://10.96.0.9:53
        MY_DB_PORT_53_UDP_PROTO=udp
        MY_DB_PORT_53_UDP_PORT=53
        MY_DB_PORT_53_UDP_ADDR=10.96.0.9"#]]
    .assert_eq(&lines[..12].join("\n"));
    assert_eq!(lines[12], "KUBERNETES_SERVICE_HOST=10.96.0.1");
    assert!(
        services::variables(all.iter(), "web", false).iter().all(|(name, _)| name.starts_with("KUBERNETES_"))
    );
}
