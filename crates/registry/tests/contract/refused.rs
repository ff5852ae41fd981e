//! Objects and changes that upstream refuses, with its texts.

use super::{Nobody, context, created, defaults, example, rows, stored};
use futures_util::FutureExt;
use gifee_base::{FieldError, ObjectKey};
use gifee_registry::Kind;
use gifee_schema::defaults::Defaults;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Sets a place in an object, or removes it if the value is null.
fn set(object: &mut Value, at: &str, value: &Value) {
    let (parent, last) = at.rsplit_once('/').unwrap();
    if object.pointer(parent).is_none() {
        set(object, parent, &json!({}));
    }
    match object.pointer_mut(parent).unwrap() {
        Value::Object(map) if value.is_null() => {
            map.remove(last);
        }
        Value::Object(map) => {
            map.insert(last.to_owned(), value.clone());
        }
        Value::Array(list) => match last.parse::<usize>() {
            Ok(index) if index < list.len() => list[index] = value.clone(),
            _ => list.push(value.clone()),
        },
        other => panic!("{at} is below {other}"),
    }
}

/// Judges the examples of kinds, once changed.
pub struct Bench {
    defaults: Defaults,
}

/// What comes of a write.
pub struct Judged {
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
    /// The object as it would be stored.
    pub object: Value,
}

impl Bench {
    pub fn new() -> Self {
        Self { defaults: defaults() }
    }

    /// The row of a kind, `v1.Kind` or `group/v1.Kind` if several versions have it.
    fn row(kind: &str) -> Kind {
        let (version, kind) = kind.rsplit_once('.').unwrap_or(("", kind));
        let this =
            |row: &Kind| *row.gvk.kind == *kind && (version.is_empty() || row.gvk.api_version() == version);
        rows().into_iter().find(this).unwrap_or_else(|| panic!("no kind {kind}"))
    }

    /// Writes the example of a kind as a request does, once `old` and then `sets` have been set in it.
    pub fn write(
        &self,
        kind: &str,
        part: Option<&str>,
        old: &[(&str, Value)],
        sets: &[(&str, Value)],
    ) -> Judged {
        let row = Self::row(kind);
        let mut before = created(&row, &self.defaults);
        for (at, value) in old {
            set(&mut before, at, value);
        }
        let mut object = before.clone();
        if part.is_none() {
            object = super::example(&row);
        }
        for (at, value) in sets {
            set(&mut object, at, value);
        }
        let schema = super::schema(&row);
        let findings = gifee_schema::check::check(&schema, &mut object).unwrap();
        assert!(findings.unknown.is_empty(), "{kind}: {:?}", findings.unknown);
        self.defaults.apply(&schema, &mut object);
        row.hooks.default(&mut object);
        let key = ObjectKey::new("default", "x");
        let (nobody, extra) = (Nobody::default(), BTreeMap::new());
        let context = context(&key, &nobody, &extra);
        let old = part.map(|_| &before);
        match part {
            None => row.hooks.prepare_create(&mut object, &context),
            Some(part) => row.hooks.prepare_update(&mut object, &before, part, &context),
        }
        if let Err(status) = row.hooks.allocate(&mut object, old, &context).now_or_never().unwrap() {
            return Judged { errors: vec![status.message], warnings: Vec::new(), object };
        }
        let mut errors = Vec::new();
        match part {
            None => {
                errors.extend(row.hooks.validate(&object, &context));
                errors.extend(row.hooks.validate_create(&object, &context));
            }
            Some(part) => errors.extend(row.hooks.judge_update(&object, &before, part, &context)),
        }
        let lines = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let errors = FieldError::in_order(errors);
        let errors = errors.iter().map(|error| lines(error.to_string())).collect();
        let warnings = row.hooks.warnings(&object, old);
        Judged { errors, warnings, object }
    }

    /// What a write makes of the example of a kind once changed, what is wrong with it, and what is warned of;
    /// `part`: an update of that part, of an example that was changed before.
    pub fn judge_change(
        &self,
        kind: &str,
        part: Option<&str>,
        before: &[(&str, Value)],
        sets: &[(&str, Value)],
    ) -> (Value, Vec<String>, Vec<String>) {
        let row = Self::row(kind);
        let mut old = created(&row, &self.defaults);
        for (at, value) in before {
            set(&mut old, at, value);
        }
        let mut object = old.clone();
        for (at, value) in sets {
            set(&mut object, at, value);
        }
        let key = ObjectKey::new("default", "x");
        let (nobody, extra) = (Nobody::default(), BTreeMap::new());
        let context = context(&key, &nobody, &extra);
        let errors = match part {
            None => {
                let mut errors = row.hooks.validate(&object, &context);
                errors.extend(row.hooks.validate_create(&object, &context));
                errors
            }
            Some(part) => {
                row.hooks.prepare_update(&mut object, &old, part, &context);
                row.hooks.judge_update(&object, &old, part, &context)
            }
        };
        // The difference that follows some texts is for people.
        let lines = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let errors = FieldError::in_order(errors);
        let errors: Vec<String> = errors.iter().map(|error| lines(error.to_string())).collect();
        let warnings = row.hooks.warnings(&object, part.map(|_| &old));
        (object, errors, warnings)
    }

    /// What a create makes of the example of a kind that was changed before it was sent.
    pub fn made(&self, kind: &str, sets: &[(&str, Value)]) -> Value {
        let row = Self::row(kind);
        let mut object = example(&row);
        for (at, value) in sets {
            set(&mut object, at, value);
        }
        stored(&row, &self.defaults, object)
    }

    /// Checks what is wrong with the example of a kind once changed; `part`: an update of that part of it.
    fn check(&self, kind: &str, part: Option<&str>, sets: &[(&str, Value)], expect: &[&str]) {
        let (_, errors, _) = self.judge_change(kind, part, &[], sets);
        assert_eq!(errors, expect, "{kind} {part:?} {sets:?}");
    }
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

#[test]
fn pods() {
    let bench = Bench { defaults: defaults() };
    let pod = |sets: &[(&str, Value)], expect: &[&str]| bench.check("Pod", None, sets, expect);
    pod(&[("/spec/containers", json!([]))], &["spec.containers: Required value"]);
    pod(
        &[("/spec/containers/0/name", json!("A_b"))],
        &[&format!("spec.containers[0].name: Invalid value: \"A_b\": {LABEL}")],
    );
    pod(
        &[("/spec/containers/0/name", json!("prepare"))],
        &["spec.initContainers[0].name: Duplicate value: \"prepare\""],
    );
    pod(&[("/spec/containers/0/image", Value::Null)], &["spec.containers[0].image: Required value"]);
    pod(
        &[("/spec/containers/0/image", json!(" a"))],
        &["spec.containers[0].image: Invalid value: \" a\": must not have leading or trailing whitespace"],
    );
    pod(
        &[("/spec/containers/0/ports/0/containerPort", json!(70000))],
        &[
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ],
    );
    pod(
        &[("/spec/containers/0/ports/0/name", json!("a-port-name-too-long"))],
        &[
            "spec.containers[0].ports[0].name: Invalid value: \"a-port-name-too-long\": must be no more than 15 bytes",
        ],
    );
    pod(
        &[("/spec/containers/0/volumeMounts/0/name", json!("gone"))],
        &["spec.containers[0].volumeMounts[0].name: Not found: \"gone\""],
    );
    pod(
        &[("/spec/containers/0/resources/requests/cpu", json!("2"))],
        &[
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 500m",
        ],
    );
    pod(
        &[("/spec/containers/0/resources/limits/weights", json!("2"))],
        &[
            "spec.containers[0].resources.limits[weights]: Invalid value: \"weights\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.limits[weights]: Invalid value: \"weights\": must be a standard resource for containers",
        ],
    );
    pod(
        &[("/spec/restartPolicy", json!("Sometimes"))],
        &[
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    pod(
        &[("/spec/volumes/0/hostPath", json!({ "path": "/a/../b", "type": "" }))],
        &[
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            "spec.containers[0].volumeMounts[0].name: Not found: \"cache\"",
        ],
    );
    pod(
        &[("/spec/containers/0/livenessProbe/exec", json!({ "command": ["a"] }))],
        &["spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"],
    );
    pod(
        &[("/spec/containers/0/livenessProbe/successThreshold", json!(2))],
        &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    );
    pod(
        &[("/spec/initContainers/0/readinessProbe", json!({}))],
        &[
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
    pod(
        &[("/spec/tolerations/0/value", json!("a"))],
        &[
            "spec.tolerations[0].operator: Invalid value: \"a\": value must be empty when `operator` is 'Exists'",
        ],
    );
    pod(
        &[("/spec/containers/0/env/0/valueFrom", json!({}))],
        &[
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ],
    );
    pod(
        &[("/spec/containers/0/env/1/valueFrom/fieldRef/fieldPath", json!("status.phase"))],
        &[
            "spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ],
    );
    pod(
        &[(
            "/spec/ephemeralContainers",
            json!([{ "name": "d", "image": "d", "imagePullPolicy": "Always",
            "terminationMessagePolicy": "File" }]),
        )],
        &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    );
    pod(
        &[(
            "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
            json!([]),
        )],
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
        ],
    );
    pod(
        &[("/spec/containers/0/securityContext/runAsUser", json!(-1))],
        &[
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ],
    );
}

#[test]
fn changes_of_pods() {
    let bench = Bench { defaults: defaults() };
    let update = |sets: &[(&str, Value)], expect: &[&str]| bench.check("Pod", Some(""), sets, expect);
    update(&[("/spec/containers/0/image", json!("other:1"))], &[]);
    update(&[("/spec/activeDeadlineSeconds", json!(5))], &[]);
    update(&[("/spec/tolerations/1", json!({ "key": "a", "operator": "Exists" }))], &[]);
    update(
        &[("/spec/tolerations", json!([]))],
        &[
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );
    update(
        &[("/spec/containers/0/command", json!(["sh"]))],
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ],
    );
    update(
        &[("/spec/initContainers", json!([]))],
        &["spec.initContainers: Forbidden: pod updates may not add or remove containers"],
    );
    // What a part may not change, it leaves as it was.
    bench.check("Pod", Some("resize"), &[("/spec/containers/0/image", json!("other:1"))], &[]);
    let cpu = |side: &str| format!("/spec/containers/0/resources/{side}/cpu");
    let (limit, request) = (cpu("limits"), cpu("requests"));
    bench.check("Pod", Some("resize"), &[(&limit, json!("1")), (&request, json!("1"))], &[]);
    bench.check(
        "Pod",
        Some("resize"),
        &[(&limit, Value::Null), (&request, Value::Null)],
        &[
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ],
    );
    bench.check(
        "Pod",
        Some("status"),
        &[("/status/podIPs", json!([{ "ip": "10.0.0.1" }, { "ip": "10.0.0.2" }]))],
        &["status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family"],
    );
}

#[test]
fn services() {
    let bench = Bench { defaults: defaults() };
    let service = |sets: &[(&str, Value)], expect: &[&str]| bench.check("Service", None, sets, expect);
    service(&[("/spec/ports", json!([]))], &["spec.ports: Required value"]);
    service(
        &[("/spec/ports/1", json!({ "port": 81, "protocol": "TCP", "targetPort": 81 }))],
        &["spec.ports[1].name: Required value"],
    );
    service(
        &[("/spec/type", json!("Wrong")), ("/spec/externalTrafficPolicy", Value::Null)],
        &[
            "spec.type: Unsupported value: \"Wrong\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ],
    );
    service(
        &[("/spec/type", json!("ClusterIP")), ("/spec/externalTrafficPolicy", Value::Null)],
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    service(
        &[("/spec/clusterIP", json!("none")), ("/spec/clusterIPs", json!(["none"]))],
        &[
            "spec.clusterIPs[0]: Invalid value: \"none\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    );
    bench.check(
        "Service",
        Some(""),
        &[("/spec/clusterIP", json!("10.96.0.9")), ("/spec/clusterIPs", json!(["10.96.0.9"]))],
        &["spec.clusterIPs[0]: Invalid value: [\"10.96.0.9\"]: may not change once set"],
    );
    // An old client that leaves out what was allocated gets it back.
    bench.check(
        "Service",
        Some(""),
        &[("/spec/clusterIP", Value::Null), ("/spec/clusterIPs", Value::Null)],
        &[],
    );
    bench.check("Service", Some(""), &[("/spec/type", json!("ClusterIP"))], &[]);
}

#[test]
fn workloads() {
    let bench = Bench { defaults: defaults() };
    let check = |kind, sets: &[(&str, Value)], expect: &[&str]| bench.check(kind, None, sets, expect);
    check(
        "Deployment",
        &[("/spec/replicas", json!(-1))],
        &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        "Deployment",
        &[("/spec/selector/matchLabels/app", json!("other"))],
        &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
        ],
    );
    check(
        "Deployment",
        &[("/spec/template/spec/restartPolicy", json!("Never"))],
        &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
    );
    check(
        "Deployment",
        &[("/spec/strategy/type", json!("Recreate"))],
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    check(
        "Deployment",
        &[("/spec/strategy/rollingUpdate", json!({ "maxSurge": 0, "maxUnavailable": "0%" }))],
        &[
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
        ],
    );
    bench.check(
        "Deployment",
        Some(""),
        &[("/spec/selector/matchLabels/b", json!("c")), ("/spec/template/metadata/labels/b", json!("c"))],
        &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"b\":\"c\"}}: field is immutable"],
    );
    bench.check(
        "StatefulSet",
        Some(""),
        &[("/spec/serviceName", json!("other"))],
        &["spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"],
    );
    check(
        "Job",
        &[("/spec/template/spec/restartPolicy", json!("Always"))],
        &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
    );
    bench.check("Job", Some(""), &[("/spec/parallelism", json!(3))], &[]);
    bench.check(
        "Job",
        Some(""),
        &[("/spec/completions", json!(3))],
        &["spec.completions: Invalid value: 3: field is immutable"],
    );
    check(
        "CronJob",
        &[("/spec/schedule", json!("* * *"))],
        &["spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]"],
    );
    check(
        "CronJob",
        &[("/spec/schedule", json!("61 * * * *"))],
        &["spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61"],
    );
    check(
        "CronJob",
        &[("/spec/timeZone", json!("Mars/Phobos"))],
        &["spec.timeZone: Invalid value: \"Mars/Phobos\": unknown time zone Mars/Phobos"],
    );
    check(
        "HorizontalPodAutoscaler",
        &[("/spec/minReplicas", json!(11))],
        &["spec.maxReplicas: Invalid value: 10: must be greater than or equal to `minReplicas`"],
    );
}

#[test]
fn other_kinds() {
    let bench = Bench { defaults: defaults() };
    let check = |kind, sets: &[(&str, Value)], expect: &[&str]| bench.check(kind, None, sets, expect);
    check(
        "ConfigMap",
        &[("/data/a b", json!("c"))],
        &[
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ],
    );
    check(
        "Secret",
        &[("/type", json!("kubernetes.io/tls"))],
        &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
    );
    bench.check(
        "Secret",
        Some(""),
        &[("/type", json!("other"))],
        &["type: Invalid value: \"other\": field is immutable"],
    );
    check(
        "Ingress",
        &[("/spec/rules/0/http/paths/0/pathType", Value::Null)],
        &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
    );
    check(
        "NetworkPolicy",
        &[("/spec/ingress/0/from/0", json!({}))],
        &["spec.ingress[0].from[0]: Required value: must specify a peer"],
    );
    check("Role", &[("/rules/0/verbs", Value::Null)], &["rules[0].verbs: Required value"]);
    bench.check(
        "RoleBinding",
        Some(""),
        &[("/roleRef/name", json!("other"))],
        &["roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"other\"}: cannot change roleRef"],
    );
    check(
        "PersistentVolumeClaim",
        &[("/spec/resources/requests/storage", json!("0"))],
        &["spec.resources[storage]: Invalid value: \"0\": must be greater than zero"],
    );
    bench.check("PersistentVolumeClaim", Some(""), &[("/spec/volumeName", json!("a"))], &[]);
    check(
        "PodDisruptionBudget",
        &[("/spec/maxUnavailable", json!(1))],
        &[
            "spec: Invalid value: {\"MinAvailable\":\"50%\",\"Selector\":{\"matchLabels\":{\"app\":\"web\"}},\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set",
        ],
    );
    check(
        "Lease",
        &[("/spec/leaseDurationSeconds", json!(0))],
        &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
    );
    bench.check(
        "PriorityClass",
        Some(""),
        &[("/value", json!(2))],
        &["value: Forbidden: may not be changed in an update."],
    );
    check(
        "CustomResourceDefinition",
        &[("/metadata/name", json!("gadgets.example.com"))],
        &[
            "metadata.name: Invalid value: \"gadgets.example.com\": must be spec.names.plural+\".\"+spec.group",
        ],
    );
    check(
        "EndpointSlice",
        &[("/endpoints/0/addresses/0", json!("127.0.0.1"))],
        &[
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ],
    );
    check(
        "Event",
        &[("/involvedObject/namespace", json!("other"))],
        &["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"],
    );
    check(
        "LimitRange",
        &[("/spec/limits/0/min/cpu", json!("3"))],
        &[
            "spec.limits[0].min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 2",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": min value 3 is greater than default request value 2",
            "spec.limits[0].default[cpu]: Invalid value: \"3\": min value 3 is greater than default value 2",
        ],
    );
}
