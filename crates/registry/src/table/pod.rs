//! The table of Pods: what their containers are doing, in two words.

use super::{age, condition, count, items, name, table, text, text_or};
use crate::kind::Table;
use serde_json::Value;

/// Table of Pods.
pub fn table_of_pods() -> Table {
    table(
        &[
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "+IP",
            "+Node",
            "+Nominated Node",
            "+Readiness Gates",
        ],
        row,
    )
}

/// What the container statuses add up to.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    restarts: i64,
    restarted_at: Option<i64>,
}

impl Summary {
    fn restarts_of(&mut self, container: &Value) {
        self.restarts += container["restartCount"].as_i64().unwrap_or_default();
        let finished = age::seconds(&container["lastState"]["terminated"]["finishedAt"]);
        self.restarted_at = self.restarted_at.max(finished);
    }

    fn restarts_text(&self, now: i64) -> String {
        match self.restarted_at {
            Some(at) if self.restarts != 0 => format!("{} ({} ago)", self.restarts, age::human(now - at)),
            _ => self.restarts.to_string(),
        }
    }
}

/// Whether an init container is a sidecar, which goes on running.
pub(crate) fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn terminated_reason(terminated: &Value) -> String {
    match text(&terminated["reason"]) {
        "" => match terminated["signal"].as_i64().unwrap_or_default() {
            0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
            signal => format!("Signal:{signal}"),
        },
        reason => reason.to_owned(),
    }
}

/// Goes through the init containers; the sidecars' share is given separately, since only it counts once all have run.
fn initialize(pod: &Value, all: &mut Summary, sidecars: &mut Summary) -> bool {
    let declared = items(&pod["spec"]["initContainers"]);
    for (index, container) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        all.restarts_of(container);
        let sidecar = declared.iter().any(|one| one["name"] == container["name"] && is_sidecar(one));
        if sidecar {
            sidecars.restarts_of(container);
        }
        let state = &container["state"];
        let terminated = &state["terminated"];
        if !terminated.is_null() && terminated["exitCode"].as_i64().unwrap_or_default() == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            all.ready += usize::from(container["ready"] == true);
            continue;
        }
        let waiting = text(&state["waiting"]["reason"]);
        all.reason = if !terminated.is_null() {
            format!("Init:{}", terminated_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", declared.len())
        };
        return true;
    }
    false
}

fn run(pod: &Value, all: &mut Summary) {
    let mut running = false;
    for container in items(&pod["status"]["containerStatuses"]).iter().rev() {
        all.restarts_of(container);
        let state = &container["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut all.reason);
        } else if !state["terminated"].is_null() {
            all.reason = terminated_reason(&state["terminated"]);
        } else if container["ready"] == true && !state["running"].is_null() {
            running = true;
            all.ready += 1;
        }
    }
    // One container done while another still runs: the pod as a whole runs.
    if all.reason == "Completed" && running {
        let ready = condition(&pod["status"]["conditions"], "Ready") == Some(true);
        all.reason = if ready { "Running" } else { "NotReady" }.into();
    }
}

fn summary(pod: &Value) -> Summary {
    let status = &pod["status"];
    let phase = text(&status["phase"]);
    let mut all = Summary { reason: text_or(&status["reason"], phase).to_owned(), ..Summary::default() };
    let gated = |one: &Value| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated";
    if items(&status["conditions"]).iter().any(gated) {
        all.reason = "SchedulingGated".into();
    }
    let mut sidecars = Summary::default();
    let initializing = initialize(pod, &mut all, &mut sidecars);
    if !initializing || condition(&status["conditions"], "Initialized") == Some(true) {
        (all.restarts, all.restarted_at) = (sidecars.restarts, sidecars.restarted_at);
        run(pod, &mut all);
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            all.reason = "Unknown".into();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            all.reason = "Terminating".into();
        }
    }
    all
}

fn readiness_gates(pod: &Value) -> String {
    let gates = items(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = &pod["status"]["conditions"];
    let met = gates.iter().filter(|gate| condition(conditions, text(&gate["conditionType"])) == Some(true));
    format!("{}/{}", met.count(), gates.len())
}

fn row(pod: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = summary(pod);
    let sidecars = items(&spec["initContainers"]).iter().filter(|one| is_sidecar(one)).count();
    let total = items(&spec["containers"]).len() + sidecars;
    vec![
        name(pod),
        format!("{}/{total}", summary.ready).into(),
        summary.reason.as_str().into(),
        summary.restarts_text(now).into(),
        super::age(pod, now),
        text_or(&status["podIPs"][0]["ip"], "<none>").into(),
        text_or(&spec["nodeName"], "<none>").into(),
        text_or(&status["nominatedNodeName"], "<none>").into(),
        readiness_gates(pod).into(),
    ]
}

/// Table of PodTemplates.
pub fn table_of_pod_templates() -> Table {
    table(&["Name", "Containers", "Images", "Pod Labels"], |object, _| {
        let template = &object["template"];
        let [names, images] = super::containers(&template["spec"]);
        vec![name(object), names, images, super::labels(&template["metadata"]["labels"]).into()]
    })
}

/// Table of PodDisruptionBudgets.
pub fn table_of_pod_disruption_budgets() -> Table {
    let columns = &["Name", "Min Available", "Max Unavailable", "Allowed Disruptions:integer", "Age"];
    table(columns, |object, now| {
        let [least, most] = ["minAvailable", "maxUnavailable"].map(|field| match &object["spec"][field] {
            Value::Null => "N/A".to_owned(),
            value => super::scalar(value),
        });
        let allowed = count(&object["status"]["disruptionsAllowed"]);
        vec![name(object), least.into(), most.into(), allowed, super::age(object, now)]
    })
}
