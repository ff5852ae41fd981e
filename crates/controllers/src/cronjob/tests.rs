//! Schedules and Jobs in, plans out; upstream's conformance tests of CronJobs, minutes in milliseconds.

use super::plan::{Plan, View, plan, reference};
use super::schedule::Schedule;
use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn times_of_schedules() {
    let check = |schedule: &str, zone: &str, after: &str, expect: &[&str]| {
        let schedule = Schedule::parse(schedule, TimeZone::get(zone).unwrap()).unwrap();
        let mut time = at(after);
        for expect in expect {
            time = schedule.after(time).unwrap();
            assert_eq!(time, at(expect), "{schedule:?}");
        }
    };
    check("*/1 * * * ?", "UTC", "2026-01-01T00:00:30Z", &["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]);
    check(
        "15,45 3-5/2 * * *",
        "UTC",
        "2026-01-01T03:20:00Z",
        &["2026-01-01T03:45:00Z", "2026-01-01T05:15:00Z"],
    );
    check("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]);
    // Either day fits if neither is a star: the 13th, and Fridays.
    check("0 0 13 * FRI", "UTC", "2026-03-07T00:00:00Z", &["2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"]);
    check("0 0 * FEB SUN", "UTC", "2026-01-01T00:00:00Z", &["2026-02-01T00:00:00Z", "2026-02-08T00:00:00Z"]);
    check("@weekly", "UTC", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]);
    check("@every 1h30m", "UTC", "2026-01-01T00:00:00.5Z", &["2026-01-01T01:30:00Z"]);
    check("0 9 * * *", "Europe/Berlin", "2026-03-28T09:00:00Z", &["2026-03-29T07:00:00Z"]);
    // Half past two does not exist on the day on which the clocks go forward.
    check("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", &["2026-03-30T00:30:00Z"]);
    let never = Schedule::parse("0 0 30 2 *", TimeZone::UTC).unwrap();
    assert_eq!(never.after(at("2026-01-01T00:00:00Z")), None);
    for wrong in ["* * * *", "60 * * * *", "x * * * *", "*/0 * * * *", "5-1 * * * *"] {
        assert!(Schedule::parse(wrong, TimeZone::UTC).is_none(), "{wrong}");
    }
}

#[test]
fn time_zones_are_in_the_binary() {
    let zones = jiff::tz::TimeZoneDatabase::bundled();
    assert!(zones.get("Asia/Tokyo").is_ok() && zones.get("Mars/Base").is_err());
}

#[test]
fn the_last_of_many_missed_times() {
    let every = Schedule::parse("*/5 * * * *", TimeZone::UTC).unwrap();
    let last = |after: &str, until: &str| every.last(at(after), at(until));
    assert_eq!(last("2026-01-01T00:00:00Z", "2026-01-01T00:04:00Z"), None);
    assert_eq!(last("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"), Some((at("2026-01-01T00:05:00Z"), 1)));
    let (time, count) = last("2020-01-01T00:00:00Z", "2026-01-01T00:04:00Z").unwrap();
    assert_eq!(time, at("2026-01-01T00:00:00Z"));
    assert!(count > 500_000);
    let rare = Schedule::parse("0 0 29 2 *", TimeZone::UTC).unwrap();
    let (time, _) = rare.last(at("2000-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(time, at("2024-02-29T00:00:00Z"));
}

fn object(tree: &Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

fn cron(spec: &Value, status: &Value) -> Value {
    let mut cron = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "c", "namespace": "n",
        "uid": "u", "creationTimestamp": "2026-01-01T00:00:30Z" },
        "spec": { "schedule": "*/1 * * * ?", "concurrencyPolicy": "Allow", "jobTemplate": {
            "metadata": { "labels": { "a": "b" }, "annotations": { "own": "note" } }, "spec": { "template": {} } } },
        "status": status });
    cron["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    cron
}

/// `name` of a running Job, or `name Complete 03` with the minute at which it began.
fn job(text: &str) -> Value {
    let words: Vec<&str> = text.split(' ').collect();
    let mut job = json!({ "metadata": { "name": words[0], "namespace": "n", "uid": words[0],
        "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "u", "controller": true }] } });
    if let [_, how, minute] = words[..] {
        job["status"] = json!({ "startTime": format!("2026-01-01T00:{minute}:00Z"),
            "completionTime": format!("2026-01-01T00:{minute}:30Z"),
            "conditions": [{ "type": how, "status": "True" }] });
    }
    job
}

fn planned(spec: Value, active: &[&str], jobs: &[&str], now: &str) -> Plan {
    let jobs: Vec<_> = jobs.iter().map(|text| job(text)).map(|tree| (object(&tree), tree)).collect();
    let active: Vec<Value> = active.iter().map(|name| json!({ "name": name, "uid": name })).collect();
    let tree = cron(&spec, &json!({ "active": active }));
    plan(&View { object: object(&tree), tree, jobs }, at(now))
}

fn started(plan: &Plan) -> Option<&str> {
    plan.start.as_ref().map(|start| start.job["metadata"]["name"].as_str().unwrap())
}

#[test]
fn a_job_is_started_for_each_time() {
    let plan = planned(json!({}), &[], &[], "2026-01-01T00:00:40Z");
    assert_eq!((started(&plan), plan.again), (None, Some(Duration::from_millis(20_100))));
    let plan = planned(json!({}), &[], &[], "2026-01-01T00:03:10Z");
    // 2026-01-01T00:03:00Z in minutes.
    assert_eq!(started(&plan), Some("c-29453763"));
    let job = &plan.start.as_ref().unwrap().job;
    assert_eq!(
        job["metadata"]["annotations"],
        json!({ "own": "note", "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T00:03:00Z" })
    );
    assert_eq!((&job["metadata"]["labels"]["a"], &job["spec"]), (&json!("b"), &json!({ "template": {} })));
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    let plan = planned(json!({ "timeZone": "Asia/Tokyo" }), &[], &[], "2026-01-01T00:03:10Z");
    assert_eq!(
        plan.start.unwrap().job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        "2026-01-01T09:03:00+09:00"
    );
    let late = json!({ "schedule": "0 * * * *", "startingDeadlineSeconds": 10 });
    assert_eq!(started(&planned(late, &[], &[], "2026-01-01T01:00:30Z")), None);
    let plan = planned(json!({ "timeZone": "Mars/Base" }), &[], &[], "2026-01-01T00:03:10Z");
    assert_eq!((started(&plan), plan.notes[0].reason), (None, "UnknownTimeZone"));
    assert_eq!(plan.notes[0].message, "invalid timeZone: \"Mars/Base\": unknown time zone Mars/Base");
}

#[test]
fn what_has_ended_is_not_active_and_is_kept_up_to_a_limit() {
    let jobs = ["a Complete 01", "b Complete 02", "c1 Failed 03", "d Failed 04", "e", "f"];
    let plan = planned(
        json!({ "successfulJobsHistoryLimit": 1, "suspend": true }),
        &["b", "e", "gone"],
        &jobs,
        "2026-01-01T00:09:10Z",
    );
    let cleaned: Vec<&str> = plan.clean.iter().map(|job| job.name()).collect();
    assert_eq!(cleaned, ["a", "c1"]);
    assert_eq!(plan.status["active"], json!([{ "name": "e", "uid": "e" }]));
    assert_eq!(plan.status["lastSuccessfulTime"], "2026-01-01T00:02:30Z");
    let reasons: Vec<&str> = plan.notes.iter().map(|note| note.reason).collect();
    assert_eq!(reasons, ["SawCompletedJob", "UnexpectedJob", "MissingJob"]);
}

/// A clock that goes when it is told.
struct Hand(parking_lot::Mutex<Timestamp>);

impl gifee_base::Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

struct World {
    fake: Arc<Fake>,
    clock: Arc<Hand>,
    stop: CancellationToken,
}

impl World {
    fn start(spec: &Value) -> Self {
        let (fake, stop) = (Fake::new(), CancellationToken::new());
        let clock = Arc::new(Hand(parking_lot::Mutex::new(at("2026-01-01T00:00:40Z"))));
        fake.put(cron(spec, &json!({})));
        let context = Context::with(fake.client(), clock.clone(), Recorder::memory(), stop.clone());
        tokio::spawn(run(context, Arc::default()));
        Self { fake, clock, stop }
    }

    /// Lets a minute pass: the change of an annotation has the controller look at the clock.
    fn minute(&self) {
        let next = *self.clock.0.lock() + jiff::SignedDuration::from_mins(1);
        *self.clock.0.lock() = next;
        self.fake.change(&cron_jobs(), &ObjectKey::new("n", "c"), |cron| {
            cron["metadata"]["annotations"]["touched"] = next.to_string().into();
        });
    }

    fn jobs(&self) -> Vec<String> {
        let all = self.fake.objects(&jobs());
        all.iter().map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn active(&self) -> usize {
        let cron = self.fake.object(&cron_jobs(), &ObjectKey::new("n", "c")).unwrap();
        cron["status"]["active"].as_array().map_or(0, Vec::len)
    }

    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        for _ in 0..500 {
            if test(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("{what}: {:?} {}", self.jobs(), self.active());
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_run_side_by_side_if_they_may() {
    let world = World::start(&json!({}));
    world.minute();
    world.until("one", |world| world.jobs().len() == 1 && world.active() == 1).await;
    world.minute();
    world.until("two", |world| world.jobs().len() == 2 && world.active() == 2).await;
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_suspended_schedule_starts_nothing() {
    let world = World::start(&json!({ "suspend": true }));
    for _ in 0..5 {
        world.minute();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((world.jobs().len(), world.active()), (0, 0));
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_forbids_the_next() {
    let world = World::start(&json!({ "concurrencyPolicy": "Forbid" }));
    world.minute();
    world.until("one", |world| world.active() == 1).await;
    let first = world.jobs();
    for _ in 0..3 {
        world.minute();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((world.jobs(), world.active()), (first, 1));
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_is_replaced_by_the_next() {
    let world = World::start(&json!({ "concurrencyPolicy": "Replace" }));
    world.minute();
    world.until("one", |world| world.active() == 1).await;
    let first = world.jobs();
    world.minute();
    world.until("another", |world| world.jobs() != first && world.jobs().len() == 1).await;
    world.until("it is active", |world| world.active() == 1).await;
    world.stop.cancel();
}

#[test]
fn an_active_job_is_named_by_what_it_is() {
    let job = object(&job("x"));
    assert_eq!(reference(&job)["kind"], "Job");
    assert_eq!(reference(&job)["uid"], "x");
}
