//! Measures the scheduler without its effects: time of a decision and memory of a placed pod, by the size of
//! the cluster.

use gifee_base::Object;
use gifee_scheduler::{Node, Scheduler, Step, decode};
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counts the bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: both calls go to the system's allocator with what they were given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PODS: usize = 10_000;

fn object(value: &serde_json::Value) -> Object {
    Object::received(value.to_string().into()).expect("an object")
}

fn node(number: usize, pods: usize) -> Node {
    let name = format!("node-{number}");
    let value = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("z{}", number % 3), "all": "one" } },
        "status": { "allocatable": { "cpu": pods.to_string(), "memory": format!("{pods}Gi"), "pods": pods.to_string() } },
    });
    Node::decode(&object(&value)).expect("a node")
}

/// What the pods of each measured shape ask for, beside the same resources.
fn shapes() -> Vec<(&'static str, Value)> {
    let own = json!({ "matchLabels": { "app": "web" } });
    let near = |key: &str| json!({ "topologyKey": key, "labelSelector": own });
    let required = |side: &str, key: &str| json!({ "affinity": { side: { "requiredDuringSchedulingIgnoredDuringExecution": [near(key)] } } });
    let preferred = |side: &str, key: &str| {
        json!({ "affinity": { side: { "preferredDuringSchedulingIgnoredDuringExecution":
            [{ "weight": 10, "podAffinityTerm": near(key) }] } } })
    };
    let spread = |key: &str, action: &str| {
        json!({ "topologySpreadConstraints":
            [{ "maxSkew": 5, "topologyKey": key, "whenUnsatisfiable": action, "labelSelector": own }] })
    };
    let (zone, host) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
    vec![
        ("basic", json!({})),
        ("node selector", json!({ "nodeSelector": { zone: "z1" } })),
        ("affinity by zone", required("podAffinity", zone)),
        ("anti-affinity by node", required("podAntiAffinity", host)),
        ("preferred affinity by node", preferred("podAffinity", host)),
        ("preferred anti-affinity by node", preferred("podAntiAffinity", host)),
        ("spread by zone", spread(zone, "DoNotSchedule")),
        ("spread by node", spread(host, "DoNotSchedule")),
        ("preferred spread by zone", spread(zone, "ScheduleAnyway")),
        ("preferred spread by node", spread(host, "ScheduleAnyway")),
        ("too large", json!({ "overhead": { "cpu": "1M" } })),
    ]
}

fn pod(number: usize, spec: &Value) -> Object {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-7d9c5b8f6d-{number:05}"), "namespace": "shop",
            "uid": format!("00000000-0000-4000-8000-{number:012}"), "labels": { "app": "web" },
        },
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{ "name": "web", "image": "web:1", "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } } }],
            "tolerations": [
                { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
                { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
            ],
        },
        "status": { "phase": "Pending" },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    object(&pod)
}

fn measure(nodes: usize, shape: &str, spec: &Value, count: usize) {
    let now = tokio::time::Instant::now();
    let mut scheduler = Scheduler::new("default-scheduler", 1);
    let room = count * 4 / nodes + 100;
    scheduler.replace_nodes((0..nodes.max(2)).map(|number| node(number, room)).collect(), now);
    scheduler.replace_pods(Vec::new(), now);
    let pods: Vec<Object> = (0..count).map(|number| pod(number, spec)).collect();
    let before = IN_USE.load(Ordering::Relaxed);
    let start = Instant::now();
    for pod in &pods {
        scheduler.pod_changed(decode(pod).expect("a pod"), now);
    }
    let queued = start.elapsed();
    let start = Instant::now();
    let (mut bound, mut refused) = (Vec::with_capacity(count), 0);
    while let Some(step) = scheduler.next(now) {
        match step {
            Step::Bind(binding) => bound.push(binding),
            _ => refused += 1,
        }
        if bound.len() + refused == count {
            break;
        }
    }
    let decided = start.elapsed();
    let placed = bound.len();
    for binding in bound {
        scheduler.bound(&binding.pod);
    }
    let bytes = IN_USE.load(Ordering::Relaxed).saturating_sub(before) / count;
    println!(
        "{nodes:>5} nodes, {shape:<31}: {placed} placed, {:.1} us to queue, {:.1} us to decide ({:.0} a second), {bytes} bytes a pod",
        queued.as_secs_f64() * 1e6 / count as f64,
        decided.as_secs_f64() * 1e6 / count as f64,
        count as f64 / decided.as_secs_f64(),
    );
}

fn main() {
    // Built without optimisation, it only shows that it works.
    let count = if cfg!(debug_assertions) { PODS / 20 } else { PODS };
    for nodes in [1, 10, 100, 1000] {
        measure(nodes, "basic", &json!({}), count);
    }
    for (shape, spec) in shapes() {
        measure(5000, shape, &spec, count);
    }
}
