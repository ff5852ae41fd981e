//! Tables of what runs pods: Deployments, Jobs and their like, and what scales them.

use super::{age, condition, containers, count, items, labels, length, name, selector, selector_or_none};
use super::{scalar, shortened, table, text, text_or};
use crate::kind::Table;
use serde_json::Value;

fn template(object: &Value) -> [Value; 2] {
    containers(&object["spec"]["template"]["spec"])
}

const REPLICA_COLUMNS: &[&str] = &[
    "Name",
    "Desired:integer",
    "Current:integer",
    "Ready:integer",
    "Age",
    "+Containers",
    "+Images",
    "+Selector",
];

fn replica_row(object: &Value, now: i64, selector: String) -> Vec<Value> {
    let [names, images] = template(object);
    let status = &object["status"];
    vec![
        name(object),
        count(&object["spec"]["replicas"]),
        count(&status["replicas"]),
        count(&status["readyReplicas"]),
        super::age(object, now),
        names,
        images,
        selector.into(),
    ]
}

/// Table of ReplicationControllers.
pub fn table_of_replication_controllers() -> Table {
    table(REPLICA_COLUMNS, |object, now| replica_row(object, now, labels(&object["spec"]["selector"])))
}

/// Table of ReplicaSets.
pub fn table_of_replica_sets() -> Table {
    table(REPLICA_COLUMNS, |object, now| {
        replica_row(object, now, selector_or_none(&object["spec"]["selector"]))
    })
}

fn ready(object: &Value) -> Value {
    let ready = object["status"]["readyReplicas"].as_i64().unwrap_or_default();
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or_default();
    format!("{ready}/{wanted}").into()
}

/// Table of Deployments.
pub fn table_of_deployments() -> Table {
    let columns = &["Name", "Ready", "Up-to-date", "Available", "Age", "+Containers", "+Images", "+Selector"];
    table(columns, |object, now| {
        let [names, images] = template(object);
        let status = &object["status"];
        vec![
            name(object),
            ready(object),
            count(&status["updatedReplicas"]),
            count(&status["availableReplicas"]),
            super::age(object, now),
            names,
            images,
            selector(&object["spec"]["selector"]).into(),
        ]
    })
}

/// Table of StatefulSets.
pub fn table_of_stateful_sets() -> Table {
    table(&["Name", "Ready", "Age", "+Containers", "+Images"], |object, now| {
        let [names, images] = template(object);
        vec![name(object), ready(object), super::age(object, now), names, images]
    })
}

/// Table of DaemonSets.
pub fn table_of_daemon_sets() -> Table {
    let columns = &[
        "Name",
        "Desired:integer",
        "Current:integer",
        "Ready:integer",
        "Up-to-date:integer",
        "Available:integer",
        "Node Selector",
        "Age",
        "+Containers",
        "+Images",
        "+Selector",
    ];
    table(columns, |object, now| {
        let [names, images] = template(object);
        let (spec, status) = (&object["spec"], &object["status"]);
        vec![
            name(object),
            count(&status["desiredNumberScheduled"]),
            count(&status["currentNumberScheduled"]),
            count(&status["numberReady"]),
            count(&status["updatedNumberScheduled"]),
            count(&status["numberAvailable"]),
            labels(&spec["template"]["spec"]["nodeSelector"]).into(),
            super::age(object, now),
            names,
            images,
            selector_or_none(&spec["selector"]).into(),
        ]
    })
}

fn job_state(object: &Value) -> &'static str {
    let is = |kind| condition(&object["status"]["conditions"], kind) == Some(true);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if !object["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else {
        "Running"
    }
}

fn job_completions(object: &Value) -> String {
    let done = object["status"]["succeeded"].as_i64().unwrap_or_default();
    match (object["spec"]["completions"].as_i64(), object["spec"]["parallelism"].as_i64()) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        _ => format!("{done}/1"),
    }
}

fn job_duration(status: &Value, now: i64) -> String {
    let Some(started) = age::seconds(&status["startTime"]) else { return String::new() };
    age::human(age::seconds(&status["completionTime"]).unwrap_or(now) - started)
}

/// Table of Jobs.
pub fn table_of_jobs() -> Table {
    let columns =
        &["Name", "Status", "Completions", "Duration", "Age", "+Containers", "+Images", "+Selector"];
    table(columns, |object, now| {
        let [names, images] = template(object);
        vec![
            name(object),
            job_state(object).into(),
            job_completions(object).into(),
            job_duration(&object["status"], now).into(),
            super::age(object, now),
            names,
            images,
            selector_or_none(&object["spec"]["selector"]).into(),
        ]
    })
}

/// Table of CronJobs.
pub fn table_of_cron_jobs() -> Table {
    let columns = &[
        "Name",
        "Schedule",
        "Timezone",
        "Suspend:boolean",
        "Active:integer",
        "Last Schedule",
        "Age",
        "+Containers",
        "+Images",
        "+Selector",
    ];
    table(columns, |object, now| {
        let (spec, status) = (&object["spec"], &object["status"]);
        let job = &spec["jobTemplate"]["spec"];
        let [names, images] = containers(&job["template"]["spec"]);
        let last = match &status["lastScheduleTime"] {
            Value::Null => "<none>".to_owned(),
            at => age::since(at, now),
        };
        let suspend = match spec["suspend"].as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        vec![
            name(object),
            text(&spec["schedule"]).into(),
            text_or(&spec["timeZone"], "<none>").into(),
            suspend.into(),
            length(&status["active"]).into(),
            last.into(),
            super::age(object, now),
            names,
            images,
            selector_or_none(&job["selector"]).into(),
        ]
    })
}

/// Table of ControllerRevisions.
pub fn table_of_controller_revisions() -> Table {
    table(&["Name", "Controller", "Revision", "Age"], |object, now| {
        let owners = items(&object["metadata"]["ownerReferences"]);
        let owner = owners.iter().find(|one| one["controller"] == true).map_or_else(
            || "<none>".to_owned(),
            |one| {
                let group = text(&one["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
                let kind = gifee_base::gvk::group_resource(group, text(&one["kind"]));
                format!("{}/{}", kind.to_lowercase(), text(&one["name"]))
            },
        );
        vec![name(object), owner.into(), count(&object["revision"]), super::age(object, now)]
    })
}

const METRICS_SHOWN: usize = 2;

fn quantity_or<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    text_or(value, otherwise)
}

fn metric(spec: &Value, status: &Value) -> String {
    let kind = text(&spec["type"]);
    let field = match kind {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let (target, current) = (&spec[field]["target"], &status[field]["current"]);
    let averaged = !target["averageValue"].is_null();
    let average = quantity_or(&current["averageValue"], "<unknown>");
    match kind {
        "Pods" => format!("{average}/{}", text(&target["averageValue"])),
        "External" | "Object" if averaged => format!("{average}/{} (avg)", text(&target["averageValue"])),
        "External" | "Object" => {
            format!("{}/{}", quantity_or(&current["value"], "<unknown>"), text_or(&target["value"], "<nil>"))
        }
        _ if averaged => {
            format!("{}: {average}/{}", text(&spec[field]["name"]), text(&target["averageValue"]))
        }
        _ => {
            let percent = |value: &Value, otherwise: &str| {
                value.as_i64().map_or_else(|| otherwise.to_owned(), |value| format!("{value}%"))
            };
            let used = percent(&current["averageUtilization"], "<unknown>");
            let wanted = percent(&target["averageUtilization"], "<auto>");
            format!("{}: {used}/{wanted}", text(&spec[field]["name"]))
        }
    }
}

fn metrics(object: &Value) -> String {
    let (specs, statuses) = (items(&object["spec"]["metrics"]), &object["status"]["currentMetrics"]);
    if specs.is_empty() {
        return "<none>".into();
    }
    let list: Vec<String> =
        specs.iter().enumerate().map(|(index, spec)| metric(spec, &statuses[index])).collect();
    shortened(&list, list.len(), METRICS_SHOWN, ", ")
}

/// Table of HorizontalPodAutoscalers; `convert` brings an object into the form of v2.
pub fn table_of_autoscalers() -> Table {
    let columns = &["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"];
    table(columns, |object, now| {
        let (spec, status) = (&object["spec"], &object["status"]);
        let target = &spec["scaleTargetRef"];
        let least =
            if spec["minReplicas"].is_null() { "<unset>".into() } else { scalar(&spec["minReplicas"]) };
        vec![
            name(object),
            format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
            metrics(object).into(),
            least.into(),
            count(&spec["maxReplicas"]),
            count(&status["currentReplicas"]),
            super::age(object, now),
        ]
    })
}
