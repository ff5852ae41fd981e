//! Every operation does what it says.

use crate::run;
use gifee_simulation::operations::OPERATIONS;
use gifee_simulation::{Report, Workload};
use std::path::Path;
use std::sync::Mutex;

/// Nodes that start pods at once, and an empty namespace.
const NODES: &str = "nodes: { startSeconds: 0.001, runSeconds: 0.01 }\nsteps:\n- { opcode: createNodes, count: 3, zones: [a, b, c] }\n";
const WEB: &str = r#"{ opcode: createAny, namespace: web, template: { apiVersion: apps/v1, kind: Deployment,
    metadata: { name: "web-{{.Index}}" }, spec: { replicas: 3, selector: { matchLabels: { app: web } },
    template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: a, image: b }] } } } } }"#;

static COVERED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs these steps after [`NODES`]; the counts of the steps and the pods at the end.
async fn check(steps: &str, expected: &str) -> Report {
    let report = run(&format!("{NODES}{steps}")).await.unwrap();
    let counts: Vec<String> =
        report.steps[1..].iter().map(|step| format!("{} {}", step.opcode, step.count)).collect();
    let pods = report.pods;
    let told = format!(
        "{}; {} ready, {} pending, {} ended",
        counts.join(", "),
        pods.ready,
        pods.pending,
        pods.ended
    );
    assert_eq!(told, expected, "{}", report.text());
    COVERED.lock().unwrap().extend(report.steps.iter().map(|step| step.opcode.clone()));
    report
}

#[tokio::test(start_paused = true)]
async fn operations_do_what_they_say() {
    let report = check(
        "- { opcode: createPods, count: 5, stage: Ready }",
        "createPods 5; 5 ready, 0 pending, 0 ended",
    )
    .await;
    assert!(report.steps[1].latencies.contains_key("bound") && report.steps[1].per_second > 0.0);
    check(
        "- { opcode: createPods, count: 2, template: { spec: { containers: [{ name: a, image: b, resources: { requests: { cpu: 9 } } }] } } }",
        "createPods 0; 0 ready, 2 pending, 0 ended",
    )
    .await;
    check(
        "- { opcode: createPods, count: 2, template: { spec: { restartPolicy: Never, containers: [{ name: a, image: b }] } } }\n- { opcode: settle }\n- { opcode: barrier, stage: Ready }\n- { opcode: sleep, seconds: 0.3 }",
        "createPods 2, settle 2, barrier 2, sleep 0; 0 ready, 0 pending, 2 ended",
    )
    .await;
    check(
        &format!("- {WEB}\n- {{ opcode: rollout, namespace: web }}\n- {{ opcode: changes, namespace: web, perSecond: 20, seconds: 1 }}\n- {{ opcode: scale, kind: deploy, namespace: web, name: web-0, replicas: 1 }}\n- {{ opcode: rollout, namespace: web }}\n- {{ opcode: settle }}"),
        "createAny 1, rollout 1, changes 20, scale 1, rollout 1, settle 1; 1 ready, 0 pending, 0 ended",
    )
    .await;
    check(
        &format!("- {WEB}\n- {{ opcode: rollout, namespace: web }}\n- {{ opcode: patch, kind: deployment, namespace: web, patch: {{ spec: {{ template: {{ metadata: {{ annotations: {{ a: b }} }} }} }} }} }}\n- {{ opcode: rollout, namespace: web }}\n- {{ opcode: delete, kind: namespace, name: web }}"),
        "createAny 1, rollout 1, patch 1, rollout 1, delete 1; 0 ready, 0 pending, 0 ended",
    )
    .await;
    check(
        &format!("- {WEB}\n- {{ opcode: rollout, namespace: web }}\n- {{ opcode: drain, nodes: [node-0] }}\n- {{ opcode: failNodes, zone: b }}\n- {{ opcode: settle }}\n- {{ opcode: rollout, namespace: web }}"),
        "createAny 1, rollout 1, drain 1, failNodes 1, settle 3, rollout 1; 3 ready, 0 pending, 0 ended",
    )
    .await;
    check(
        "- { opcode: createNamespaces, prefix: many, count: 2 }\n- { opcode: churn, mode: create, number: 3, intervalMilliseconds: 1, namespace: many-0, templates: [{ apiVersion: v1, kind: Pod, spec: { containers: [{ name: a, image: b }] } }] }\n- { opcode: createPods, count: 1 }\n- { opcode: sleep, seconds: 0.5 }\n- { opcode: settle }\n- { opcode: apply, objects: [{ apiVersion: v1, kind: ConfigMap, metadata: { name: a } }] }",
        "createNamespaces 2, churn 0, createPods 1, sleep 0, settle 4, apply 1; 4 ready, 0 pending, 0 ended",
    )
    .await;
    let covered = COVERED.lock().unwrap();
    let missing: Vec<&str> = OPERATIONS
        .iter()
        .map(|one| one.opcode)
        .filter(|one| !covered.iter().any(|seen| seen == one))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "operations without a test");
}

/// The workloads of the bench can be read, and do at a small size what they are for.
#[tokio::test(start_paused = true)]
async fn workloads_run_at_a_small_size() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let small = [
            ("nodes", 6),
            ("initial", 6),
            ("pods", 3),
            ("deployments", 3),
            ("small", 3),
            ("large", 6),
            ("rate", 20),
            ("seconds", 1),
        ];
        let mut overrides = Vec::new();
        for (name, value) in small {
            let one = (name.to_owned(), value.into());
            if Workload::load(&path, std::slice::from_ref(&one)).is_ok() {
                overrides.push(one);
            }
        }
        let workload = Workload::load(&path, &overrides).unwrap();
        let report = crate::simulate(&workload, &[])
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let unplaced = report.pending.iter().map(|reason| reason.pods.len()).sum::<usize>();
        assert_eq!(unplaced, report.pods.pending);
        assert!(
            report.steps.iter().all(|step| step.notes.is_empty()),
            "{}: {}",
            path.display(),
            report.text()
        );
    }
}
