//! Flows against one another, without a server around them.

use super::*;
use crate::info;
use http::Method;
use serde_json::{Value, json};

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..User::default()
    }
}

fn info(path: &str) -> RequestInfo<'_> {
    info::parse(&Method::GET, path, &Query::default())
}

fn complete(seats: usize, wait: Duration) -> Fairness {
    let fairness = Fairness::new(seats, wait);
    fairness.adopt(&objects::schemas(), &objects::levels());
    fairness
}

/// One level of `seats` in which everybody is, flows by user.
fn single(seats: usize, wait: Duration, queues: u32, length: u32) -> Fairness {
    let level = json!({ "metadata": { "name": "one", "uid": "level-uid" }, "spec": { "type": "Limited", "limited": {
        "nominalConcurrencyShares": 1_000_000, "limitResponse": { "type": "Queue",
            "queuing": { "queues": queues, "handSize": 2, "queueLengthLimit": length } } } } });
    let schema = json!({ "metadata": { "name": "all", "uid": "flow-uid" }, "spec": {
        "priorityLevelConfiguration": { "name": "one" }, "matchingPrecedence": 1, "distinguisherMethod": { "type": "ByUser" },
        "rules": [{ "subjects": [{ "kind": "Group", "group": { "name": "*" } }],
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true }] }] } });
    let fairness = Fairness::new(seats, wait);
    fairness.adopt(&[schema], &[level]);
    fairness
}

#[test]
fn the_privileged_are_exempt_before_anything_says_so() {
    let fairness = Fairness::new(600, Duration::ZERO);
    let flow = |name: &str, groups: &[&str]| {
        let (flow, _) = fairness.plan.load().classify(&user(name, groups), &info("/api/v1/pods"));
        flow.name.to_string()
    };
    for levels in [Vec::new(), objects::levels()] {
        fairness.adopt(&[], &levels);
        assert_eq!(flow("admin", &["system:masters", "system:authenticated"]), "exempt");
        assert_eq!(flow("somebody", &["system:authenticated"]), "catch-all");
    }
}

#[test]
fn requests_belong_to_the_flows_that_upstream_says() {
    let fairness = complete(600, Duration::ZERO);
    let pods = "/api/v1/namespaces/default/pods";
    let known = "system:authenticated";
    for (name, groups, path, expect) in [
        ("admin", vec!["system:masters", known], pods, "exempt"),
        ("somebody", vec![known], pods, "global-default"),
        ("system:anonymous", vec!["system:unauthenticated"], "/livez", "probes"),
        ("system:anonymous", vec!["system:unauthenticated"], "/version", "global-default"),
        ("system:node:a", vec!["system:nodes", known], "/api/v1/nodes/a/status", "system-node-high"),
        ("system:node:a", vec!["system:nodes", known], pods, "system-nodes"),
        ("system:kube-scheduler", vec![known], pods, "kube-scheduler"),
        (
            "system:kube-scheduler",
            vec![known],
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x",
            "system-leader-election",
        ),
        (
            "system:serviceaccount:kube-system:x",
            vec!["system:serviceaccounts", known],
            pods,
            "kube-system-service-accounts",
        ),
        ("system:serviceaccount:default:x", vec!["system:serviceaccounts", known], pods, "service-accounts"),
        ("nobody", vec![], pods, "catch-all"),
    ] {
        let (flow, _) = fairness.plan.load().classify(&user(name, &groups), &info(path));
        assert_eq!(&*flow.name, expect, "{name} {path}");
    }
    let (user, path) = (user("somebody", &[known]), info(pods));
    let plan = fairness.plan.load();
    let hash = |name: &str| plan.classify(&User { name: name.into(), ..user.clone() }, &path).1;
    assert_ne!(hash("a"), hash("b"));
    assert_eq!(hash("a"), hash("a"));
}

#[tokio::test]
async fn a_greedy_flow_does_not_starve_a_meek_one() {
    let fairness = Arc::new(single(4, Duration::from_secs(60), 64, 1_000));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    let mut send = |name: &'static str, count: usize| {
        for _ in 0..count {
            let (fairness, order) = (fairness.clone(), order.clone());
            tasks.spawn(async move {
                let standing =
                    fairness.enter(&user(name, &[]), &info("/api/v1/pods"), Work::ONE, || ()).await;
                assert!(standing.refusal().is_none());
                tokio::time::sleep(Duration::from_millis(2)).await;
                order.lock().push(name);
            });
        }
    };
    send("greedy", 400);
    tokio::task::yield_now().await;
    send("meek", 10);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let order = order.lock();
    let last = order.iter().rposition(|name| *name == "meek").unwrap();
    assert!(last < 60, "the meek ones were done by {last} of {}", order.len());
}

#[tokio::test]
async fn who_does_not_fit_waits_is_shed_or_goes() {
    let fairness = single(2, Duration::from_millis(50), 2, 1);
    let somebody = user("somebody", &[]);
    let first = fairness.enter(&somebody, &info("/api/v1/pods"), Work::ONE, || ()).await;
    let second = fairness.enter(&somebody, &info("/api/v1/pods"), Work::ONE, || ()).await;
    assert!(first.refusal().is_none() && second.refusal().is_none());
    // Two queues of one each: both fill, and the third is shed at once.
    let (path, started) = (info("/api/v1/pods"), std::time::Instant::now());
    let enter = || fairness.enter(&somebody, &path, Work::ONE, || ());
    let (third, fourth, fifth) = tokio::join!(enter(), enter(), enter());
    let refused: Vec<_> =
        [&third, &fourth, &fifth].iter().map(|one| one.seat.as_ref().err().copied()).collect();
    assert_eq!(refused, [Some(Refusal::TimeOut), Some(Refusal::TimeOut), Some(Refusal::QueueFull)]);
    assert!(started.elapsed() >= Duration::from_millis(50));
    let refusal = fifth.refusal().unwrap();
    assert_eq!(
        (refusal.status().as_u16(), &refusal.headers()["retry-after"]),
        (429, &HeaderValue::from_static("1"))
    );
    let mut headers = HeaderMap::new();
    fifth.mark(&mut headers);
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], "flow-uid");
    assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], "level-uid");
    // One who leaves makes room, and what is given back goes to who waits.
    drop(tokio::time::timeout(Duration::from_millis(5), enter()).await);
    let (waited, ()) = tokio::join!(enter(), async { drop(first) });
    assert!(waited.refusal().is_none());
    let level = &fairness.plan.load().levels["one"];
    drop((waited, second));
    let look = level.look();
    assert_eq!((look.executing, look.waiting), (0, 0));
    assert_eq!((look.counts.timed_out, look.counts.rejected, look.counts.cancelled), (2, 1, 1));
}

#[tokio::test]
async fn levels_keep_who_is_in_them_when_objects_change() {
    let fairness = complete(600, Duration::ZERO);
    let standing = fairness
        .enter(
            &user("somebody", &["system:authenticated"]),
            &info("/api/v1/pods"),
            Work { width: 3, watchers: None },
            || (),
        )
        .await;
    let mut levels = objects::levels();
    let default = levels.iter_mut().find(|level| level["metadata"]["name"] == "global-default").unwrap();
    default["spec"]["limited"]["nominalConcurrencyShares"] = json!(1);
    fairness.adopt(&objects::schemas(), &levels);
    assert_eq!(fairness.plan.load().levels["global-default"].look().executing, 1);
    drop(standing);
    assert_eq!(fairness.plan.load().levels["global-default"].look().executing, 0);
    // A schema whose level is gone matches nothing: what is left takes its requests.
    let without: Vec<Value> =
        levels.into_iter().filter(|level| level["metadata"]["name"] != "global-default").collect();
    fairness.adopt(&objects::schemas(), &without);
    let (flow, _) =
        fairness.plan.load().classify(&user("somebody", &["system:authenticated"]), &info("/api/v1/pods"));
    assert_eq!(&*flow.name, "catch-all");
}

#[tokio::test]
async fn seats_are_borrowed_and_given_back() {
    let fairness = complete(100, Duration::ZERO);
    let busy = user("system:serviceaccount:default:x", &["system:serviceaccounts", "system:authenticated"]);
    let path = info("/api/v1/namespaces/default/pods");
    let mut standing = Vec::new();
    let seated = async |standing: &mut Vec<Standing>| {
        for _ in 0..100 {
            standing.push(fairness.enter(&busy, &path, Work::ONE, || ()).await);
        }
        standing.iter().filter(|one| one.refusal().is_none()).count()
    };
    let own = seated(&mut standing).await;
    standing.retain(|one| one.refusal().is_none());
    fairness.allot();
    let more = seated(&mut standing).await;
    assert!(own < 50 && more > own + 10, "{own} {more}");
    standing.clear();
    for _ in 0..200 {
        fairness.allot();
    }
    assert_eq!(seated(&mut standing).await, own);
}

#[tokio::test]
async fn a_write_that_many_watch_keeps_its_seats_until_they_are_told() {
    for (watchers, most, expect) in [
        (9, 100, (1, 0)),
        (10, 100, (1, 5)),
        (95, 100, (10, 5)),
        (1_000, 100, (10, 50)),
        (1_000, 4, (4, 125)),
    ] {
        let (width, stays) = Work { width: 1, watchers: Some(watchers) }.seats(most);
        assert_eq!((width, stays.as_millis()), expect, "{watchers} {most}");
    }
    let fairness = single(100, Duration::ZERO, 2, 1);
    let level = fairness.plan.load().levels["one"].clone();
    let work = Work { width: 1, watchers: Some(1_000) };
    let standing = fairness.enter(&user("somebody", &[]), &info("/api/v1/pods"), work, || ()).await;
    assert_eq!(level.look().executing, 1);
    drop(standing);
    let dropped = std::time::Instant::now();
    while level.look().executing > 0 {
        assert!(dropped.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(dropped.elapsed() >= Duration::from_millis(50));
    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    fairness.meter.register(&mut registry);
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let bucket = r#"watch_count_samples_bucket{le="1000.0",priority_level="one",flow_schema="all"} 1"#;
    assert!(text.contains(bucket), "{text}");
}

#[tokio::test]
async fn who_waits_says_what_it_is() {
    let fairness = Arc::new(single(1, Duration::from_secs(60), 2, 5));
    let first = fairness.enter(&user("first", &[]), &info("/api/v1/pods"), Work::ONE, || ()).await;
    let waits = {
        let fairness = fairness.clone();
        tokio::spawn(async move {
            let path = info("/apis/apps/v1/namespaces/a/deployments/b/scale");
            drop(fairness.enter(&user("second", &[]), &path, Work::ONE, || ()).await);
        })
    };
    let level = fairness.plan.load().levels["one"].clone();
    while level.look().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let waiting: Vec<_> = level.look().queues.into_iter().flat_map(|queue| queue.waiting).collect();
    let details = &waiting[0].details;
    assert_eq!((&*waiting[0].flow, &*details.distinguisher), ("all", "second"));
    let expect = [
        "second",
        "get",
        "/apis/apps/v1/namespaces/a/deployments/b/scale",
        "a",
        "b",
        "apps/v1",
        "deployments",
        "scale",
    ];
    assert_eq!(details.request.each_ref().map(|one| &**one), expect);
    drop(first);
    waits.await.unwrap();
}

#[test]
fn a_free_seat_costs_less_than_a_microsecond() {
    let fairness = complete(600, Duration::ZERO);
    let somebody = user(
        "system:serviceaccount:default:x",
        &["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
    );
    let path = info("/api/v1/namespaces/default/pods/x");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let started = std::time::Instant::now();
    const TIMES: u32 = 20_000;
    runtime.block_on(async {
        for _ in 0..TIMES {
            drop(fairness.enter(&somebody, &path, Work::ONE, || ()).await);
        }
    });
    let each = started.elapsed() / TIMES;
    // Without optimisation it is ten times as slow.
    let limit = if cfg!(debug_assertions) { 50_000 } else { 1_000 };
    assert!(each.as_nanos() < limit, "{each:?}");
    eprintln!("a free seat costs {each:?}");
}
