//! Views in, plans out; upstream's conformance tests of Jobs against a fake server whose pods end as they are told.

mod simulation;

use super::indexes::Indexes;
use super::plan::{End, Plan, plan};
use super::policy::{FailurePolicy, SuccessPolicy, Verdict};
use super::view::{INDEX, INDEX_FAILURES, TRACKING};
use super::*;
use gifee_client::fake::Fake;
use gifee_client::{DeleteOptions, Propagation};
use gifee_reconcile::Recorder;
use gifee_reconcile::owner::Claims;
use gifee_reconcile::pod::Brief;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn object(tree: &Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

#[test]
fn sets_of_indexes() {
    let check =
        |text: &str, bound, expected: &str| assert_eq!(Indexes::parse(text, bound).to_string(), expected);
    check("", 9, "");
    check("0,1,2,5,7-8", 9, "0-2,5,7,8");
    check("1-3,4-6", 9, "1-6");
    check("1,5-20,30", 9, "1,5-8");
    check("x,2,-,3-", 9, "2");
    let set = Indexes::parse("1,3-5,8", 10);
    assert_eq!((set.total(), set.has(4), set.has(2), set.has(9)), (5, true, false, false));
    assert_eq!(set.with([9, 0]).to_string(), "0,1,3-5,8,9");
    assert_eq!(set.union(&Indexes::parse("2,6-7", 10)).to_string(), "1-8");
    assert_eq!(set.shared(&Indexes::parse("0-3,5,7-9", 10)), 4);
    assert_eq!(set.missing(10, 9), [0, 2, 6, 7, 9]);
    assert_eq!(set.missing(10, 2), [0, 2]);
    assert_eq!(Indexes::default().missing(3, 9), [0, 1, 2]);
}

/// `name phase extras…`: `index=1`, `failures=1`, `code=2`, `condition=Type`, `deleting`, `free`, `ready`, `node`,
/// `restarts=1`, `ended=MINUTE`.
fn pod(text: &str) -> Value {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": words[0], "namespace": "n",
            "uid": words[0], "labels": { "job": "j" }, "annotations": {}, "finalizers": [TRACKING],
            "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{ "apiVersion": "batch/v1",
            "kind": "Job", "name": "j", "uid": "u", "controller": true }] },
        "spec": {}, "status": { "phase": words[1], "conditions": [],
            "containerStatuses": [{ "name": "c", "restartCount": 0, "state": {} }] } });
    for extra in &words[2..] {
        let (name, value) = extra.split_once('=').unwrap_or((extra, ""));
        let container = &mut pod["status"]["containerStatuses"][0];
        match name {
            "index" => pod["metadata"]["annotations"][INDEX] = value.into(),
            "failures" => pod["metadata"]["annotations"][INDEX_FAILURES] = value.into(),
            "code" => container["state"]["terminated"]["exitCode"] = value.parse::<i32>().unwrap().into(),
            "ended" => {
                container["state"]["terminated"]["finishedAt"] = format!("2026-01-01T00:{value}:00Z").into();
            }
            "restarts" => container["restartCount"] = value.parse::<i32>().unwrap().into(),
            "condition" => pod["status"]["conditions"] = json!([{ "type": value, "status": "True" }]),
            "ready" => pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]),
            "deleting" => pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:50:00Z".into(),
            "node" => pod["spec"]["nodeName"] = "node".into(),
            _ => pod["metadata"]["finalizers"] = json!([]),
        }
    }
    pod
}

fn view(spec: &Value, status: &Value, pods: &[&str]) -> View {
    let mut tree = json!({ "parallelism": 2, "completions": 3, "backoffLimit": 6, "template": {} });
    tree.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let owned: Vec<_> = pods.iter().map(|text| object(&pod(text))).collect();
    View::new(
        object(&json!({ "metadata": { "name": "j", "namespace": "n", "uid": "u" } })),
        Spec::deserialize(&tree).unwrap(),
        Status::read(status),
        Claims { owned, ..Claims::default() },
        Backoff::default(),
        &mut HashSet::new(),
    )
    .unwrap()
}

/// `create N`, `create 0,1`, `delete a b`, `uncount a`, `end Reason`, `after 10s`.
fn shown(view: &View, plan: &Plan) -> String {
    let mut words = Vec::new();
    if !plan.create.is_empty() {
        let indexes: Vec<String> =
            plan.create.iter().filter_map(|one| Some(one.index?.to_string())).collect();
        let count = plan.create.len().to_string();
        words.push(format!("create {}", if indexes.is_empty() { count } else { indexes.join(",") }));
    }
    if !plan.delete.is_empty() {
        let names: Vec<&str> = plan.delete.iter().map(|at| view.pods[*at].uid()).collect();
        words.push(format!("{} {}", if plan.uncount { "uncount" } else { "delete" }, names.join(" ")));
    }
    match &plan.end {
        Some(End::Success(cause)) => words.push(format!("success {}", cause.reason)),
        Some(End::Failure(cause)) => words.push(format!("failure {}", cause.reason)),
        None => {}
    }
    if let Some(again) = plan.again {
        words.push(format!("after {}s", again.as_secs()));
    }
    words.join("; ")
}

fn check(spec: &Value, status: &Value, pods: &[&str], expected: &str) {
    let view = view(spec, status, pods);
    assert_eq!(shown(&view, &plan(&view, now())), expected, "{spec} {status} {pods:?}");
}

#[test]
fn pods_are_made_and_deleted() {
    let none = json!({});
    check(&none, &none, &[], "create 2");
    check(&none, &none, &["a Running", "b Pending"], "");
    check(&none, &none, &["a Succeeded", "b Running"], "create 1");
    check(&none, &json!({ "succeeded": 2 }), &[], "create 1");
    check(&none, &json!({ "succeeded": 2 }), &["a Running node ready", "b Pending"], "uncount b");
    check(&none, &json!({ "succeeded": 3 }), &["a Running"], "uncount a; success CompletionsReached");
    check(&none, &json!({ "succeeded": 3 }), &[], "success CompletionsReached");
    check(&json!({ "parallelism": 0 }), &none, &["a Running"], "uncount a");
    check(&json!({ "parallelism": 900, "completions": 900 }), &none, &[], "create 500");
    check(&json!({ "suspend": true }), &none, &["a Running", "b Pending"], "uncount b a");
    // A work queue: the first success is enough, and whoever runs may end.
    let queue = json!({ "completions": null, "parallelism": 3 });
    check(&queue, &none, &["a Running"], "create 2");
    check(&queue, &none, &["a Running", "b Succeeded"], "");
    check(&queue, &none, &["a Succeeded"], "success CompletionsReached");
    // One that is on its way out counts as failed, unless it is waited for.
    check(&none, &none, &["a Running deleting ended=10", "b Running"], "create 1");
    check(&json!({ "podReplacementPolicy": "Failed" }), &none, &["a Running deleting", "b Running"], "");
}

#[test]
fn a_job_ends_by_its_limits() {
    let none = json!({});
    check(
        &json!({ "backoffLimit": 0 }),
        &none,
        &["a Failed ended=01", "b Running"],
        "delete b; failure BackoffLimitExceeded",
    );
    check(
        &json!({ "backoffLimit": 1 }),
        &json!({ "failed": 1 }),
        &["a Failed"],
        "failure BackoffLimitExceeded",
    );
    check(
        &json!({ "backoffLimit": 1 }),
        &json!({ "failed": 1 }),
        &["a Failed free", "b Running"],
        "create 1",
    );
    let in_place = json!({ "backoffLimit": 3, "template": { "spec": { "restartPolicy": "OnFailure" } } });
    check(&in_place, &none, &["a Running restarts=2", "b Running"], "");
    check(
        &in_place,
        &none,
        &["a Running restarts=2", "b Running restarts=1"],
        "delete a b; failure BackoffLimitExceeded",
    );
    let started = json!({ "startTime": "2026-01-01T00:59:00Z" });
    check(&json!({ "activeDeadlineSeconds": 90 }), &started, &["a Running", "b Running"], "after 30s");
    check(
        &json!({ "activeDeadlineSeconds": 60 }),
        &started,
        &["a Running", "b Running"],
        "delete a b; failure DeadlineExceeded",
    );
    check(&json!({ "activeDeadlineSeconds": 60, "suspend": true }), &started, &[], "");
    // What was decided once stays decided.
    let target = json!({ "conditions": [{ "type": "FailureTarget", "status": "True", "reason": "R" }] });
    check(&none, &target, &["a Running"], "delete a; failure R");
    let criteria =
        json!({ "conditions": [{ "type": "SuccessCriteriaMet", "status": "True", "reason": "S" }] });
    check(&none, &criteria, &["a Running"], "delete a; success S");
}

#[test]
fn failures_are_waited_for() {
    let none = json!({});
    let check = |pods: &[&str], expected: &str| check(&none, &none, pods, expected);
    check(&["a Failed ended=59"], "create 2");
    let mut view = view(&none, &none, &["a Failed ended=59"]);
    for (seconds, failures, expected) in
        [(60, 1, "after 10s"), (65, 1, "after 5s"), (65, 4, "after 75s"), (60, 20, "after 600s")]
    {
        view.backoff = Backoff::default();
        for _ in 1..failures {
            view.backoff = plan(&view, now()).backoff;
        }
        let at = now() + SignedDuration::from_secs(seconds - 120);
        assert_eq!(shown(&view, &plan(&view, at)), expected, "{failures} failures");
    }
    // A success after the failures is a new beginning.
    check(&["a Failed ended=59", "b Succeeded ended=59"], "create 2");
}

#[test]
fn indexes_are_completed_once_each() {
    let indexed = json!({ "completionMode": "Indexed", "parallelism": 3, "completions": 4 });
    let none = json!({});
    check(&indexed, &none, &[], "create 0,1,2");
    check(&indexed, &json!({ "completedIndexes": "0,2" }), &["a Running index=1"], "create 3");
    check(
        &indexed,
        &none,
        &["a Running index=0 node", "b Pending index=0", "x Running index=7"],
        "uncount b x",
    );
    check(&indexed, &none, &["a Running"], "uncount a");
    check(
        &indexed,
        &json!({ "completedIndexes": "0-2" }),
        &["a Succeeded index=3"],
        "success CompletionsReached",
    );
    let policy = json!({ "completionMode": "Indexed", "parallelism": 3, "completions": 4,
        "successPolicy": { "rules": [{ "succeededIndexes": "2-3", "succeededCount": 1 }] } });
    check(&policy, &none, &["a Succeeded index=0", "b Running index=1", "d Running index=3"], "create 2");
    check(&policy, &none, &["a Succeeded index=2", "b Running index=1"], "delete b; success SuccessPolicy");
}

#[test]
fn indexes_fail_on_their_own() {
    let limited = |more: Value| {
        let mut spec = json!({ "completionMode": "Indexed", "parallelism": 2, "completions": 2,
            "backoffLimit": 1000, "backoffLimitPerIndex": 1 });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let none = json!({});
    check(&limited(none.clone()), &none, &["a Failed index=0 ended=30", "b Running index=1"], "create 0");
    check(&limited(none.clone()), &none, &["a Failed index=0 ended=30 failures=1", "b Running index=1"], "");
    let failed = ["a Failed index=0 ended=30 failures=1", "b Succeeded index=1"];
    check(&limited(none.clone()), &none, &failed, "failure FailedIndexes");
    check(
        &limited(json!({ "maxFailedIndexes": 0 })),
        &none,
        &failed[..1],
        "failure MaxFailedIndexesExceeded",
    );
    let view = view(&limited(none.clone()), &none, &["a Failed index=0 ended=30", "b Running index=1"]);
    assert_eq!(plan(&view, now()).create[0].failures, Some((1, 0)));
    // The failed pod stays until its replacement bears its count on.
    let tracking = track::track(&view, &plan(&view, now()), &track::Applied::default(), now());
    assert_eq!(tracking.release, Vec::<usize>::new());
}

#[test]
fn policies_judge() {
    let judge = |rules: Value, text: &str| {
        let policy = FailurePolicy::deserialize(json!({ "rules": rules })).unwrap();
        policy.judge(&Brief::read(&object(&pod(text))).unwrap())
    };
    let exit = |action: &str, operator: &str| json!({ "action": action, "onExitCodes": { "containerName": "c", "operator": operator, "values": [42] } });
    let disrupted =
        json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] });
    assert_eq!(judge(json!([exit("FailIndex", "In")]), "a Failed code=42"), Verdict::FailIndex);
    assert_eq!(
        judge(json!([exit("FailIndex", "NotIn"), exit("Ignore", "In")]), "a Failed code=42"),
        Verdict::Ignore
    );
    assert_eq!(judge(json!([disrupted]), "a Failed condition=DisruptionTarget"), Verdict::Ignore);
    assert_eq!(judge(json!([exit("FailJob", "NotIn")]), "a Failed code=0"), Verdict::Count);
    assert_eq!(
        judge(json!([disrupted, exit("FailJob", "In")]), "a Failed code=42"),
        Verdict::FailJob(
            "Container c for pod n/a failed with exit code 42 matching FailJob rule at index 1".into()
        )
    );
    let success = SuccessPolicy::deserialize(json!({ "rules": [
        { "succeededIndexes": "0-2" }, { "succeededIndexes": "3-9", "succeededCount": 2 }, { "succeededCount": 7 } ] }))
    .unwrap();
    let met = |text: &str| success.met(10, &Indexes::parse(text, 10));
    assert_eq!(met("0,1"), None);
    assert_eq!(met("0-2").unwrap(), "Matched rules at index 0");
    assert_eq!(met("3,9").unwrap(), "Matched rules at index 1");
    assert_eq!(met("0,1,3-7").unwrap(), "Matched rules at index 1");
}

struct World {
    fake: Arc<Fake>,
    stop: CancellationToken,
}

impl World {
    fn start(spec: &Value) -> Self {
        let (fake, stop) = (Fake::new(), CancellationToken::new());
        let clock = gifee_testkit::RuntimeClock::new();
        let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
        let mut whole = json!({ "parallelism": 2, "completions": 4, "backoffLimit": 6,
            "selector": { "matchLabels": { "job": "j" } },
            "template": { "metadata": { "labels": { "job": "j" } }, "spec": { "containers": [{ "name": "c" }] } } });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        fake.put(json!({ "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": "j", "namespace": "n", "uid": "u" }, "spec": whole }));
        tokio::spawn(run(context, Arc::default()));
        Self { fake, stop }
    }

    fn job(&self) -> Value {
        self.fake.object(&jobs(), &ObjectKey::new("n", "j")).unwrap()
    }

    fn pods(&self) -> Vec<Value> {
        self.fake.objects(&Gvr::core("pods"))
    }

    fn holds(&self, kind: &str) -> bool {
        Status::read(&self.job()["status"]).holds(kind).is_some()
    }

    /// Ends every pod that runs, by what is said of its index.
    fn end(&self, how: impl Fn(u32) -> (&'static str, i32)) {
        for pod in self.pods() {
            let key = ObjectKey::new("n", pod["metadata"]["name"].as_str().unwrap());
            let index =
                pod["metadata"]["annotations"][INDEX].as_str().map_or(0, |text| text.parse().unwrap());
            let (phase, code) = how(index);
            if pod["status"]["phase"] == "Pending" && phase != "Pending" {
                self.fake.change(&Gvr::core("pods"), &key, |pod| {
                    // Long ago, so that nothing is waited for.
                    pod["status"] = json!({ "phase": phase, "containerStatuses": [{ "name": "c", "state": {
                        "terminated": { "exitCode": code, "finishedAt": "2026-01-01T00:00:00Z" } } }] });
                });
            }
        }
    }

    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if test(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("{what}: {:#} {:#?}", self.job(), self.pods());
    }
}

#[tokio::test(start_paused = true)]
async fn runs_to_completion_and_then_rests() {
    let world = World::start(&json!({}));
    world.until("two pods", |world| world.pods().len() == 2).await;
    world
        .until("done", |world| {
            world.end(|_| ("Succeeded", 0));
            world.holds("Complete")
        })
        .await;
    let status = world.job()["status"].clone();
    assert_eq!(
        (&status["succeeded"], &status["ready"], &status["terminating"]),
        (&json!(4), &json!(0), &json!(0))
    );
    assert_eq!(status["uncountedTerminatedPods"], json!({}));
    assert!(
        status["active"].is_null() && !status["startTime"].is_null() && !status["completionTime"].is_null()
    );
    let kinds: Vec<&str> =
        status["conditions"].as_array().unwrap().iter().filter_map(|one| one["type"].as_str()).collect();
    assert_eq!(kinds, ["SuccessCriteriaMet", "Complete"]);
    assert_eq!(world.pods().len(), 4);
    assert!(
        world.pods().iter().all(|pod| pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty))
    );
    let made = world.fake.writes().iter().filter(|write| write.starts_with("POST")).count();
    assert_eq!(made, 4);
    world.fake.put(json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "x", "namespace": "n", "labels": { "job": "j" } } }));
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(world.fake.writes(), Vec::<String>::new());
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn indexed_pods_know_their_index() {
    let world = World::start(&json!({ "completionMode": "Indexed", "parallelism": 4 }));
    world.until("four pods", |world| world.pods().len() == 4).await;
    let pod = world.pods().into_iter().find(|pod| pod["metadata"]["annotations"][INDEX] == "2").unwrap();
    assert!(pod["metadata"]["name"].as_str().unwrap().starts_with("j-2-"));
    assert_eq!((&pod["metadata"]["labels"][INDEX], &pod["spec"]["hostname"]), (&json!("2"), &json!("j-2")));
    assert_eq!(
        pod["spec"]["containers"][0]["env"],
        json!([{ "name": "JOB_COMPLETION_INDEX", "valueFrom": { "fieldRef": {
            "fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']" } } }])
    );
    world.end(|_| ("Succeeded", 0));
    world.until("done", |world| world.holds("Complete")).await;
    assert_eq!(world.job()["status"]["completedIndexes"], "0-3");
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn every_index_is_tried_and_some_fail() {
    let world = World::start(&json!({ "completionMode": "Indexed", "parallelism": 2, "backoffLimit": 1000,
        "backoffLimitPerIndex": 1 }));
    world
        .until("failed", |world| {
            world.end(|index| if index % 2 == 0 { ("Failed", 1) } else { ("Succeeded", 0) });
            world.holds("Failed")
        })
        .await;
    let status = &world.job()["status"];
    assert_eq!((&status["failedIndexes"], &status["completedIndexes"]), (&json!("0,2"), &json!("1,3")));
    // Each failed index was tried twice.
    assert_eq!((&status["failed"], &status["succeeded"]), (&json!(4), &json!(2)));
    let cause = Status::read(status).holds("Failed").unwrap();
    assert_eq!((cause.reason.as_str(), cause.message.as_str()), ("FailedIndexes", "Job has failed indexes"));
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_policy_ends_a_job_early_or_forgives() {
    let rule = |action: &str| {
        json!({ "podFailurePolicy": { "rules": [{ "action": action, "onExitCodes": { "operator": "In", "values": [42] } }] },
            "backoffLimit": 0 })
    };
    let world = World::start(&rule("FailJob"));
    world.until("two pods", |world| world.pods().len() == 2).await;
    world.end(|_| ("Failed", 42));
    world.until("failed", |world| world.holds("Failed")).await;
    assert_eq!(
        Status::read(&world.job()["status"]).holds("FailureTarget").unwrap().reason,
        "PodFailurePolicy"
    );
    assert_eq!(world.job()["status"]["failed"], 2);
    world.stop.cancel();
    let world = World::start(&rule("Ignore"));
    world.until("two pods", |world| world.pods().len() == 2).await;
    world.end(|_| ("Failed", 42));
    world
        .until("done", |world| {
            world.end(|_| ("Succeeded", 0));
            world.holds("Complete")
        })
        .await;
    assert!(world.job()["status"]["failed"].is_null());
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn enough_is_enough() {
    let world = World::start(&json!({ "completionMode": "Indexed", "parallelism": 4,
        "successPolicy": { "rules": [{ "succeededIndexes": "0", "succeededCount": 1 }] } }));
    world.until("four pods", |world| world.pods().len() == 4).await;
    world.end(|index| if index == 0 { ("Succeeded", 0) } else { ("Pending", 0) });
    world.until("done", |world| world.holds("Complete")).await;
    let status = &world.job()["status"];
    assert_eq!((&status["succeeded"], &status["completedIndexes"]), (&json!(1), &json!("0")));
    assert_eq!(Status::read(status).holds("SuccessCriteriaMet").unwrap().reason, "SuccessPolicy");
    assert_eq!(world.pods().len(), 1, "the rest is gone");
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_job_sleeps_and_goes_on() {
    let world = World::start(&json!({ "suspend": true }));
    world.until("suspended", |world| world.holds("Suspended")).await;
    assert!(world.pods().is_empty() && world.job()["status"]["startTime"].is_null());
    let suspend = |world: &World, suspend: bool| {
        world.fake.change(&jobs(), &ObjectKey::new("n", "j"), |job| {
            job["spec"]["suspend"] = suspend.into();
            job["metadata"]["generation"] = (job["metadata"]["generation"].as_i64().unwrap_or(1) + 1).into();
        });
    };
    suspend(&world, false);
    world.until("two pods", |world| world.pods().len() == 2 && !world.holds("Suspended")).await;
    assert!(!world.job()["status"]["startTime"].is_null());
    suspend(&world, true);
    world.until("no pods", |world| world.pods().is_empty() && world.holds("Suspended")).await;
    let status = &world.job()["status"];
    assert!(status["startTime"].is_null() && status["failed"].is_null(), "{status}");
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn adopts_and_releases() {
    let world = World::start(&json!({}));
    world.until("two pods", |world| world.pods().len() == 2).await;
    let name = world.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let key = ObjectKey::new("n", &name);
    let owners = |world: &World| {
        let pod = world.fake.object(&Gvr::core("pods"), &key).unwrap();
        pod["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len)
    };
    world.fake.change(&Gvr::core("pods"), &key, |pod| pod["metadata"]["ownerReferences"] = json!([]));
    world.until("adoption", |world| owners(world) == 1).await;
    world.fake.change(&Gvr::core("pods"), &key, |pod| pod["metadata"]["labels"] = json!({}));
    world.until("release", |world| owners(world) == 0).await;
    let pod = world.fake.object(&Gvr::core("pods"), &key).unwrap();
    assert!(pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty), "a stranger is not held");
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_job_that_is_gone_are_let_go() {
    let world = World::start(&json!({}));
    world.until("two pods", |world| world.pods().len() == 2).await;
    let client = world.fake.client();
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    client.delete(&jobs(), &ObjectKey::new("n", "j"), &background).await.unwrap();
    let held = |pod: &Value| pod["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    for _ in 0..500 {
        if !world.pods().iter().any(held) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert!(!world.pods().iter().any(held), "{:#?}", world.pods());
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn what_others_manage_is_left_alone() {
    let world = World::start(&json!({ "managedBy": "example.com/other" }));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.fake.writes(), Vec::<String>::new());
    world.stop.cancel();
}
