//! What would become of a cluster's pods if something changed: answered without touching the cluster.

use crate::{simulate, tree};
use expect_test::{Expect, expect};
use gifee_simulation::Workload;
use serde_json::Value;
use std::path::Path;

/// Three nodes in two zones with room for two pods each, and a Deployment of three replicas with its ReplicaSet and pods.
fn cluster() -> Vec<Value> {
    let mut objects = Vec::new();
    for (name, zone) in [("one", "a"), ("two", "a"), ("three", "b")] {
        objects.push(tree(&format!(
            r#"{{ apiVersion: v1, kind: Node, metadata: {{ name: {name}, uid: u-{name}, labels: {{ topology.kubernetes.io/zone: {zone} }} }},
            status: {{ allocatable: {{ cpu: "2", memory: 4Gi, pods: "10" }}, capacity: {{ cpu: "2", memory: 4Gi, pods: "10" }},
            conditions: [{{ type: Ready, status: "True" }}] }} }}"#
        )));
    }
    let template = r#"metadata: { labels: { app: web, pod-template-hash: x } }, spec: { containers: [{ name: a, image: b, resources: { requests: { cpu: "1" } } }] }"#;
    objects.push(tree(
        r#"{ apiVersion: apps/v1, kind: Deployment, metadata: { name: web, namespace: shop, uid: u-web }, spec: { replicas: 3,
        selector: { matchLabels: { app: web } }, template: { metadata: { labels: { app: web } },
        spec: { containers: [{ name: a, image: b, resources: { requests: { cpu: "1" } } }] } } } }"#,
    ));
    objects.push(tree(&format!(
        r#"{{ apiVersion: apps/v1, kind: ReplicaSet, metadata: {{ name: web-x, namespace: shop, uid: u-set, labels: {{ app: web, pod-template-hash: x }},
        ownerReferences: [{{ apiVersion: apps/v1, kind: Deployment, name: web, uid: u-web, controller: true }}] }},
        spec: {{ replicas: 3, selector: {{ matchLabels: {{ app: web, pod-template-hash: x }} }}, template: {{ {template} }} }} }}"#
    )));
    for (index, node) in ["one", "two", "three"].iter().enumerate() {
        objects.push(tree(&format!(
            r#"{{ apiVersion: v1, kind: Pod, metadata: {{ name: web-x-{index}, namespace: shop, uid: u-pod-{index}, labels: {{ app: web, pod-template-hash: x }},
            ownerReferences: [{{ apiVersion: apps/v1, kind: ReplicaSet, name: web-x, uid: u-set, controller: true }}] }},
            spec: {{ nodeName: {node}, terminationGracePeriodSeconds: 0, containers: [{{ name: a, image: b, resources: {{ requests: {{ cpu: "1" }} }} }}] }} }}"#
        )));
    }
    objects.push(tree("{ apiVersion: v1, kind: Namespace, metadata: { name: shop } }"));
    objects
        .push(tree("{ apiVersion: v1, kind: ServiceAccount, metadata: { name: default, namespace: shop } }"));
    objects
}

/// The answer, its figures left out: what moved in each step, and what has no place at the end.
async fn check(steps: &str, expected: Expect) {
    let workload = Workload::read(tree(steps), Path::new("."), &[]).unwrap();
    let report = simulate(&workload, &cluster()).await.unwrap();
    let text = report.text();
    // Names of pods are drawn, and of two nodes that are alike either may be chosen.
    let told = text
        .lines()
        .filter(|line| line.starts_with('p') || (line.starts_with("  ") && !line.starts_with("   ")));
    let told = told.collect::<Vec<_>>().join("\n") + "\n";
    expected.assert_eq(
        &told.replace("1 now on one", "1 now on either").replace("1 now on two", "1 now on either"),
    );
}

#[tokio::test(start_paused = true)]
async fn what_happens_if_is_answered() {
    check(
        "{ steps: [] }",
        expect![[r#"
        pods: 3 ready, 0 starting, 0 pending, 0 ended
    "#]],
    )
    .await;
    check("{ steps: [{ opcode: failNodes, zone: a }] }", expect![[r#"
          shop/ReplicaSet/web-x: 2 left one, two; 1 now on three; 1 pending: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.
        pods: 2 ready, 0 starting, 1 pending, 0 ended
        pending: 1 × 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.
    "#]]).await;
    check(
        "{ steps: [{ opcode: drain, nodes: [three] }] }",
        expect![[r#"
          shop/ReplicaSet/web-x: 1 left three; 1 now on either
        pods: 3 ready, 0 starting, 0 pending, 0 ended
    "#]],
    )
    .await;
    check(
        "{ steps: [{ opcode: scale, kind: deployment, namespace: shop, name: web, replicas: 7 }, { opcode: createNodes, count: 1, prefix: new-, capacity: { cpu: 1, memory: 1Gi, pods: 5 } }, { opcode: settle }] }",
        expect![[r#"
              shop/ReplicaSet/web-x: 3 now on one, three, two; 1 pending: 0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.
            pods: 7 ready, 0 starting, 0 pending, 0 ended
        "#]],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn jobs_go_on_where_they_were() {
    let mut objects = cluster();
    let template = r#"template: { metadata: { labels: { job-name: work, controller-uid: u-job, batch.kubernetes.io/job-name: work,
        batch.kubernetes.io/controller-uid: u-job } }, spec: { restartPolicy: Never, containers: [{ name: a, image: b }] } }"#;
    let selector = "selector: { matchLabels: { batch.kubernetes.io/controller-uid: u-job } }";
    objects.push(tree(&format!(
        "{{ apiVersion: batch/v1, kind: Job, metadata: {{ name: work, namespace: shop, uid: u-job }}, spec: {{ {selector}, {template} }} }}"
    )));
    objects.push(tree(&format!(
        r#"{{ apiVersion: batch/v1, kind: Job, metadata: {{ name: done, namespace: shop, uid: u-job }}, spec: {{ {selector}, {template} }},
        status: {{ conditions: [{{ type: Complete, status: "True" }}] }} }}"#
    )));
    objects.push(tree(
        r#"{ apiVersion: v1, kind: Pod, metadata: { name: work-x, namespace: shop, finalizers: [batch.kubernetes.io/job-tracking], labels: { job-name: work, controller-uid: u-job,
        batch.kubernetes.io/job-name: work, batch.kubernetes.io/controller-uid: u-job },
        ownerReferences: [{ apiVersion: batch/v1, kind: Job, name: work, uid: u-job, controller: true }] },
        spec: { nodeName: one, restartPolicy: Never, containers: [{ name: a, image: b }] } }"#,
    ));
    let workload = Workload::read(tree("{ steps: [{ opcode: settle }] }"), Path::new("."), &[]).unwrap();
    let text = simulate(&workload, &objects).await.unwrap().text();
    // The pod of the one that runs comes to its end, and is the only one.
    assert!(text.contains("pods: 3 ready, 0 starting, 0 pending, 1 ended"), "{text}");
}
