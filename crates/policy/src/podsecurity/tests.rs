//! Levels and versions against pods, with upstream's words.

use super::*;
use serde_json::json;

fn check(level: &str, version: &str, spec: Value, expect: &str) {
    let labels = json!({ "pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version });
    let (policy, errors) = Policy::of(&labels);
    assert_eq!(errors, []);
    assert_eq!(details(&evaluate(policy.enforce, &json!({}), &spec)), expect, "{level} {version} {spec}");
}

fn hardened() -> Value {
    json!({ "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{ "name": "c", "securityContext":
            { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } } }] })
}

#[test]
fn what_levels_refuse() {
    let plain = json!({ "containers": [{ "name": "a" }, { "name": "b" }] });
    check("privileged", "latest", json!({ "hostNetwork": true }), "");
    check("baseline", "latest", plain.clone(), "");
    check("restricted", "latest", hardened(), "");
    check(
        "restricted",
        "latest",
        plain.clone(),
        r#"allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#,
    );
    check(
        "restricted",
        "v1.7",
        plain,
        r#"runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true)"#,
    );
    let host = json!({ "hostNetwork": true, "hostPID": true, "volumes": [{ "name": "v", "hostPath": {} }],
        "containers": [{ "name": "a", "ports": [{ "hostPort": 80 }], "securityContext": { "privileged": true,
            "capabilities": { "add": ["NET_RAW", "CHOWN"] } } }] });
    check(
        "baseline",
        "latest",
        host,
        r#"non-default capabilities (container "a" must not include "NET_RAW" in securityContext.capabilities.add), host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume "v"), hostPort (container "a" uses hostPort 80), privileged (container "a" must not set securityContext.privileged=true)"#,
    );
    let mut volumes = hardened();
    volumes["volumes"] = json!([{ "name": "v", "hostPath": {} }, { "name": "n", "nfs": {} }]);
    check(
        "restricted",
        "latest",
        volumes,
        r#"restricted volume types (volumes "v", "n" use restricted volume types "hostPath", "nfs")"#,
    );
    let mut root = hardened();
    root["containers"][0]["securityContext"]["runAsUser"] = 0.into();
    check("restricted", "v1.34", root.clone(), r#"runAsUser=0 (container "c" must not set runAsUser=0)"#);
    root["hostUsers"] = false.into();
    check("restricted", "latest", root, "");
    let sysctls =
        json!({ "securityContext": { "sysctls": [{ "name": "net.ipv4.tcp_rmem" }] }, "containers": [] });
    check("baseline", "v1.31", sysctls.clone(), "forbidden sysctls (net.ipv4.tcp_rmem)");
    check("baseline", "v1.32", sysctls, "");
    let probe = json!({ "containers": [{ "name": "a", "livenessProbe": { "httpGet": { "host": "h" } } }] });
    check("baseline", "v1.33", probe.clone(), "");
    check(
        "baseline",
        "latest",
        probe,
        r#"probe or lifecycle host (container "a" uses probe or lifecycle host "h")"#,
    );
    let linux =
        json!({ "securityContext": { "seLinuxOptions": { "type": "x", "user": "u" } }, "containers": [] });
    check(
        "baseline",
        "latest",
        linux,
        r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)"#,
    );
}

#[test]
fn labels_that_make_no_sense_are_strict() {
    let (policy, errors) = Policy::of(&json!({ "pod-security.kubernetes.io/enforce": "x",
        "pod-security.kubernetes.io/warn-version": "1.2" }));
    assert_eq!(policy.enforce.to_string(), "restricted:latest");
    assert_eq!(policy.warn.to_string(), "privileged:latest");
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            r#"metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "x": must be one of privileged, baseline, restricted"#,
            r#"metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.2": must be "latest" or "v1.x""#,
        ]
    );
    let (policy, _) = Policy::of(&json!({ "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.30" }));
    assert_eq!(policy.warn.to_string(), "baseline:v1.30");
}
