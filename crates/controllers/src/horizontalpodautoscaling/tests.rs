//! Pods and metrics in, sizes out.

use super::behavior::{Bounds, Memory, Sized};
use super::calculate::{Proposal, Sample, Samples, Target, Tolerance};
use super::metrics::{Reading, shown};
use super::plan::{Plan, plan};
use super::*;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// `name phase` of an old, ready pod that requests one CPU, then `unready`, `young`, `deleting` or `sidecar`.
fn pod(text: &str) -> Value {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pod = json!({ "metadata": { "name": words[0] },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1" } } }] },
        "status": { "phase": words[1], "startTime": "2026-01-01T00:00:00Z",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z" }] } });
    for extra in &words[2..] {
        match *extra {
            "unready" => pod["status"]["conditions"][0]["status"] = "False".into(),
            "young" => {
                pod["status"]["startTime"] = "2026-01-01T00:59:00Z".into();
                pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:59:50Z".into();
            }
            "deleting" => pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:59:00Z".into(),
            _ => {
                pod["spec"]["initContainers"] = json!([{ "name": "s", "restartPolicy": "Always",
                    "resources": { "requests": { "cpu": "500m" } } }]);
            }
        }
    }
    pod
}

/// `name=thousandths`, all measured now over half a minute.
fn samples(text: &str) -> Samples {
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        let value = value.parse().unwrap();
        (name.to_owned(), Sample { value, at: Some(now()), window: SignedDuration::from_secs(30) })
    };
    text.split_whitespace().map(one).collect()
}

fn with<T>(pods: &[&str], replicas: i32, test: impl FnOnce(&Target<'_>) -> T) -> T {
    let pods: Vec<Value> = pods.iter().map(|text| pod(text)).collect();
    let tolerance = Tolerance { down: 0.1, up: 0.1 };
    test(&Target { pods: &pods, replicas, present: replicas, tolerance, now: now() })
}

#[test]
fn utilization_of_what_was_requested() {
    let check = |pods: &[&str], usage: &str, percent, expected: (i32, i64)| {
        let found = with(pods, i32::try_from(pods.len()).unwrap(), |target| {
            target.by_utilization(samples(usage), "cpu", None, percent)
        });
        let found = found.unwrap();
        assert_eq!((found.replicas, found.percent.unwrap()), expected, "{pods:?} {usage} at {percent}%");
    };
    check(&["a Running", "b Running"], "a=900 b=900", 50, (4, 90));
    check(&["a Running", "b Running"], "a=520 b=520", 50, (2, 52));
    check(&["a Running", "b Running", "c Running"], "a=100 b=100 c=100", 50, (1, 10));
    // On the way up, whoever is not ready uses nothing, and so does whoever is not measured.
    check(&["a Running", "b Running", "c Pending"], "a=900 b=900", 50, (4, 90));
    check(&["a Running", "b Running", "c Running"], "a=900 b=900", 50, (4, 90));
    check(&["a Running", "b Running young unready"], "a=900 b=900", 50, (2, 90));
    // On the way down, whoever is not measured uses what was requested.
    check(&["a Running", "b Running", "c Running"], "a=100 b=100", 50, (3, 10));
    check(&["a Running", "b Running", "c Running deleting"], "a=100 b=100 c=900", 50, (1, 10));
    check(&["a Running sidecar"], "a=1500", 50, (2, 100));
}

#[test]
fn what_cannot_be_judged_says_why() {
    let check = |pods: &[&str], usage: &str, container, expected: &str| {
        let found = with(pods, 1, |target| target.by_utilization(samples(usage), "cpu", container, 50));
        assert_eq!(found.unwrap_err(), expected);
    };
    check(&[], "a=1", None, "no pods returned by selector while calculating replica count");
    let unready = "did not receive metrics for targeted pods (pods might be unready)";
    check(&["a Pending"], "a=1", None, unready);
    check(&["a Running"], "a=1", Some("x"), "container x not found in Pod a");
    check(&["a Running"], "b=1", None, "no metrics returned matched known pods");
}

#[test]
fn averages_and_values() {
    let plain = |replicas| Proposal { replicas, percent: None, usage: 20_000 };
    with(&["a Running", "b Running"], 2, |target| {
        let found = target.by_average(samples("a=30000 b=10000"), "", 10_000);
        assert_eq!(found, Ok(plain(4)));
        assert_eq!(target.by_value(20_000, 10_000), Ok(plain(4)));
        assert_eq!(target.by_share(40_000, 10_000), plain(4));
        assert_eq!(target.by_share(41_000, 20_000).replicas, 2, "within the tolerance");
    });
    let none = with(&[], 0, |target| target.by_value(20_000, 10_000).unwrap());
    assert_eq!(none.replicas, 2, "from nothing, as many as the metric says");
}

fn sized(sized: &Sized) -> (i32, &'static str, bool, &'static str) {
    (sized.replicas, sized.able.0, sized.limited.0, sized.limited.1)
}

#[test]
fn sizes_without_a_behavior() {
    let check = |current, desired, expected| {
        let mut memory = Memory::default();
        memory.begin(1, now());
        let bounds = Bounds { least: 2, most: 20, current };
        assert_eq!(sized(&memory.size(&Value::Null, desired, bounds, now())), expected);
    };
    check(4, 6, (6, "ReadyForNewScale", false, "DesiredWithinRange"));
    check(4, 15, (8, "ReadyForNewScale", true, "ScaleUpLimit"));
    check(15, 25, (20, "ReadyForNewScale", true, "TooManyReplicas"));
    check(4, 1, (2, "ReadyForNewScale", true, "TooFewReplicas"));
    // The highest of five minutes holds.
    let mut memory = Memory::default();
    let bounds = Bounds { least: 1, most: 20, current: 8 };
    let mut at = |seconds, desired| {
        sized(&memory.size(&Value::Null, desired, bounds, now() + SignedDuration::from_secs(seconds)))
    };
    assert_eq!(at(0, 8).0, 8);
    assert_eq!(at(200, 2), (8, "ScaleDownStabilized", false, "DesiredWithinRange"));
    assert_eq!(at(301, 2).0, 2);
}

#[test]
fn sizes_by_behavior() {
    let behavior = json!({
        "scaleUp": { "stabilizationWindowSeconds": 60, "selectPolicy": "Max", "policies": [
            { "type": "Pods", "value": 4, "periodSeconds": 15 }, { "type": "Percent", "value": 100, "periodSeconds": 15 }] },
        "scaleDown": { "stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": [
            { "type": "Pods", "value": 3, "periodSeconds": 60 }, { "type": "Percent", "value": 10, "periodSeconds": 60 }] } });
    let mut memory = Memory::default();
    let bounds = |current| Bounds { least: 1, most: 100, current };
    let at = |seconds| now() + SignedDuration::from_secs(seconds);
    assert_eq!(sized(&memory.size(&behavior, 10, bounds(10), at(0))).0, 10);
    // The lowest of the last minute holds on the way up.
    assert_eq!(
        sized(&memory.size(&behavior, 50, bounds(10), at(30))),
        (10, "ScaleUpStabilized", false, "DesiredWithinRange")
    );
    assert_eq!(
        sized(&memory.size(&behavior, 50, bounds(10), at(61))),
        (20, "ReadyForNewScale", true, "ScaleUpLimit")
    );
    memory.scaled(10, 20, at(61));
    assert_eq!(
        sized(&memory.size(&behavior, 50, bounds(20), at(70))),
        (20, "ReadyForNewScale", true, "ScaleUpLimit")
    );
    // The least change counts on the way down: a tenth.
    assert_eq!(
        sized(&memory.size(&behavior, 1, bounds(20), at(200))),
        (18, "ReadyForNewScale", true, "ScaleDownLimit")
    );
    memory.scaled(20, 18, at(200));
    assert_eq!(sized(&memory.size(&behavior, 1, bounds(18), at(230))).0, 18);
    let mut disabled = behavior.clone();
    disabled["scaleDown"]["selectPolicy"] = "Disabled".into();
    assert_eq!(sized(&memory.size(&disabled, 1, bounds(18), at(900))).0, 18);
}

fn view(spec: &Value, scale: Result<Scale, String>, readings: Vec<Result<Reading, String>>) -> View {
    let mut whole = json!({ "minReplicas": 1, "maxReplicas": 10, "metrics": [{ "type": "Resource", "resource": {
        "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }] });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    View {
        generation: 3,
        spec: whole,
        status: json!({}),
        scale,
        blocked: None,
        pods: vec![pod("a Running"), pod("b Running")],
        readings,
        memory: Memory::default(),
    }
}

fn scale(replicas: i32) -> Result<Scale, String> {
    Ok(Scale { wanted: replicas, present: replicas, selector: "app=web".into() })
}

/// Conditions as `Type=Status Reason`.
fn conditions(plan: &Plan) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = plan.status["conditions"].as_array().unwrap().iter();
    all.map(|one| format!("{}={} {}", text(&one["type"]), text(&one["status"]), text(&one["reason"])))
        .collect()
}

#[test]
fn a_target_is_scaled_and_then_left() {
    let used = |usage| vec![Ok(Reading::Pods(samples(usage)))];
    let first = plan(&view(&json!({}), scale(2), used("a=900 b=900")), now());
    assert_eq!(
        first.resize,
        Some((4, "cpu resource utilization (percentage of request) above target".to_owned()))
    );
    assert_eq!(
        conditions(&first),
        [
            "AbleToScale=True SucceededRescale",
            "ScalingActive=True ValidMetricFound",
            "ScalingLimited=False DesiredWithinRange",
            "ScaledToZero=False NotScaledToZero"
        ]
    );
    assert_eq!(
        first.status["currentMetrics"],
        json!([{ "type": "Resource", "resource": { "name": "cpu",
            "current": { "averageUtilization": 90, "averageValue": "900m" } } }])
    );
    assert_eq!((&first.status["currentReplicas"], &first.status["desiredReplicas"]), (&json!(2), &json!(4)));
    assert_eq!(first.status["observedGeneration"], 3);
    assert_eq!(first.status["conditions"][0]["observedGeneration"], 3);
    let mut next = view(&json!({}), scale(2), used("a=500 b=500"));
    next.status = plan(&next, now()).status;
    let later = plan(&next, now() + SignedDuration::from_secs(15));
    assert_eq!(
        (later.resize, later.status),
        (None, next.status.clone()),
        "what does not change is not written"
    );
    let refused = plan::refused(&next, first, "no", now());
    assert_eq!(
        refused.notes[0].message,
        "New size: 4; reason: cpu resource utilization (percentage of request) above target; error: no"
    );
    assert!(conditions(&refused)[0].ends_with("FailedUpdateScale"));
    assert_eq!(conditions(&refused).len(), 3, "nothing was scaled");
}

#[test]
fn a_target_goes_to_zero_and_comes_back() {
    let queue = |least: i32| {
        json!({ "minReplicas": least, "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0,
                "policies": [{ "type": "Percent", "value": 100, "periodSeconds": 15 }] },
            "scaleUp": { "policies": [{ "type": "Pods", "value": 9, "periodSeconds": 15 }] } },
            "metrics": [{ "type": "External", "external": { "metric": { "name": "q" },
                "target": { "type": "AverageValue", "averageValue": "10" } } }] })
    };
    let check = |least, replicas, waiting: i64, status: &Value, expected: Option<i32>, zero: Option<&str>| {
        let mut view = view(&queue(least), scale(replicas), vec![Ok(Reading::Value(waiting * 1000))]);
        view.status = status.clone();
        let plan = plan(&view, now());
        assert_eq!(plan.resize.as_ref().map(|(replicas, _)| *replicas), expected, "{replicas} for {waiting}");
        let found = conditions(&plan).into_iter().find(|one| one.starts_with("ScaledToZero"));
        assert_eq!(found.as_deref(), zero);
        plan
    };
    let (yes, no) = ("ScaledToZero=True ScaledToZero", "ScaledToZero=False NotScaledToZero");
    let asleep = check(0, 2, 0, &json!({}), Some(0), Some(yes)).status;
    check(1, 2, 0, &json!({}), Some(1), Some(no));
    check(0, 0, 0, &asleep, None, Some(yes));
    let woken = check(0, 0, 35, &asleep, Some(4), Some(no));
    assert_eq!(woken.resize.unwrap().1, "external metric q(nil) above target");
    // Whoever was put to sleep by a person stays so.
    let left = check(0, 0, 35, &json!({}), None, None);
    assert!(conditions(&left).contains(&"ScalingActive=False ScalingDisabled".to_owned()));
    // It was said meanwhile that there are to be some.
    let raised = check(2, 0, 0, &asleep, Some(2), Some(no));
    assert_eq!(raised.resize.unwrap().1, "Current number of replicas below Spec.MinReplicas");
    // Pods that are not there use nothing, and so nothing wakes who looks at them alone.
    let mut resources = view(&json!({ "minReplicas": 0 }), scale(0), Vec::new());
    resources.status = asleep;
    assert!(plan(&resources, now()).resize.is_none());
}

#[test]
fn what_stands_in_the_way() {
    let check = |view: &View, resize: Option<i32>, expected: &[&str], events: &[&str]| {
        let plan = plan(view, now());
        assert_eq!(plan.resize.as_ref().map(|(replicas, _)| *replicas), resize);
        assert_eq!(conditions(&plan), expected);
        let reasons: Vec<&str> = plan.notes.iter().map(|note| note.reason).collect();
        assert_eq!(reasons, events);
    };
    let none = json!({});
    let missing = view(&none, Err("deployments.apps \"web\" not found".into()), Vec::new());
    check(&missing, None, &["AbleToScale=False FailedGetScale"], &["FailedGetScale"]);
    let zero = ["AbleToScale=True SucceededGetScale", "ScalingActive=False ScalingDisabled"];
    check(&view(&none, scale(0), Vec::new()), None, &zero, &[]);
    let lowered = ["AbleToScale=True SucceededRescale", "ScaledToZero=False NotScaledToZero"];
    check(&view(&none, scale(20), Vec::new()), Some(10), &lowered, &[]);
    let failed = ["AbleToScale=True SucceededGetScale", "ScalingActive=False FailedGetResourceMetric"];
    let view_of = view(&none, scale(2), vec![Err("unable to get metrics for resource cpu: no".into())]);
    check(&view_of, None, &failed, &["FailedGetResourceMetric", "FailedComputeMetricsReplicas"]);
    assert_eq!(
        plan(&view_of, now()).notes[1].message,
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: \
         failed to get cpu utilization: unable to get metrics for resource cpu: no"
    );
    // One metric that fails is enough to stay, but not to grow.
    let two = json!({ "metrics": [
        { "type": "External", "external": { "metric": { "name": "q" }, "target": { "type": "Value", "value": "10" } } },
        { "type": "Pods", "pods": { "metric": { "name": "p" }, "target": { "type": "AverageValue", "averageValue": "1" } } }] });
    let grow = vec![Err("gone".into()), Ok(Reading::Pods(samples("a=2000 b=2000")))];
    let grown = plan(&view(&two, scale(2), grow), now());
    assert_eq!(grown.resize, Some((4, "pods metric p above target".to_owned())));
    assert_eq!(grown.status["currentMetrics"][0], json!({ "type": "" }));
    let shrink = vec![Ok(Reading::Value(1)), Err("gone".into())];
    assert!(plan(&view(&two, scale(2), shrink), now()).resize.is_none());
}

#[test]
fn selectors_are_shown_as_upstream_shows_them() {
    assert_eq!(shown(&Value::Null), "nil");
    assert_eq!(
        shown(&json!({ "matchLabels": { "a": "b" } })),
        "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}"
    );
}
