//! What size an autoscaler gives its target, and its status, from one view. Pure.

use super::behavior::{Bounds, Memory};
use super::calculate::{Proposal, Target, Tolerance, milli};
use super::metrics::{Reading, shown};
use gifee_base::clock;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cmp::Ordering;

/// How far usage may be off its target unless an autoscaler says otherwise.
const TOLERANCE: f64 = 0.1;

/// The scale of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// How many replicas it should have.
    pub wanted: i32,
    /// How many it has.
    pub present: i32,
    /// Which pods are its own.
    pub selector: String,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

/// An autoscaler and what it looks at.
pub struct View {
    /// Which generation this is.
    pub generation: i64,
    /// Its spec.
    pub spec: Value,
    /// Its status.
    pub status: Value,
    /// The scale of its target, or why it cannot be had.
    pub scale: Result<Scale, String>,
    /// Why the pods cannot be judged: reason and message of the condition, and the reason and message of the event.
    pub blocked: Option<[String; 2]>,
    /// The pods that are selected.
    pub pods: Vec<Value>,
    /// What each metric of the spec says.
    pub readings: Vec<Result<Reading, String>>,
    /// What is remembered.
    pub memory: Memory,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// The new size, and why.
    pub resize: Option<(i32, String)>,
    /// What the status should be.
    pub status: Value,
    /// What to tell.
    pub notes: Vec<Note>,
    /// What to remember.
    pub memory: Memory,
}

const BELOW: &str = "Current number of replicas below Spec.MinReplicas";
/// Said in the status of who scaled its target to nothing, so that it is told from a person who did.
const SCALED_TO_ZERO: &str = "ScaledToZero";

/// Whether the size follows from metrics at all, or why not.
pub fn decided(spec: &Value, status: &Value, scale: &Scale) -> Option<(i32, &'static str)> {
    let (least, most) = bounds(spec);
    if scale.wanted == 0 {
        let wakes = scaled_to_zero(status) && (least != 0 || from_outside(spec));
        (!wakes).then_some((0, ""))
    } else if scale.wanted > most {
        Some((most, "Current number of replicas above Spec.MaxReplicas"))
    } else if scale.wanted < least {
        Some((least, BELOW))
    } else {
        None
    }
}

fn scaled_to_zero(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| one["type"] == SCALED_TO_ZERO && one["status"] == "True")
}

/// Whether a metric says something even if there are no pods.
fn from_outside(spec: &Value) -> bool {
    let mut metrics = spec["metrics"].as_array().into_iter().flatten();
    metrics.any(|one| one["type"] == "Object" || one["type"] == "External")
}

fn bounds(spec: &Value) -> (i32, i32) {
    let count = |name: &str, default| {
        spec[name].as_i64().and_then(|count| i32::try_from(count).ok()).unwrap_or(default)
    };
    (count("minReplicas", 1), count("maxReplicas", 0))
}

/// Plans one round.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = round(view, now);
    stamp(&mut plan.status, view.generation);
    plan
}

/// Notes in the status and in what conditions were set which generation they are about.
fn stamp(status: &mut Value, generation: i64) {
    status["observedGeneration"] = generation.into();
    let conditions = status["conditions"].as_array_mut().into_iter().flatten();
    for condition in conditions.filter(|one| one["observedGeneration"].is_null()) {
        condition["observedGeneration"] = generation.into();
    }
}

fn round(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan { status: view.status.clone(), memory: view.memory.clone(), ..Plan::default() };
    if !plan.status.is_object() {
        plan.status = json!({});
    }
    let scale = match &view.scale {
        Ok(scale) => scale,
        Err(why) => {
            let message = format!("the HPA controller was unable to get the target's current scale: {why}");
            condition(&mut plan.status, "AbleToScale", false, "FailedGetScale", &message, now);
            plan.notes.push(Note { warning: true, reason: "FailedGetScale", message: why.clone() });
            return plan;
        }
    };
    let message = "the HPA controller was able to get the target's current scale";
    condition(&mut plan.status, "AbleToScale", true, "SucceededGetScale", message, now);
    plan.memory.begin(scale.wanted, now);
    let (mut desired, mut statuses) = (scale.wanted, Value::Null);
    match decided(&view.spec, &view.status, scale) {
        Some((0, _)) if scale.wanted == 0 => {
            let message = "scaling is disabled since the replica count of the target is zero";
            condition(&mut plan.status, "ScalingActive", false, "ScalingDisabled", message, now);
        }
        Some((replicas, why)) => plan.resize = Some((replicas, why.to_owned())),
        None => {
            let found = measure(view, scale, &mut plan, now);
            statuses = found.statuses;
            let Some((replicas, metric)) = found.chosen else {
                set_status(&mut plan.status, scale.wanted, None, statuses);
                return plan;
            };
            let mut sized = size(view, scale, replicas, &mut plan, now);
            let mut why = match replicas.cmp(&scale.wanted) {
                Ordering::Greater => format!("{metric} above target"),
                Ordering::Less => "All metrics below target".to_owned(),
                Ordering::Equal => String::new(),
            };
            let least = bounds(&view.spec).0;
            if scale.wanted == 0 && sized < least {
                sized = least;
                if why.is_empty() {
                    BELOW.clone_into(&mut why);
                }
            }
            if sized != scale.wanted {
                plan.resize = Some((sized, why));
            }
        }
    }
    if let Some((replicas, _)) = &plan.resize {
        desired = *replicas;
        let message = format!("the HPA controller was able to update the target scale to {replicas}");
        condition(&mut plan.status, "AbleToScale", true, "SucceededRescale", &message, now);
        let zero = *replicas == 0 && bounds(&view.spec).0 == 0 && from_outside(&view.spec);
        let (reason, message) = match zero {
            true => (SCALED_TO_ZERO, "the HPA controller scaled the workload to zero"),
            false => ("NotScaledToZero", "the HPA controller did not scale the workload to zero"),
        };
        condition(&mut plan.status, SCALED_TO_ZERO, zero, reason, message, now);
        if view.spec["behavior"].is_object() {
            plan.memory.scaled(scale.wanted, *replicas, now);
        }
        plan.status["lastScaleTime"] = clock::format_time(now).into();
    }
    set_status(&mut plan.status, scale.wanted, Some(desired), statuses);
    plan
}

/// The plan when the target could not be given its new size.
pub fn refused(view: &View, mut plan: Plan, why: &str, now: Timestamp) -> Plan {
    let Some((replicas, reason)) = plan.resize.take() else { return plan };
    let message = format!("New size: {replicas}; reason: {reason}; error: {why}");
    plan.notes.push(Note { warning: true, reason: "FailedRescale", message });
    let message = format!("the HPA controller was unable to update the target scale: {why}");
    condition(&mut plan.status, "AbleToScale", false, "FailedUpdateScale", &message, now);
    for field in ["desiredReplicas", "lastScaleTime"] {
        plan.status[field] = view.status[field].clone();
    }
    let mut before = view.status["conditions"].as_array().into_iter().flatten();
    let before = before.find(|one| one["type"] == SCALED_TO_ZERO);
    if let Some(conditions) = plan.status["conditions"].as_array_mut() {
        conditions.retain(|one| one["type"] != SCALED_TO_ZERO);
        conditions.extend(before.cloned());
    }
    stamp(&mut plan.status, view.generation);
    plan.memory = view.memory.clone();
    plan
}

fn size(view: &View, scale: &Scale, replicas: i32, plan: &mut Plan, now: Timestamp) -> i32 {
    let (least, most) = bounds(&view.spec);
    let bounds = Bounds { least, most, current: scale.wanted };
    let sized = plan.memory.size(&view.spec["behavior"], replicas, bounds, now);
    condition(&mut plan.status, "AbleToScale", true, sized.able.0, sized.able.1, now);
    let (limited, reason, message) = sized.limited;
    condition(&mut plan.status, "ScalingLimited", limited, reason, message, now);
    sized.replicas
}

/// What all metrics come to.
struct Found {
    /// The largest size that one asks for, and which.
    chosen: Option<(i32, String)>,
    statuses: Value,
}

fn measure(view: &View, scale: &Scale, plan: &mut Plan, now: Timestamp) -> Found {
    if let Some([reason, message]) = &view.blocked {
        condition(&mut plan.status, "ScalingActive", false, reason, message, now);
        let (event, text) = match scale.selector.is_empty() {
            true => ("SelectorRequired", "selector is required"),
            false if reason == "AmbiguousSelector" => ("AmbiguousSelector", message.as_str()),
            false => ("InvalidSelector", message.as_str()),
        };
        plan.notes.push(Note { warning: true, reason: event, message: text.to_owned() });
        let failed = Note { warning: true, reason: "FailedComputeMetricsReplicas", message: text.to_owned() };
        plan.notes.push(failed);
        return Found { chosen: None, statuses: Value::Null };
    }
    let metrics = view.spec["metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut chosen, mut statuses, mut failed, mut first) = (None::<(i32, String)>, Vec::new(), 0, None);
    for (metric, reading) in metrics.iter().zip(&view.readings) {
        let outcome = reading.clone().map_err(|why| of_kind(metric, &why));
        match outcome.and_then(|reading| judge(view, scale, metric, reading, now)) {
            Ok((replicas, name, status)) => {
                statuses.push(status);
                if chosen.as_ref().is_none_or(|(most, _)| *most == 0 || replicas > *most) {
                    chosen = Some((replicas, name));
                }
            }
            Err(why) => {
                let reason = reason(metric);
                plan.notes.push(Note { warning: true, reason, message: why.clone() });
                first.get_or_insert((reason, why.clone(), whole(metric, &why)));
                statuses.push(json!({ "type": "" }));
                failed += 1;
            }
        }
    }
    let statuses = statuses.into();
    let replicas = chosen.as_ref().map_or(0, |(replicas, _)| *replicas);
    if let Some((reason, why, whole)) = first.filter(|_| failed >= metrics.len() || replicas < scale.wanted) {
        let message = format!("the HPA was unable to compute the replica count: {why}");
        condition(&mut plan.status, "ScalingActive", false, reason, &message, now);
        let message =
            format!("invalid metrics ({failed} invalid out of {}), first error is: {whole}", metrics.len());
        plan.notes.push(Note { warning: true, reason: "FailedComputeMetricsReplicas", message });
        return Found { chosen: None, statuses };
    }
    let name = chosen.as_ref().map_or("", |(_, name)| name);
    let message = format!("the HPA was able to successfully calculate a replica count from {name}");
    condition(&mut plan.status, "ScalingActive", true, "ValidMetricFound", &message, now);
    Found { chosen, statuses }
}

/// The part of a metric's spec that is its own.
fn source(metric: &Value) -> (&'static str, &Value) {
    let field = match metric["type"].as_str() {
        Some("Resource") => "resource",
        Some("ContainerResource") => "containerResource",
        Some("Pods") => "pods",
        Some("Object") => "object",
        _ => "external",
    };
    (field, &metric[field])
}

fn reason(metric: &Value) -> &'static str {
    match source(metric).0 {
        "resource" => "FailedGetResourceMetric",
        "containerResource" => "FailedGetContainerResourceMetric",
        "pods" => "FailedGetPodsMetric",
        "object" => "FailedGetObjectMetric",
        _ => "FailedGetExternalMetric",
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Why a metric has no answer, in the words of its kind.
fn of_kind(metric: &Value, why: &str) -> String {
    let (field, of) = source(metric);
    let shares = !of["target"]["averageValue"].is_null();
    match field {
        "resource" | "containerResource" => {
            let what = if shares { "usage" } else { "utilization" };
            format!("failed to get {} {what}: {why}", text(&of["name"]))
        }
        "object" if shares => format!("failed to get {} object metric: {why}", text(&of["metric"]["name"])),
        _ => why.to_owned(),
    }
}

fn whole(metric: &Value, why: &str) -> String {
    let (field, of) = source(metric);
    match field {
        "resource" => format!("failed to get {} resource metric value: {why}", text(&of["name"])),
        "containerResource" => {
            format!("failed to get {} container metric value: {why}", text(&of["container"]))
        }
        "pods" => format!("failed to get pods metric value: {why}"),
        "object" => format!("failed to get object metric value: {why}"),
        _ => format!("failed to get {} external metric value: {why}", text(&of["metric"]["name"])),
    }
}

/// What one metric asks for, what it is called, and its status.
fn judge(
    view: &View,
    scale: &Scale,
    metric: &Value,
    reading: Reading,
    now: Timestamp,
) -> Result<(i32, String, Value), String> {
    let (field, of) = source(metric);
    let bearing = |side: &str| {
        let given = milli(&view.spec["behavior"][side]["tolerance"]);
        given.map_or(TOLERANCE, |thousandths| thousandths as f64 / 1000.0)
    };
    let tolerance = Tolerance { down: bearing("scaleDown"), up: bearing("scaleUp") };
    let target = Target { pods: &view.pods, replicas: scale.wanted, present: scale.present, tolerance, now };
    let wanted = &of["target"];
    let (average, value) = (milli(&wanted["averageValue"]), milli(&wanted["value"]));
    let resource = text(&of["name"]);
    let proposed = match (reading, field, average) {
        (Reading::Pods(samples), "resource" | "containerResource", None) => {
            let percent = wanted["averageUtilization"].as_i64().ok_or_else(|| {
                "invalid resource metric source: neither an average utilization target nor an average value (usage) \
                 target was set"
                    .to_owned()
            })?;
            target.by_utilization(samples, resource, of["container"].as_str(), percent)
        }
        (Reading::Pods(samples), _, Some(average)) => target.by_average(samples, resource, average),
        (Reading::Value(usage), _, Some(average)) => Ok(target.by_share(usage, average)),
        (Reading::Value(usage), _, None) if value.is_some() => {
            target.by_value(usage, value.unwrap_or_default())
        }
        _ => Err(format!(
            "invalid {field} metric source: neither a value target nor an average value target was set"
        )),
    };
    let proposal = proposed.map_err(|why| of_kind(metric, &why))?;
    Ok((
        proposal.replicas,
        title(field, of, average.is_some()),
        shown_status(metric, &proposal, average.is_some()),
    ))
}

/// What a metric is called where it is told of.
fn title(field: &str, of: &Value, average: bool) -> String {
    let (resource, metric) = (text(&of["name"]), text(&of["metric"]["name"]));
    match field {
        "resource" | "containerResource" if average => format!("{resource} resource"),
        "resource" => format!("{resource} resource utilization (percentage of request)"),
        "containerResource" => format!("{resource} container resource utilization (percentage of request)"),
        "pods" => format!("pods metric {metric}"),
        "object" if !average => format!("{} metric {metric}", text(&of["describedObject"]["kind"])),
        _ => format!("external metric {metric}({})", shown(&of["metric"]["selector"])),
    }
}

fn shown_status(metric: &Value, proposal: &Proposal, average: bool) -> Value {
    let (field, of) = source(metric);
    let usage = gifee_base::Quantity::from_milli(proposal.usage).to_string();
    let mut current = json!({});
    match (field, average) {
        ("external" | "object", false) => current["value"] = usage.into(),
        _ => current["averageValue"] = usage.into(),
    }
    if let Some(percent) = proposal.percent {
        current["averageUtilization"] = percent.into();
    }
    let mut status = json!({ "current": current });
    for name in ["name", "container", "metric", "describedObject"] {
        if !of[name].is_null() {
            status[name] = of[name].clone();
        }
    }
    let mut shown = json!({ "type": metric["type"] });
    shown[field] = status;
    shown
}

fn set_status(status: &mut Value, current: i32, desired: Option<i32>, metrics: Value) {
    status["currentReplicas"] = if current == 0 { Value::Null } else { current.into() };
    if let Some(desired) = desired {
        status["desiredReplicas"] = desired.into();
    } else if status["desiredReplicas"].is_null() {
        status["desiredReplicas"] = 0.into();
    }
    status["currentMetrics"] = metrics;
}

fn condition(status: &mut Value, kind: &str, holds: bool, reason: &str, message: &str, now: Timestamp) {
    let holds = if holds { "True" } else { "False" };
    let new = json!({ "type": kind, "status": holds, "reason": reason, "message": message,
        "lastTransitionTime": clock::format_time(now) });
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(list) = status["conditions"].as_array_mut() else { return };
    match list.iter_mut().find(|one| one["type"] == kind) {
        Some(old) => {
            let since = old["lastTransitionTime"].clone();
            let same = old["status"] == holds;
            *old = new;
            if same {
                old["lastTransitionTime"] = since;
            }
        }
        None => list.push(new),
    }
}
