//! What the engine costs by itself: requests into `Server::handle`, no connection, a store in memory. Rules,
//! authorization and fairness are those of a cluster.
//!
//! `cargo run --profile quick -p gifee-apiserver --example measure`. CPU time is of the whole process, so it
//! includes what the client does here: next to nothing but making the request. An argument names the only
//! measurement to make.

#[path = "../tests/api/world.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod world;

use gifee_apiserver::Body;
use gifee_apiserver::admission::Rules;
use gifee_policy::User;
use gifee_policy::authorize::Authorizer;
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::World;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn cpu() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.map(Duration::from).unwrap_or_default()
}

fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn pod(index: usize) -> String {
    let env: Vec<_> = (0..12)
        .map(|index| json!({ "name": format!("VARIABLE_{index}"), "value": format!("some value {index}") }))
        .collect();
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("pod-{index:06}"), "labels": { "app": "web", "tier": "front", "index": index.to_string() } },
        "spec": {
            "containers": [{
                "name": "main", "image": "registry.example.com/team/application:1.2.3", "env": env,
                "ports": [{ "containerPort": 8080, "name": "http" }],
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
                "livenessProbe": { "httpGet": { "path": "/healthz", "port": 8080 } },
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        } }).to_string()
}

async fn send(world: &World, user: &Arc<User>, request: Request<Body>) -> usize {
    let response = world.server.handle(Some(user.clone()), request).await;
    assert!(response.status().is_success(), "{}", response.status());
    let mut body = response.into_body();
    let mut total = 0;
    while let Some(Ok(frame)) = body.frame().await {
        total += frame.into_data().map_or(0, |data| data.len());
    }
    total
}

async fn many(
    name: &str,
    world: &Arc<World>,
    clients: usize,
    total: usize,
    make: impl Fn(usize) -> Request<Body> + Send + Sync + Copy + 'static,
) {
    let only = std::env::args().nth(1).unwrap_or_default();
    if !name.contains(&only) {
        return;
    }
    let user = admin();
    let (wall, used) = (Instant::now(), cpu());
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (world, user) = (world.clone(), user.clone());
        tasks.spawn(async move {
            for index in (client..total).step_by(clients) {
                send(&world, &user, make(index)).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("the client runs");
    }
    report(name, total, wall.elapsed(), cpu() - used);
}

#[tokio::main]
async fn main() {
    // As the binary does.
    let _ = nix::sys::prctl::set_thp_disable(true);
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let world = World::with(|config| {
        let authorizer = Arc::new(Authorizer::new());
        config.admission = Arc::new(Rules::new(authorizer.clone()));
        config.authorizer = authorizer;
        config.fairness = true;
    });
    let world = Arc::new(world.await);
    for (path, kind) in
        [("namespaces", "Namespace"), ("namespaces/default/serviceaccounts", "ServiceAccount")]
    {
        let object = json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "default" } });
        let request = Request::post(format!("/api/v1/{path}")).body(object.to_string().into());
        send(&world, &admin(), request.expect("a request")).await;
    }
    println!("idle RSS {} MB; a pod has {} bytes", rss() >> 10, pod(0).len());
    let create = |index: usize| {
        Request::post(PODS)
            .header("content-type", "application/json")
            .body(pod(index).into())
            .expect("a request")
    };
    many("create, 1 client", &world, 1, 2_000, create).await;
    many("create, 128 clients", &world, 128, 10_000, move |index| create(index + 2_000)).await;
    many("get, 128 clients", &world, 128, 300_000, |index| {
        Request::get(format!("{PODS}/pod-{:06}", index % 10_000)).body(Body::empty()).expect("a request")
    })
    .await;
    many("list of 12,000", &world, 1, 10, |_| {
        Request::get("/api/v1/pods").body(Body::empty()).expect("a request")
    })
    .await;
    many("list of 12,000, 8 at once", &world, 8, 16, |_| {
        Request::get("/api/v1/pods").body(Body::empty()).expect("a request")
    })
    .await;
    many("list, selected", &world, 1, 10, |_| {
        Request::get("/api/v1/pods?labelSelector=index%3D7").body(Body::empty()).expect("a request")
    })
    .await;
    many("patch, 128 clients", &world, 128, 10_000, |index| {
        let body = json!({ "metadata": { "annotations": { "at": index.to_string() } } }).to_string();
        Request::patch(format!("{PODS}/pod-{:06}", index % 10_000))
            .header("content-type", "application/merge-patch+json")
            .body(body.into())
            .expect("a request")
    })
    .await;
    let lease = |index: usize, version: &str| {
        json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": format!("l-{}", index % 128), "resourceVersion": version },
            "spec": { "holderIdentity": "me", "leaseDurationSeconds": 40,
                "renewTime": format!("2026-01-01T00:00:00.{index:06}Z") } })
        .to_string()
    };
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let versions: Arc<Vec<AtomicU64>> = Arc::new((0..128).map(|_| AtomicU64::new(0)).collect());
    many("lease create", &world, 1, 128, move |index| {
        Request::post(LEASES).body(lease(index, "").into()).expect("a request")
    })
    .await;
    if std::env::args().nth(1).is_some_and(|only| !"lease".contains(&only)) {
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        version.store(version_of(&world, &format!("{LEASES}/l-{index}")).await, Ordering::Relaxed);
    }
    let (wall, used, total) = (Instant::now(), cpu(), 30_000);
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..128 {
        let (world, versions) = (world.clone(), versions.clone());
        tasks.spawn(async move {
            for index in (client..total).step_by(128) {
                let version = versions[client].load(Ordering::Relaxed).to_string();
                let request = Request::put(format!("{LEASES}/l-{client}"));
                let request =
                    request.body(lease(index / 128 * 128 + client, &version).into()).expect("a request");
                let response = world.server.handle(Some(admin()), request).await;
                let body = response.into_body().collect().await.expect("a body").to_bytes();
                let object = gifee_base::Object::received(body).expect("an object");
                versions[client].store(object.revision(), Ordering::Relaxed);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("the client runs");
    }
    report("lease put, 128 clients", total, wall.elapsed(), cpu() - used);
}

async fn version_of(world: &World, path: &str) -> u64 {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = world.server.handle(Some(admin()), request).await;
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    gifee_base::Object::received(body).expect("an object").revision()
}

fn admin() -> Arc<User> {
    let groups = vec!["system:masters".into(), "system:authenticated".into()];
    Arc::new(User { name: "admin".into(), groups, ..User::default() })
}

fn report(name: &str, total: usize, wall: Duration, used: Duration) {
    println!(
        "{name:28} {:9.0}/s  {:8.2} ms wall  {:7.1} us CPU each  RSS {} MB",
        total as f64 / wall.as_secs_f64(),
        wall.as_secs_f64() * 1e3 / total as f64,
        used.as_secs_f64() * 1e6 / total as f64,
        rss() >> 10
    );
}
