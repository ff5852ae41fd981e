//! What upstream's conformance tests named "should support … API operations" and "should run through the lifecycle
//! of …" drive each kind through: three objects, watched from before their changes until all are gone.

use crate::world::{Answer, Events, World};
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::path::PathBuf;

/// One kind: its path under the root of its group, whether it is in a namespace, its example, and what is patched
/// into its status, if it has one.
struct Row {
    group: &'static str,
    resource: &'static str,
    example: &'static str,
    status: Value,
    names: [&'static str; 3],
    /// Whether the server itself writes a status to every new object, so that only then it stays as it is.
    settles: bool,
}

const NAMES: [&str; 3] = ["one", "two", "three"];

fn row(group: &'static str, resource: &'static str, example: &'static str) -> Row {
    Row { group, resource, example, status: Value::Null, names: NAMES, settles: false }
}

impl Row {
    fn status(mut self, status: Value) -> Self {
        self.status = status;
        self
    }

    fn names(mut self, names: [&'static str; 3]) -> Self {
        self.names = names;
        self
    }

    fn settles(mut self) -> Self {
        self.settles = true;
        self
    }
}

fn condition(kind: &str) -> Value {
    json!({ "conditions": [{ "type": kind, "status": "True", "reason": "Test", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }] })
}

fn rows() -> Vec<Row> {
    let allocation = json!({ "allocation": { "devices": { "results": [
        { "request": "one", "driver": "gpu.example.com", "pool": "node-a", "device": "gpu-0" }] } } });
    let flow = json!({ "conditions": [{ "type": "Dangling", "status": "True", "reason": "r", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
    vec![
        row("core/v1", "configmaps", "configmap"),
        row("core/v1", "secrets", "secret"),
        row("core/v1", "limitranges", "limitrange"),
        row("core/v1", "podtemplates", "podtemplate"),
        row("core/v1", "endpoints", "endpoints"),
        row("core/v1", "events", "event"),
        row("core/v1", "serviceaccounts", "serviceaccount"),
        row("core/v1", "services", "service").status(condition("Ready")),
        row("core/v1", "nodes", "node").status(json!({ "capacity": { "cpu": "8" } })),
        row("core/v1", "persistentvolumes", "persistentvolume").status(json!({ "phase": "Available" })),
        row("core/v1", "resourcequotas", "resourcequota").status(json!({ "hard": { "pods": "3" } })),
        row("batch/v1", "cronjobs", "cronjob").status(json!({ "lastScheduleTime": "2026-01-01T00:00:00Z" })),
        row("events.k8s.io/v1", "events", "event"),
        row("coordination.k8s.io/v1", "leases", "lease"),
        row("discovery.k8s.io/v1", "endpointslices", "endpointslice"),
        row("node.k8s.io/v1", "runtimeclasses", "runtimeclass"),
        row("scheduling.k8s.io/v1", "priorityclasses", "priorityclass"),
        row("networking.k8s.io/v1", "ingressclasses", "ingressclass"),
        row("networking.k8s.io/v1", "ingresses", "ingress")
            .status(json!({ "loadBalancer": { "ingress": [{ "ip": "169.1.1.1" }] } })),
        row("networking.k8s.io/v1", "servicecidrs", "servicecidr").status(condition("Ready")),
        row("networking.k8s.io/v1", "ipaddresses", "ipaddress").names(["10.1.0.1", "10.1.0.2", "10.1.0.3"]),
        row("storage.k8s.io/v1", "storageclasses", "storageclass"),
        row("storage.k8s.io/v1", "csidrivers", "csidriver"),
        row("storage.k8s.io/v1", "csinodes", "csinode"),
        row("storage.k8s.io/v1", "csistoragecapacities", "csistoragecapacity"),
        row("storage.k8s.io/v1", "volumeattributesclasses", "volumeattributesclass"),
        row("storage.k8s.io/v1", "volumeattachments", "volumeattachment").status(json!({ "attached": true })),
        row("resource.k8s.io/v1", "deviceclasses", "deviceclass"),
        row("resource.k8s.io/v1", "resourceslices", "resourceslice"),
        row("resource.k8s.io/v1", "resourceclaimtemplates", "resourceclaimtemplate"),
        row("resource.k8s.io/v1", "resourceclaims", "resourceclaim").status(allocation),
        row("resource.k8s.io/v1", "devicetaintrules", "devicetaintrule")
            .status(condition("EvictionInProgress")),
        row("flowcontrol.apiserver.k8s.io/v1", "flowschemas", "flowschema").status(flow.clone()),
        row("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations", "prioritylevelconfiguration")
            .status(flow),
        row("storagemigration.k8s.io/v1", "storageversionmigrations", "storageversionmigration")
            .status(condition("Running")),
        row("certificates.k8s.io/v1", "podcertificaterequests", "podcertificaterequest")
            .status(condition("Denied")),
        row("certificates.k8s.io/v1", "certificatesigningrequests", "certificatesigningrequest")
            .status(condition("StatusUpdate")),
        row("policy/v1", "poddisruptionbudgets", "poddisruptionbudget")
            .status(condition("DisruptionAllowed")),
        row("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "validatingadmissionpolicy")
            .status(condition("Checked"))
            .settles(),
        row(
            "admissionregistration.k8s.io/v1",
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicybinding",
        ),
        row("admissionregistration.k8s.io/v1", "mutatingadmissionpolicies", "mutatingadmissionpolicy"),
        row(
            "admissionregistration.k8s.io/v1",
            "mutatingadmissionpolicybindings",
            "mutatingadmissionpolicybinding",
        ),
        row("batch/v1", "jobs", "job").status(json!({ "startTime": "2026-01-01T00:00:00Z" })),
        row("apps/v1", "deployments", "deployment").status(condition("StatusUpdate")),
        row("apps/v1", "replicasets", "replicaset").status(condition("StatusUpdate")),
        row("apps/v1", "statefulsets", "statefulset").status(condition("StatusUpdate")),
        row("apps/v1", "daemonsets", "daemonset").status(condition("StatusUpdate")),
        row("apps/v1", "controllerrevisions", "controllerrevision"),
        row("core/v1", "replicationcontrollers", "replicationcontroller").status(condition("StatusUpdate")),
        row("core/v1", "persistentvolumeclaims", "persistentvolumeclaim").status(json!({ "phase": "Bound" })),
        row("networking.k8s.io/v1", "networkpolicies", "networkpolicy"),
    ]
}

struct Drive {
    world: World,
    row: Row,
    base: String,
    all: String,
    example: Value,
}

const SELECTOR: &str = "labelSelector=special-label%3Dyes";

impl Drive {
    async fn new(row: Row) -> Self {
        let folder = row.group.split('/').next().unwrap();
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../registry/examples").join(folder);
        let text = std::fs::read_to_string(root.join(format!("{}.yaml", row.example))).unwrap();
        let example = gifee_schema::parse::yaml(text.as_bytes()).unwrap().value;
        let prefix = match row.group {
            "core/v1" => "/api/v1".to_owned(),
            group => format!("/apis/{group}"),
        };
        let base = match example["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{prefix}/namespaces/{namespace}/{}", row.resource),
            None => format!("{prefix}/{}", row.resource),
        };
        let all = format!("{prefix}/{}", row.resource);
        Self { world: World::new().await, row, base, all, example }
    }

    fn path(&self, index: usize) -> String {
        format!("{}/{}", self.base, self.row.names[index])
    }

    fn object(&self, index: usize) -> Value {
        let mut object = self.example.clone();
        object["metadata"]["name"] = self.row.names[index].into();
        object["metadata"]["labels"]["special-label"] = "yes".into();
        // A list of names of allocated things would be the same for all three.
        if self.row.resource == "services"
            && let Some(spec) = object["spec"].as_object_mut()
        {
            spec.retain(|field, _| matches!(field.as_str(), "ports" | "selector"));
            for port in object["spec"]["ports"].as_array_mut().unwrap() {
                port.as_object_mut().unwrap().remove("nodePort");
            }
        }
        object
    }

    fn say(&self, step: &str, answer: Answer, code: u16) -> Result<Value, String> {
        let text = || format!("{step}: {} {}", answer.code, String::from_utf8_lossy(&answer.bytes));
        if answer.code == code { Ok(answer.json()) } else { Err(text()) }
    }

    async fn expect(
        &self,
        watch: &mut Events,
        kind: &str,
        index: usize,
        holds: &str,
    ) -> Result<Value, String> {
        let event = watch.next().await.ok_or("the watch ended")?;
        let object = event["object"].clone();
        let right = event["type"] == kind && object["metadata"]["name"] == self.row.names[index];
        let held = holds.is_empty() || object["metadata"]["annotations"][holds] == "true";
        if right && held { Ok(object) } else { Err(format!("{kind} {index} {holds} expected: {event}")) }
    }

    /// All documents of discovery name the group, its version and the resource.
    async fn discovered(&self) -> Result<(), String> {
        let own = match self.row.group {
            "core/v1" => "/api/v1".to_owned(),
            group => {
                let (name, _) = group.split_once('/').unwrap();
                let groups = self.say("groups", self.world.get("/apis").await, 200)?;
                let found = groups["groups"].as_array().unwrap().iter().find(|one| one["name"] == name);
                let one = self.say("group", self.world.get(&format!("/apis/{name}")).await, 200)?;
                for group in [found.unwrap_or(&Value::Null), &one] {
                    let mut versions = group["versions"].as_array().into_iter().flatten();
                    if !versions.any(|version| version["groupVersion"] == self.row.group) {
                        return Err(format!("not in {group}"));
                    }
                }
                format!("/apis/{group}")
            }
        };
        let resources = self.say("resources", self.world.get(&own).await, 200)?;
        let named =
            |name: &str| resources["resources"].as_array().unwrap().iter().any(|one| one["name"] == name);
        let status = format!("{}/status", self.row.resource);
        if named(self.row.resource) && (self.row.status.is_null() || named(&status)) {
            return Ok(());
        }
        Err(format!("not in {resources}"))
    }

    async fn settled(&self, index: usize) -> Result<(), String> {
        let one = format!("fieldSelector=metadata.name%3D{}", self.row.names[index]);
        let mut watch = self.world.watch(&format!("{}?watch=1&{one}", self.base)).await;
        loop {
            let event = watch.next().await.ok_or("the watch ended")?;
            let object = &event["object"];
            if object["status"]["observedGeneration"] == object["metadata"]["generation"] {
                return Ok(());
            }
        }
    }

    async fn run(&self) -> Result<(), String> {
        let (world, selected) = (&self.world, format!("{}?{SELECTOR}", self.base));
        self.discovered().await?;
        for index in 0..3 {
            let made = self.say("create", world.post(&self.base, &self.object(index)).await, 201)?;
            let read = self.say("get", world.get(&self.path(index)).await, 200)?;
            if read["metadata"]["uid"] != made["metadata"]["uid"] {
                return Err(format!("made {made}, read {read}"));
            }
            if self.row.settles {
                self.settled(index).await?;
            }
        }
        self.patches().await?;
        let again = world.post(&self.base, &self.object(0)).await;
        self.say("create again", again, 409)?;
        let list = self.say("list", world.get(&selected).await, 200)?;
        let everywhere = self.say("list all", world.get(&format!("{}?{SELECTOR}", self.all)).await, 200)?;
        for list in [&list, &everywhere] {
            if list["items"].as_array().map(Vec::len) != Some(3) {
                return Err(format!("three expected: {list}"));
            }
        }
        let from = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let mut watch = world.watch(&format!("{selected}&watch=1&resourceVersion={from}")).await;
        self.change(&mut watch).await?;
        if !self.row.status.is_null() {
            self.change_status(&mut watch).await?;
        }
        self.delete(&mut watch, &selected).await
    }

    /// Every kind of patch, strictly, to the object and to its status, each as a whole object with its UID.
    async fn patches(&self) -> Result<(), String> {
        let kinds = ["merge-patch+json", "apply-patch+yaml", "json-patch+json", "strategic-merge-patch+json"];
        for (index, kind) in kinds.into_iter().enumerate() {
            for part in ["", "/status"] {
                if part == "/status" && self.row.status.is_null() {
                    continue;
                }
                let mark = index.to_string();
                let before = self.say("get", self.world.get(&self.path(1)).await, 200)?;
                let mut whole = json!({ "apiVersion": before["apiVersion"], "kind": before["kind"], "metadata": {
                    "name": before["metadata"]["name"], "uid": before["metadata"]["uid"] } });
                if let Some(namespace) = before["metadata"].get("namespace") {
                    whole["metadata"]["namespace"] = namespace.clone();
                }
                let body = match (part, kind) {
                    ("", "json-patch+json") => {
                        json!([{ "op": "add", "path": "/metadata/labels/patch", "value": mark }])
                    }
                    ("", _) => {
                        whole["metadata"]["labels"] = json!({ "patch": mark });
                        whole
                    }
                    (_, "json-patch+json") => {
                        json!([{ "op": "add", "path": "/status", "value": self.row.status }])
                    }
                    _ => {
                        whole["status"] = self.row.status.clone();
                        whole
                    }
                };
                let force = if kind == "apply-patch+yaml" { "&force=true" } else { "" };
                let request = format!(
                    "PATCH {}{part}?fieldValidation=Strict&fieldManager=test-apply{force}",
                    self.path(1)
                );
                let content = [("content-type", &*format!("application/{kind}"))];
                let answer = self.world.call(&request, &body, &content).await;
                let after = self.say(&format!("{kind} of {part}"), answer, 200)?;
                if part.is_empty() && after["metadata"]["labels"]["patch"] != *mark {
                    return Err(format!("{kind}: {after}"));
                }
                if !part.is_empty() && after["status"].is_null() {
                    return Err(format!("{kind} of status: {after}"));
                }
            }
        }
        Ok(())
    }

    async fn change(&self, watch: &mut Events) -> Result<(), String> {
        let path = self.path(0);
        let patch = json!({ "metadata": { "annotations": { "patched": "true" } } });
        let answer = self.world.patch(&path, "merge-patch", &patch).await;
        let patched = self.say("patch", answer, 200)?;
        self.expect(watch, "MODIFIED", 0, "patched").await?;
        let mut updated = patched.clone();
        updated["metadata"]["annotations"]["updated"] = "true".into();
        let answer = self.world.put(&path, &updated).await;
        let put = self.say("update", answer, 200)?;
        if put["metadata"]["annotations"]["updated"] != "true"
            || put["metadata"]["uid"] != patched["metadata"]["uid"]
        {
            return Err(format!("update: {put}"));
        }
        self.expect(watch, "MODIFIED", 0, "updated").await?;
        let stale = self.world.put(&path, &updated).await;
        self.say("stale update", stale, 409)?;
        let mut other = put;
        other["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
        other["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let other = self.world.put(&path, &other).await;
        if other.code == 200 {
            return Err("an object of another UID was updated".into());
        }
        Ok(())
    }

    async fn change_status(&self, watch: &mut Events) -> Result<(), String> {
        let path = format!("{}/status", self.path(0));
        let before = self.say("get status", self.world.get(&path).await, 200)?;
        let patch = json!({ "status": self.row.status });
        let answer = self.world.patch(&path, "merge-patch", &patch).await;
        let patched = self.say("patch status", answer, 200)?;
        for (field, value) in self.row.status.as_object().unwrap() {
            let shown = &patched["status"][field];
            if shown.is_null() || (!shown.is_array() && !shown.is_object() && shown != value) {
                return Err(format!("patch status: {field} of {patched}"));
            }
        }
        if patched["spec"] != before["spec"]
            || patched["metadata"]["generation"] != before["metadata"]["generation"]
        {
            return Err(format!("a status patch changed more: {patched}"));
        }
        self.expect(watch, "MODIFIED", 0, "").await?;
        // A write to the object leaves the status, and a write to the status leaves the rest.
        let mut object = patched.clone();
        object["status"] = json!({});
        let put = self.say("update without status", self.world.put(&self.path(0), &object).await, 200)?;
        if put["status"] != patched["status"] {
            return Err(format!("an update changed the status: {put}"));
        }
        let mut object = patched.clone();
        object["spec"] = json!({});
        object["metadata"]["labels"]["special-label"] = "yes".into();
        let put = self.say("update status", self.world.put(&path, &object).await, 200)?;
        if put["spec"] != before["spec"] {
            return Err(format!("a status update changed the spec: {put}"));
        }
        Ok(())
    }

    async fn delete(&self, watch: &mut Events, selected: &str) -> Result<(), String> {
        // Two old kinds leave their dependents behind unless they are told not to.
        let leaves = ["jobs", "replicationcontrollers"].contains(&self.row.resource);
        let how = if leaves { "propagationPolicy=Background" } else { "" };
        let answer = self.world.delete(&format!("{}?{how}", self.path(0))).await;
        self.say("delete", answer, 200)?;
        self.expect(watch, "DELETED", 0, "").await?;
        self.say("get deleted", self.world.get(&self.path(0)).await, 404)?;
        self.say("delete collection", self.world.delete(&format!("{selected}&{how}")).await, 200)?;
        let mut gone = Vec::new();
        for _ in 0..2 {
            let event = watch.next().await.ok_or("the watch ended")?;
            gone.push(format!("{} {}", event["type"].as_str().unwrap(), event["object"]["metadata"]["name"]));
        }
        gone.sort();
        let mut wanted = [1, 2].map(|index| format!("DELETED {:?}", self.row.names[index]));
        wanted.sort();
        if gone != wanted {
            return Err(format!("delete collection: {gone:?}"));
        }
        let list = self.say("list", self.world.get(selected).await, 200)?;
        if list["items"] == json!([]) { Ok(()) } else { Err(format!("left: {list}")) }
    }
}

#[tokio::test]
async fn kinds_support_their_operations() {
    let mut failures = Vec::new();
    for row in rows() {
        let name = format!("{} {}", row.group, row.resource);
        let run = async { Drive::new(row).await.run().await };
        let ran = std::panic::AssertUnwindSafe(run).catch_unwind().await;
        if let Err(failure) = ran.unwrap_or_else(|_| Err("panicked".into())) {
            failures.push(format!("{name}: {failure}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
