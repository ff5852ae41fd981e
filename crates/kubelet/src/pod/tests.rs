//! Plans and statuses by table: a pod, what the runtime said, and what follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use serde_json::{Value, json};

use super::back_off::BackOff;
use super::status::status;
use super::view::Resizing;
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// A view of a pod at second 100, with a ready sandbox `s1`, nothing else.
fn view(spec: Value) -> View {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "blog", "namespace": "web", "uid": "u1", "generation": 1}, "spec": spec
    }))
    .unwrap();
    let members = members::members(&pod);
    let fresh = || ContainerView { started: true, ready: true, ..ContainerView::default() };
    View {
        containers: members.iter().map(|member| (member.name().to_owned(), fresh())).collect(),
        members: Arc::new(members),
        pod: Arc::new(pod),
        now: at(100),
        ending: None,
        removed: false,
        sandbox: Some(Sandbox { id: "s1".into(), ready: true, addresses: vec!["10.0.0.7".parse().unwrap()] }),
        setup: Setup::Done,
        host_addresses: vec!["192.168.1.1".parse().unwrap()],
        start_time: at(0),
        resizing: Resizing::default(),
    }
}

fn two(policy: &str) -> View {
    view(
        json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}),
    )
}

fn attempt(view: &View, name: &str, number: i32, state: AttemptState) -> Attempt {
    let member = view.members.iter().find(|member| member.name() == name).unwrap();
    Attempt {
        id: format!("{name}{number}"),
        sandbox: "s1".into(),
        number,
        hash: member.hash(),
        image: "i".into(),
        image_id: "sha256:1".into(),
        state,
    }
}

fn push(view: &mut View, name: &str, number: i32, state: AttemptState) {
    let attempt = attempt(view, name, number, state);
    view.containers.get_mut(name).unwrap().attempts.insert(0, attempt);
}

fn runs(view: &mut View, name: &str, number: i32) {
    push(view, name, number, AttemptState::Running { since: at(50) });
}

fn exits(view: &mut View, name: &str, number: i32, code: i32) {
    let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
    let state = AttemptState::Exited {
        started: Some(at(50)),
        finished: at(95),
        code,
        signal: None,
        reason,
        message: String::new(),
    };
    push(view, name, number, state);
}

fn ends(view: &mut View, seconds: i64) {
    view.ending = Some(Ending { deadline: at(100 + seconds), failed: None });
}

/// Actions, waiting reasons and wake-up of a plan, a line each.
fn show(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.actions.iter().map(show_action).collect();
    for (name, waiting) in &plan.waiting {
        lines.push(format!("{name} waits: {} {}", waiting.reason, waiting.message));
    }
    if let Some(wake) = plan.wake {
        lines.push(format!("wake {}", wake.duration_since(at(100)).as_secs_f64()));
    }
    if plan.finished {
        lines.push("finished".into());
    }
    lines.join("\n")
}

fn show_action(action: &Action) -> String {
    match action {
        Action::SetUp => "set up".into(),
        Action::Start { container, number } => format!("start {container} {number}"),
        Action::Cancel { container } => format!("cancel {container}"),
        Action::Stop { id, deadline, why, .. } => {
            format!("stop {id} {why:?} in {}", deadline.duration_since(at(100)).as_secs())
        }
        Action::Remove { id, .. } => format!("remove {id}"),
        Action::Resize { containers, footing } => {
            let names: Vec<&str> = containers.iter().map(|(name, _)| name.as_str()).collect();
            let limits = footing.each_ref().map(|one| one.memory_limit.unwrap_or(0) >> 20);
            format!("resize {} within {limits:?} MiB", names.join(" "))
        }
        Action::TearDown => "tear down".into(),
        Action::Delete => "delete".into(),
        Action::Purge => "purge".into(),
    }
}

fn check(view: &View, expect: Expect) {
    expect.assert_eq(&show(&plan(view)));
}

#[test]
fn a_new_pod_is_set_up_then_started() {
    let mut one = two("Always");
    (one.sandbox, one.setup) = (None, Setup::Needed);
    check(&one, expect!["set up"]);
    one.setup = Setup::Running;
    check(&one, expect![""]);
    one.setup = Setup::Failed(at(103));
    check(&one, expect!["wake 3"]);
    check(
        &two("Always"),
        expect![[r#"
        start a 0
        start b 0"#]],
    );
}

#[test]
fn a_pod_at_rest_has_no_plan() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    runs(&mut one, "b", 0);
    check(&one, expect![""]);
    one.containers.get_mut("b").unwrap().attempts.clear();
    one.containers.get_mut("b").unwrap().work = Some(Work::Starting { cancelled: false });
    check(&one, expect![""]);
}

#[test]
fn init_containers_run_one_by_one_before_the_rest() {
    let spec = json!({"restartPolicy": "Always", "initContainers": [
        {"name": "i1", "image": "i"}, {"name": "side", "image": "i", "restartPolicy": "Always"},
        {"name": "i2", "image": "i"}], "containers": [{"name": "a", "image": "i"}]});
    let mut one = view(spec);
    check(&one, expect!["start i1 0"]);
    runs(&mut one, "i1", 0);
    check(&one, expect![""]);
    one.containers.get_mut("i1").unwrap().attempts.clear();
    exits(&mut one, "i1", 0, 0);
    check(&one, expect!["start side 0"]);
    runs(&mut one, "side", 0);
    one.containers.get_mut("side").unwrap().started = false;
    check(&one, expect![""]);
    one.containers.get_mut("side").unwrap().started = true;
    check(&one, expect!["start i2 0"]);
    exits(&mut one, "i2", 0, 3);
    check(&one, expect!["start i2 1"]);
    exits(&mut one, "i2", 1, 0);
    check(&one, expect!["start a 0"]);
    runs(&mut one, "a", 0);
    exits(&mut one, "side", 1, 1);
    check(&one, expect!["start side 2"]);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut one = view(json!({"restartPolicy": "Never", "initContainers": [{"name": "i1", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}]}));
    exits(&mut one, "i1", 0, 3);
    check(
        &one,
        expect![[r#"
        tear down
        finished"#]],
    );
    assert_eq!(status(&one, &plan(&one)).phase.as_deref(), Some("Failed"));
}

#[test]
fn an_ended_container_waits_for_its_back_off() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    exits(&mut one, "b", 2, 1);
    one.containers.get_mut("b").unwrap().back_off = Duration::from_secs(20);
    check(
        &one,
        expect![[r#"
        b waits: CrashLoopBackOff back-off 20s restarting failed container=b pod=blog_web(u1)
        wake 15"#]],
    );
    one.now = at(115);
    check(&one, expect!["start b 3"]);
}

#[test]
fn policies_decide_what_ends_a_pod() {
    let phase = |policy: &str, a: i32, b: i32| {
        let mut one = two(policy);
        exits(&mut one, "a", 0, a);
        exits(&mut one, "b", 0, b);
        let made = plan(&one);
        (made.finished, status(&one, &made).phase.unwrap())
    };
    assert_eq!(phase("Always", 0, 0), (false, "Running".into()));
    assert_eq!(phase("OnFailure", 0, 0), (true, "Succeeded".into()));
    assert_eq!(phase("OnFailure", 0, 1), (false, "Running".into()));
    assert_eq!(phase("Never", 0, 1), (true, "Failed".into()));
    assert_eq!(phase("Never", 0, 0), (true, "Succeeded".into()));
}

#[test]
fn a_pull_that_failed_is_named_and_tried_again() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    let failure = Failure { reason: "ErrImagePull", message: "no".into(), at: at(100), retry_at: at(110) };
    one.containers.get_mut("b").unwrap().failure = Some(failure);
    check(
        &one,
        expect![[r#"
        b waits: ErrImagePull no
        wake 2"#]],
    );
    one.now = at(102);
    check(
        &one,
        expect![[r#"
        b waits: ImagePullBackOff Back-off pulling image "i": ErrImagePull: no
        wake 10"#]],
    );
    one.now = at(110);
    check(&one, expect!["start b 0"]);
}

#[test]
fn probes_and_changed_images_stop_a_container() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    runs(&mut one, "b", 0);
    one.containers.get_mut("a").unwrap().unhealthy = Some((Why::Liveness, Some(5)));
    one.containers.get_mut("b").unwrap().attempts[0].hash = 1;
    check(
        &one,
        expect![[r#"
        stop a0 Liveness in 5
        stop b0 Changed in 30"#]],
    );
}

#[test]
fn an_ending_pod_stops_sidecars_last_then_gives_everything_back() {
    let spec = json!({"initContainers": [
        {"name": "s1", "image": "i", "restartPolicy": "Always"}, {"name": "s2", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "i"}]});
    let mut one = view(spec);
    for name in ["s1", "s2", "a"] {
        runs(&mut one, name, 0);
    }
    ends(&mut one, 7);
    check(
        &one,
        expect![[r#"
        stop a0 Ending in 7
        finished"#]],
    );
    one.containers.get_mut("a").unwrap().work = Some(Work::Stopping { deadline: at(107) });
    check(&one, expect!["finished"]);
    ends(&mut one, 1);
    check(
        &one,
        expect![[r#"
        stop a0 Ending in 1
        finished"#]],
    );
    one.containers.get_mut("a").unwrap().work = None;
    one.containers.get_mut("a").unwrap().attempts.clear();
    exits(&mut one, "a", 0, 0);
    check(
        &one,
        expect![[r#"
        stop s20 Ending in 1
        finished"#]],
    );
    for name in ["s1", "s2"] {
        one.containers.get_mut(name).unwrap().attempts.clear();
        exits(&mut one, name, 0, 143);
    }
    check(
        &one,
        expect![[r#"
        tear down
        finished"#]],
    );
    one.setup = Setup::Undone;
    check(&one, expect!["finished"]);
    one.removed = true;
    check(
        &one,
        expect![[r#"
        purge
        finished"#]],
    );
}

#[test]
fn a_deleted_pod_is_deleted_when_nothing_is_left() {
    let mut one = two("Always");
    one.containers.get_mut("a").unwrap().work = Some(Work::Starting { cancelled: false });
    ends(&mut one, 30);
    check(
        &one,
        expect![[r#"
        cancel a
        finished"#]],
    );
    one.containers.get_mut("a").unwrap().work = None;
    one.setup = Setup::Undone;
    let mut pod = (*one.pod).clone();
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(130)));
    one.pod = Arc::new(pod);
    check(
        &one,
        expect![[r#"
        delete
        finished"#]],
    );
    one.setup = Setup::Deleted;
    check(&one, expect!["finished"]);
}

#[test]
fn a_lost_sandbox_is_made_again_and_counts_as_a_restart() {
    let mut one = two("Always");
    exits(&mut one, "a", 0, 255);
    exits(&mut one, "b", 4, 255);
    one.sandbox.as_mut().unwrap().ready = false;
    check(&one, expect!["set up"]);
    one.sandbox = Some(Sandbox { id: "s2".into(), ready: true, addresses: Vec::new() });
    check(
        &one,
        expect![[r#"
        start a 1
        start b 5"#]],
    );
    let mut never = two("Never");
    exits(&mut never, "a", 0, 255);
    exits(&mut never, "b", 0, 255);
    never.sandbox.as_mut().unwrap().ready = false;
    check(
        &never,
        expect![[r#"
        tear down
        finished"#]],
    );
}

#[test]
fn old_runs_are_removed_but_one() {
    let mut one = two("Always");
    runs(&mut one, "b", 0);
    for number in 0..3 {
        exits(&mut one, "a", number, 1);
    }
    runs(&mut one, "a", 3);
    check(&one, expect!["remove a1"]);
    push(&mut one, "b", 1, AttemptState::Created);
    one.containers.get_mut("a").unwrap().attempts.truncate(2);
    check(&one, expect!["remove b1"]);
}

#[test]
fn back_off_doubles_and_is_forgotten() {
    let mut back_off = BackOff::default();
    let mut delays = Vec::new();
    let mut now = at(0);
    for _ in 0..7 {
        delays.push(back_off.delay(now).as_secs());
        back_off.next(now);
        now += SignedDuration::from_secs(60);
    }
    assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300]);
    assert_eq!(back_off.delay(now + SignedDuration::from_secs(601)), Duration::ZERO);
    assert_eq!(BackOff::after(2, at(0)).delay(at(5)), Duration::from_secs(20));
    assert_eq!(super::back_off::describe(Duration::from_secs(160)), "2m40s");
}

/// Phase, conditions and containers of a status, a line each.
fn show_status(status: &PodStatus) -> String {
    let mut lines = vec![format!("phase {}", status.phase.as_deref().unwrap_or_default())];
    for one in status.conditions.iter().flatten() {
        let reason = one.reason.as_deref().unwrap_or_default();
        let message = one.message.as_deref().unwrap_or_default();
        lines.push(format!("{}={} {reason} {message}", one.type_, one.status).trim_end().to_owned());
    }
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    lines.extend(all.map(show_container));
    lines.join("\n")
}

fn show_container(status: &ContainerStatus) -> String {
    let state = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| match state {
        Some(state) => match (&state.waiting, &state.running, &state.terminated) {
            (Some(waiting), _, _) => format!("waiting {}", waiting.reason.as_deref().unwrap_or_default()),
            (_, Some(_), _) => "running".to_owned(),
            (_, _, Some(end)) => {
                format!("terminated {} {}", end.reason.as_deref().unwrap_or_default(), end.exit_code)
            }
            _ => "-".to_owned(),
        },
        None => "-".to_owned(),
    };
    let (now, last) = (state(&status.state), state(&status.last_state));
    format!("{} {now} | {last} | ready {} restarts {}", status.name, status.ready, status.restart_count)
}

fn check_status(view: &View, expect: Expect) {
    expect.assert_eq(&show_status(&status(view, &plan(view))));
}

#[test]
fn a_starting_pod_is_pending() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    one.containers.get_mut("a").unwrap().work = Some(Work::Starting { cancelled: false });
    check_status(
        &one,
        expect![[r#"
        phase Pending
        PodReadyToStartContainers=True
        Initialized=True
        Ready=False ContainersNotReady containers with unready status: [a b]
        ContainersReady=False ContainersNotReady containers with unready status: [a b]
        PodScheduled=True
        a waiting ContainerCreating | - | ready false restarts 0
        b waiting ContainerCreating | - | ready false restarts 0"#]],
    );
}

#[test]
fn a_running_pod_is_ready_when_its_containers_are() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    exits(&mut one, "b", 0, 1);
    runs(&mut one, "b", 1);
    one.containers.get_mut("b").unwrap().ready = false;
    check_status(
        &one,
        expect![[r#"
        phase Running
        PodReadyToStartContainers=True
        Initialized=True
        Ready=False ContainersNotReady containers with unready status: [b]
        ContainersReady=False ContainersNotReady containers with unready status: [b]
        PodScheduled=True
        a running | - | ready true restarts 0
        b running | terminated Error 1 | ready false restarts 1"#]],
    );
    one.containers.get_mut("b").unwrap().ready = true;
    let made = status(&one, &plan(&one));
    assert_eq!(made.pod_ip.as_deref(), Some("10.0.0.7"));
    assert_eq!(made.qos_class.as_deref(), Some("BestEffort"));
    assert!(show_status(&made).contains("Ready=True\nContainersReady=True"));
}

#[test]
fn an_initializing_pod_says_so() {
    let mut one =
        view(json!({"initContainers": [{"name": "i1", "image": "i"}, {"name": "i2", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}]}));
    exits(&mut one, "i1", 0, 0);
    runs(&mut one, "i2", 0);
    check_status(
        &one,
        expect![[r#"
        phase Pending
        PodReadyToStartContainers=True
        Initialized=False ContainersNotInitialized containers with incomplete status: [i2]
        Ready=False ContainersNotReady containers with unready status: [a]
        ContainersReady=False ContainersNotReady containers with unready status: [a]
        PodScheduled=True
        i1 terminated Completed 0 | - | ready true restarts 0
        i2 running | - | ready false restarts 0
        a waiting PodInitializing | - | ready false restarts 0"#]],
    );
}

#[test]
fn a_crash_loop_shows_the_last_end() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    exits(&mut one, "b", 2, 1);
    one.containers.get_mut("b").unwrap().back_off = Duration::from_secs(20);
    let text = show_status(&status(&one, &plan(&one)));
    assert!(text.starts_with("phase Running"), "{text}");
    assert!(
        text.ends_with("b waiting CrashLoopBackOff | terminated Error 1 | ready false restarts 2"),
        "{text}"
    );
}

#[test]
fn an_ended_pod_has_a_final_phase() {
    let mut one = two("Always");
    exits(&mut one, "a", 0, 0);
    exits(&mut one, "b", 0, 143);
    ends(&mut one, 0);
    one.setup = Setup::Undone;
    check_status(
        &one,
        expect![[r#"
        phase Failed
        PodReadyToStartContainers=False
        Initialized=True
        Ready=False PodFailed
        ContainersReady=False PodFailed
        PodScheduled=True
        a terminated Completed 0 | - | ready false restarts 0
        b terminated Error 143 | - | ready false restarts 0"#]],
    );
    one.ending = Some(Ending { deadline: at(100), failed: Some(("DeadlineExceeded".into(), "late".into())) });
    let made = status(&one, &plan(&one));
    assert_eq!((made.reason.as_deref(), made.message.as_deref()), (Some("DeadlineExceeded"), Some("late")));
}

#[test]
fn what_was_reported_outlives_the_runtime() {
    let mut one = two("Always");
    let mut pod = (*one.pod).clone();
    pod.status =
        serde_json::from_value(json!({"containerStatuses": [{"name": "a", "image": "i", "imageID": "x",
        "ready": true, "restartCount": 3, "containerID": "gifee://old", "state": {"running": {}}}]}))
        .unwrap();
    one.pod = Arc::new(pod);
    check(
        &one,
        expect![[r#"
        start a 4
        start b 0"#]],
    );
    let made = status(&one, &plan(&one));
    let line = show_container(&made.container_statuses.unwrap()[0]);
    assert_eq!(
        line,
        "a waiting ContainerCreating | terminated ContainerStatusUnknown 137 | ready false restarts 3"
    );
}

#[test]
fn transitions_are_dated() {
    let mut one = two("Always");
    let first = status(&one, &plan(&one));
    let mut pod = (*one.pod).clone();
    pod.status = Some(first);
    one.pod = Arc::new(pod);
    one.now = at(200);
    runs(&mut one, "a", 0);
    runs(&mut one, "b", 0);
    let second = status(&one, &plan(&one));
    let dates: BTreeMap<String, Timestamp> = second
        .conditions
        .into_iter()
        .flatten()
        .map(|one| (one.type_, one.last_transition_time.unwrap().0))
        .collect();
    assert_eq!(dates["Ready"], at(200));
    assert_eq!(dates["Initialized"], at(100));
}

#[test]
fn classes_and_control_groups() {
    let pod = |resources: Value| {
        view(json!({"containers": [{"name": "a", "image": "i", "resources": resources}]})).pod
    };
    let guaranteed = pod(json!({"limits": {"cpu": "500m", "memory": "64Mi"}}));
    let burstable = pod(json!({"requests": {"cpu": "250m", "memory": "1Gi"}}));
    let best_effort = pod(json!({}));
    assert_eq!(qos::cgroup("/kubepods", &guaranteed), "/kubepods/podu1");
    assert_eq!(qos::cgroup("/kubepods", &burstable), "/kubepods/burstable/podu1");
    assert_eq!(qos::cgroup("/kubepods", &best_effort), "/kubepods/besteffort/podu1");
    let made = qos::pod_resources(&guaranteed, None);
    assert_eq!(
        (made.cpu_shares, made.cpu_quota, made.memory_limit),
        (Some(512), Some(50_000), Some(64 << 20))
    );
    let made = qos::pod_resources(&burstable, None);
    assert_eq!((made.cpu_shares, made.cpu_quota, made.memory_limit), (Some(256), None, None));
    let adjust = |pod: &Pod| qos::oom_score_adj(pod, &pod.spec.as_ref().unwrap().containers[0], 4 << 30);
    assert_eq!([adjust(&guaranteed), adjust(&burstable), adjust(&best_effort)], [-997, 750, 1000]);
}

#[test]
fn what_was_made_but_never_started_is_made_again() {
    let mut one = view(
        json!({"initContainers": [{"name": "i", "image": "i"}], "containers": [{"name": "a", "image": "i"}]}),
    );
    push(&mut one, "i", 0, AttemptState::Created);
    check(&one, expect!["remove i0"]);
    one.containers.get_mut("i").unwrap().attempts[0].sandbox = "old".into();
    check(&one, expect!["remove i0"]);
    one.containers.get_mut("i").unwrap().attempts.clear();
    check(&one, expect!["start i 0"]);
}

#[test]
fn rules_of_a_container_come_before_its_policy() {
    let rule =
        |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]);
    let check = |rules: Value, own: &str, code: i32, again: bool| {
        let main = json!({"name": "a", "image": "i", "restartPolicy": own, "restartPolicyRules": rules});
        let mut view = view(json!({"restartPolicy": "Never", "containers": [main]}));
        exits(&mut view, "a", 0, code);
        let plan = plan(&view);
        assert_eq!(plan.finished, !again, "{rules} {own} {code}");
        let phase = status(&view, &plan).phase.unwrap();
        let expect = match code {
            _ if again => "Running",
            0 => "Succeeded",
            _ => "Failed",
        };
        assert_eq!(phase, expect, "{rules} {own} {code}");
    };
    check(rule("In"), "Never", 42, true);
    check(rule("In"), "Never", 1, false);
    check(rule("In"), "Never", 0, false);
    check(rule("In"), "OnFailure", 1, true);
    check(rule("NotIn"), "Never", 42, false);
    check(rule("NotIn"), "Never", 7, true);
    check(json!([]), "OnFailure", 7, true);
    check(json!([]), "OnFailure", 0, false);
}

#[test]
fn an_evicted_pod_says_so() {
    let mut view = two("Always");
    runs(&mut view, "a", 0);
    runs(&mut view, "b", 0);
    let message = "The node was low on resource: memory. ".to_owned();
    view.ending = Some(Ending { deadline: at(101), failed: Some(("Evicted".into(), message.clone())) });
    let plan = plan(&view);
    let status = status(&view, &plan);
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    let conditions = status.conditions.unwrap();
    let target: Vec<_> = conditions.iter().filter(|one| one.type_ == "DisruptionTarget").collect();
    assert_eq!(target.len(), 1);
    assert_eq!((&*target[0].status, target[0].reason.as_deref()), ("True", Some("TerminationByKubelet")));
    assert_eq!(target[0].message, Some(message));
}

/// A running pod whose containers run with these limits of memory while they were given those of the spec.
fn resizing(spec: Value, had: &[(&str, &str)]) -> View {
    let mut one = view(spec);
    for (name, memory) in had {
        runs(&mut one, name, 0);
        let stale = json!({"limits": {"memory": memory}, "requests": {"memory": memory}});
        one.containers.get_mut(*name).unwrap().stale = Some(serde_json::from_value(stale).unwrap());
    }
    one.resizing.generation = Some(2);
    one
}

fn limited(name: &str, memory: &str, policy: &str) -> Value {
    json!({"name": name, "image": "i", "resources": {"limits": {"memory": memory}, "requests": {"memory": memory}},
        "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]})
}

#[test]
fn other_limits_come_into_force_within_those_of_the_pod() {
    let spec =
        json!({"containers": [limited("a", "64Mi", "NotRequired"), limited("b", "16Mi", "NotRequired")]});
    let mut one = resizing(spec, &[("a", "32Mi"), ("b", "32Mi")]);
    check(&one, expect!["resize a b within [96, 80] MiB"]);
    one.resizing.under_way = true;
    check(&one, expect![""]);
    one.resizing.under_way = false;
    one.resizing.failure = Some(("no".into(), at(110)));
    check(&one, expect!["wake 10"]);
    one.resizing.failure = None;
    one.containers.values_mut().for_each(|container| container.stale = None);
    one.resizing.footing = Some(resize::footing(&one, &[]));
    let settled = plan(&one);
    assert!(settled.resized && settled.actions.is_empty());
}

#[test]
fn a_container_that_is_started_again_gets_its_limits_so() {
    let spec = json!({"restartPolicy": "OnFailure",
        "containers": [limited("a", "64Mi", "RestartContainer"), limited("b", "16Mi", "NotRequired")]});
    let mut one = resizing(spec, &[("a", "32Mi")]);
    runs(&mut one, "b", 0);
    one.resizing.footing = Some(resize::footing(&one, &[]));
    check(&one, expect!["stop a0 Resized in 30"]);
    // It ends well, and is started again nevertheless.
    let view = one.containers.get_mut("a").unwrap();
    (view.owed, view.stale) = (true, None);
    exits(&mut one, "a", 0, 0);
    let again = plan(&one);
    assert_eq!(again.actions, [Action::Start { container: "a".into(), number: 1 }]);
    assert!(!again.resized);
    assert_eq!(status(&one, &again).phase.as_deref(), Some("Running"));
    // Nor does it look so while it is started.
    one.containers.get_mut("a").unwrap().work = Some(Work::Starting { cancelled: false });
    for state in [AttemptState::Created, AttemptState::Running { since: at(99) }] {
        push(&mut one, "a", 1, state);
        assert_eq!(status(&one, &plan(&one)).phase.as_deref(), Some("Running"));
        one.containers.get_mut("a").unwrap().attempts.remove(0);
    }
}

#[test]
fn conditions_say_how_far_a_resize_is() {
    let mut one = two("Always");
    runs(&mut one, "a", 0);
    one.resizing.generation = Some(2);
    one.resizing.failure = Some(("too small".into(), at(110)));
    let pending = resize::Pending { reason: "Deferred", message: "later".into(), generation: Some(3) };
    one.resizing.allotment = Arc::new(resize::Allotment { pending: Some(pending), ..Default::default() });
    let plan = plan(&one);
    let conditions = status(&one, &plan).conditions.unwrap_or_default();
    let said: Vec<String> = conditions
        .iter()
        .filter(|one| one.type_.starts_with("PodResize"))
        .map(|one| {
            let (reason, message) = (one.reason.as_deref(), one.message.as_deref());
            format!("{} {reason:?} {message:?} {:?}", one.type_, one.observed_generation)
        })
        .collect();
    assert_eq!(
        said,
        [
            r#"PodResizePending Some("Deferred") Some("later") Some(3)"#,
            r#"PodResizeInProgress Some("Error") Some("too small") Some(2)"#
        ]
    );
}
