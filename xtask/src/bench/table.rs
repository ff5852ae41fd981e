//! What is measured: benches, and the figures that each gives, with goal, budget and upstream's figure.
//!
//! Upstream's are kube-apiserver's with etcd on two cores, of Pods that run containerd's with runc and without a kubelet; goals and budgets are the project's own.

use super::measure::{Bed, Outcome};
use super::{api, lists, node, pods, simulate, verbs, watches};
use std::pin::Pin;

/// One figure.
pub struct Row {
    /// Its name, for `--only` and the JSON form.
    pub name: &'static str,
    /// What it says.
    pub title: &'static str,
    /// Unit of its value.
    pub unit: &'static str,
    /// Whether a larger value is the better one.
    pub more: bool,
    /// Where it should be.
    pub goal: f64,
    /// Where upstream is, if it has such a figure.
    pub upstream: Option<f64>,
}

/// What one run gives.
pub type Run<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Outcome>> + 'a>>;

/// A bench: one course of events from which figures are taken.
pub struct Bench {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// Whether it starts containers.
    pub node: bool,
    /// The figures.
    pub rows: &'static [Row],
    /// One run of it.
    pub run: fn(&Bed) -> Run<'_>,
}

const fn less(name: &'static str, title: &'static str, unit: &'static str, goal: f64, upstream: f64) -> Row {
    let upstream = if upstream > 0.0 { Some(upstream) } else { None };
    Row { name, title, unit, more: false, goal, upstream }
}

const fn more(name: &'static str, title: &'static str, goal: f64, upstream: f64) -> Row {
    let upstream = if upstream > 0.0 { Some(upstream) } else { None };
    Row { name, title, unit: "/s", more: true, goal, upstream }
}

/// No figure of upstream.
const NONE: f64 = 0.0;

/// Every bench, in the order of running.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "size",
        node: false,
        rows: &[less("size", "stripped binary", "MB", 60.0, NONE)],
        run: |bed| Box::pin(node::size(bed)),
    },
    Bench {
        name: "server",
        node: false,
        rows: &[
            less("first-pod", "empty folder to first Pod scheduled", "s", 0.3, 3.7),
            less("server-rss", "RSS: control plane idle", "MB", 25.0, 491.0),
        ],
        run: |bed| Box::pin(api::server(bed)),
    },
    Bench {
        name: "create-1",
        node: false,
        rows: &[more("create-1", "Pod create, 1 client", 1_500.0, 377.0)],
        run: |bed| Box::pin(api::create_one(bed)),
    },
    Bench {
        name: "create-16",
        node: false,
        rows: &[more("create-16", "Pod create, 16 clients", 8_000.0, 1_156.0)],
        run: |bed| Box::pin(api::create_sixteen(bed)),
    },
    Bench {
        name: "create-128",
        node: false,
        rows: &[
            more("create-128", "Pod create, 128 clients", 14_000.0, 1_189.0),
            less("create-128-p99", "its p99", "ms", 20.0, 294.0),
            less("create-128-cpu", "its server CPU each", "ms", 0.1, 1.35),
        ],
        run: |bed| Box::pin(api::create_many(bed)),
    },
    Bench {
        name: "get",
        node: false,
        rows: &[
            more("get-1", "Pod get, 1 client", 6_000.0, 823.0),
            more("get-128", "Pod get, 128 clients", 57_000.0, 2_873.0),
        ],
        run: |bed| Box::pin(api::get(bed)),
    },
    Bench {
        name: "lease",
        node: false,
        rows: &[more("lease-128", "Lease put, 128 clients", 16_000.0, 1_672.0)],
        run: |bed| Box::pin(api::leases(bed)),
    },
    Bench {
        name: "list",
        node: false,
        rows: &[
            less("list-time", "list of 10,000 Pods: time", "ms", 45.0, 451.0),
            less("list-cpu", "its server CPU", "ms", 25.0, 518.0),
            less("list-rss", "RSS growth under 8 such lists at once", "MB", 16.0, 637.0),
            less("server-rss-10000", "RSS: control plane with 10,000 Pods", "MB", 80.0, 650.0),
        ],
        run: |bed| Box::pin(lists::list(bed)),
    },
    Bench {
        name: "watch",
        node: false,
        rows: &[
            more("watch-rate", "events to 100 watchers, 1,000 Pods created", 130_000.0, 52_000.0),
            less("watch-p99", "p99 from write to event, 100 writes/s", "ms", 2.0, 11.5),
        ],
        run: |bed| Box::pin(watches::watch(bed)),
    },
    Bench {
        name: "crowd",
        node: false,
        rows: &[
            more("crowd-rate", "events to 1,000 watchers, 200 Pods created", 130_000.0, 55_000.0),
            less("crowd-rss", "RSS growth for 1,000 watchers", "MB", 38.0, NONE),
        ],
        run: |bed| Box::pin(watches::crowd(bed)),
    },
    Bench { name: "forms", node: false, rows: FORMS, run: |bed| Box::pin(lists::forms(bed)) },
    Bench { name: "verbs", node: false, rows: VERBS, run: |bed| Box::pin(verbs::pods(bed)) },
    Bench { name: "custom", node: false, rows: CUSTOM, run: |bed| Box::pin(verbs::custom(bed)) },
    Bench { name: "policy", node: false, rows: POLICY, run: |bed| Box::pin(verbs::policies(bed)) },
    Bench {
        name: "simulate-basic",
        node: false,
        rows: &[
            more("simulate-basic", "bound at 5,000 nodes: pods with requests", 8_000.0, 250.0),
            less("simulate-basic-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| Box::pin(simulate::shape(bed, "basic", ["simulate-basic", "simulate-basic-cpu"])),
    },
    Bench {
        name: "simulate-node-affinity",
        node: false,
        rows: &[
            more("simulate-node-affinity", "bound at 5,000 nodes: node affinity", 7_500.0, 250.0),
            less("simulate-node-affinity-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| {
            Box::pin(simulate::shape(
                bed,
                "node-affinity",
                ["simulate-node-affinity", "simulate-node-affinity-cpu"],
            ))
        },
    },
    Bench {
        name: "simulate-pod-affinity",
        node: false,
        rows: &[
            more("simulate-pod-affinity", "bound at 5,000 nodes: pod affinity", 7_500.0, 250.0),
            less("simulate-pod-affinity-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| {
            Box::pin(simulate::shape(
                bed,
                "pod-affinity",
                ["simulate-pod-affinity", "simulate-pod-affinity-cpu"],
            ))
        },
    },
    Bench {
        name: "simulate-anti-affinity",
        node: false,
        rows: &[
            more("simulate-anti-affinity", "bound at 5,000 nodes: anti-affinity", 3_810.0, 127.0),
            less("simulate-anti-affinity-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| {
            Box::pin(simulate::shape(
                bed,
                "anti-affinity",
                ["simulate-anti-affinity", "simulate-anti-affinity-cpu"],
            ))
        },
    },
    Bench {
        name: "simulate-topology-spread",
        node: false,
        rows: &[
            more("simulate-topology-spread", "bound at 5,000 nodes: topology spread", 3_330.0, 111.0),
            less("simulate-topology-spread-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| {
            Box::pin(simulate::shape(
                bed,
                "topology-spread",
                ["simulate-topology-spread", "simulate-topology-spread-cpu"],
            ))
        },
    },
    Bench {
        name: "simulate-preemption",
        node: false,
        rows: &[
            more("simulate-preemption", "bound at 5,000 nodes: preemption", 7_500.0, 250.0),
            less("simulate-preemption-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| {
            Box::pin(simulate::shape(bed, "preemption", ["simulate-preemption", "simulate-preemption-cpu"]))
        },
    },
    Bench {
        name: "simulate-unschedulable",
        node: false,
        rows: &[
            more(
                "simulate-unschedulable",
                "bound at 5,000 nodes: while unschedulable pods churn",
                7_500.0,
                250.0,
            ),
            less("simulate-unschedulable-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| {
            Box::pin(simulate::shape(
                bed,
                "unschedulable",
                ["simulate-unschedulable", "simulate-unschedulable-cpu"],
            ))
        },
    },
    Bench {
        name: "simulate-mixed",
        node: false,
        rows: &[
            more("simulate-mixed", "bound at 5,000 nodes: among mixed pods", 7_500.0, 250.0),
            less("simulate-mixed-cpu", "its CPU each, all in one process", "ms", 0.2, 8.0),
        ],
        run: |bed| Box::pin(simulate::shape(bed, "mixed", ["simulate-mixed", "simulate-mixed-cpu"])),
    },
    Bench {
        name: "held",
        node: false,
        rows: &[less("held-rss", "RSS: 50,000 nodes and what simulates them", "MB", 2_048.0, NONE)],
        run: |bed| Box::pin(simulate::held(bed)),
    },
    Bench {
        name: "deployments",
        node: false,
        rows: &[
            less("deployment-300", "Deployment to 300 Pods", "s", 0.1, 14.6),
            less("deployment-10000", "Deployment to 10,000 replicas", "s", 5.0, NONE),
            less("namespace-10000", "deleting its namespace", "s", 10.0, NONE),
        ],
        run: |bed| Box::pin(simulate::deployments(bed)),
    },
    Bench {
        name: "rolled",
        node: false,
        rows: &[less("rolled-1000", "1,000 Deployments of 2 rolled at once", "s", 5.0, NONE)],
        run: |bed| Box::pin(simulate::rolled(bed)),
    },
    Bench {
        name: "changes",
        node: false,
        rows: &[less("changes-p99", "p99 from change to observed, 1,000 changes/s", "ms", 50.0, NONE)],
        run: |bed| Box::pin(simulate::changes(bed)),
    },
    Bench {
        name: "up",
        node: true,
        rows: &[
            less("up-first", "up to a Ready node, first time", "s", 5.0, NONE),
            less("up-again", "up to a Ready node, initialised", "s", 2.0, NONE),
            less("idle-rss", "RSS: all in one, idle", "MB", 80.0, NONE),
            less("idle-pss", "its share of shared pages (PSS)", "MB", 80.0, NONE),
            less("idle-cpu", "its CPU over 20 s", "% of a core", 1.0, NONE),
        ],
        run: |bed| Box::pin(node::up(bed)),
    },
    Bench {
        name: "deployment",
        node: true,
        rows: &[
            less("deploy-1", "Deployment of 1, applied to Running", "ms", 500.0, NONE),
            less("scale-50", "scaled from 1 to 50, all Ready", "s", 10.0, NONE),
        ],
        run: |bed| Box::pin(node::deployment_scaled(bed)),
    },
    Bench {
        name: "pods",
        node: true,
        rows: &[
            less("pod-p50", "Pod created to Running seen by a watcher, one by one", "ms", 30.0, 180.0),
            less("pod-p99", "its p99", "ms", 50.0, NONE),
            less("stop-p50", "Pod deleted to gone, its program ends at once", "ms", 30.0, NONE),
            more("pods-parallel", "Pods started at once, to Running", 150.0, 10.9),
            less("pods-500", "500 Pods of a Deployment all Ready", "s", 20.0, NONE),
            less("pods-500-rss", "RSS: all in one with them", "MB", 100.0, NONE),
            less("shim-private", "private memory for each Pod beside its own", "MB", 0.5, 13.0),
        ],
        run: |bed| Box::pin(pods::pods(bed)),
    },
    Bench {
        name: "streams",
        node: true,
        rows: &[
            more("log-rate", "MB written to a log", 100.0, NONE),
            more("import-rate", "MB of an image's root file system imported", 300.0, NONE),
        ],
        run: |bed| Box::pin(pods::streams(bed)),
    },
];

/// Lists in every form. Goals are those of a list in JSON, in the proportion of the bytes; of upstream only that in
/// JSON is known.
const FORMS: &[Row] = &[
    less("forms-json", "list of 10,000, JSON: time", "ms", 45.0, 451.0),
    less("forms-json-cpu", "its server CPU", "ms", 25.0, 518.0),
    less("forms-protobuf", "the same in protobuf: time", "ms", 45.0, NONE),
    less("forms-protobuf-cpu", "its server CPU", "ms", 25.0, NONE),
    less("forms-table", "the same as a Table: time", "ms", 45.0, NONE),
    less("forms-table-cpu", "its server CPU", "ms", 25.0, NONE),
    less("forms-metadata", "the same, metadata only: time", "ms", 45.0, NONE),
    less("forms-metadata-cpu", "its server CPU", "ms", 25.0, NONE),
    less("forms-100000-json", "list of 100,000, JSON: time", "ms", 450.0, NONE),
    less("forms-100000-json-cpu", "its server CPU", "ms", 250.0, NONE),
    less("forms-100000-protobuf", "the same in protobuf: time", "ms", 450.0, NONE),
    less("forms-100000-protobuf-cpu", "its server CPU", "ms", 250.0, NONE),
    less("forms-100000-table", "the same as a Table: time", "ms", 450.0, NONE),
    less("forms-100000-table-cpu", "its server CPU", "ms", 250.0, NONE),
    less("forms-100000-metadata", "the same, metadata only: time", "ms", 450.0, NONE),
    less("forms-100000-metadata-cpu", "its server CPU", "ms", 250.0, NONE),
    less("forms-rss-100000", "RSS: control plane with 100,000 Pods", "MB", 600.0, NONE),
];

/// Changes of Pods.
const VERBS: &[Row] = &[
    more("put-1", "Pod update, 1 client", 1_500.0, NONE),
    more("put-16", "Pod update, 16 clients", 8_000.0, NONE),
    more("put-128", "Pod update, 128 clients", 14_000.0, NONE),
    less("put-128-p50", "its median", "ms", 10.0, NONE),
    less("put-128-p99", "its p99", "ms", 20.0, NONE),
    more("status-1", "Pod status patch, 1 client", 1_500.0, NONE),
    more("status-16", "Pod status patch, 16 clients", 8_000.0, NONE),
    more("status-128", "Pod status patch, 128 clients", 14_000.0, NONE),
    less("status-128-p50", "its median", "ms", 10.0, NONE),
    less("status-128-p99", "its p99", "ms", 20.0, NONE),
    more("apply-1", "Pod apply, server-side, 1 client", 1_500.0, NONE),
    more("apply-16", "Pod apply, server-side, 16 clients", 8_000.0, NONE),
    more("apply-128", "Pod apply, server-side, 128 clients", 14_000.0, NONE),
    less("apply-128-p50", "its median", "ms", 10.0, NONE),
    less("apply-128-p99", "its p99", "ms", 20.0, NONE),
];

/// Custom resources, held to the goals of built-in kinds. Upstream's figures are those of its generic server.
const CUSTOM: &[Row] = &[
    more("custom-create-1", "Widget create, 1 client", 1_500.0, 305.0),
    more("custom-create-16", "Widget create, 16 clients", 8_000.0, 501.0),
    more("custom-create-128", "Widget create, 128 clients", 14_000.0, 569.0),
    less("custom-create-128-p50", "its median", "ms", 10.0, NONE),
    less("custom-create-128-p99", "its p99", "ms", 20.0, NONE),
    less("custom-rss-10000", "RSS growth for 10,000 Widgets", "MB", 50.0, NONE),
    more("custom-get-1", "Widget get, 1 client", 6_000.0, NONE),
    more("custom-get-16", "Widget get, 16 clients", 40_000.0, NONE),
    more("custom-get-128", "Widget get, 128 clients", 57_000.0, 1_668.0),
    less("custom-get-128-p50", "its median", "ms", 10.0, NONE),
    less("custom-get-128-p99", "its p99", "ms", 20.0, NONE),
    more("custom-put-1", "Widget update, 1 client", 1_500.0, NONE),
    more("custom-put-16", "Widget update, 16 clients", 8_000.0, NONE),
    more("custom-put-128", "Widget update, 128 clients", 14_000.0, 522.0),
    less("custom-put-128-p50", "its median", "ms", 10.0, NONE),
    less("custom-put-128-p99", "its p99", "ms", 20.0, NONE),
    more("custom-status-1", "Widget status patch, 1 client", 1_500.0, NONE),
    more("custom-status-16", "Widget status patch, 16 clients", 8_000.0, NONE),
    more("custom-status-128", "Widget status patch, 128 clients", 14_000.0, NONE),
    less("custom-status-128-p50", "its median", "ms", 10.0, NONE),
    less("custom-status-128-p99", "its p99", "ms", 20.0, NONE),
    more("custom-apply-1", "Widget apply, server-side, 1 client", 1_500.0, NONE),
    more("custom-apply-16", "Widget apply, server-side, 16 clients", 8_000.0, NONE),
    more("custom-apply-128", "Widget apply, server-side, 128 clients", 14_000.0, NONE),
    less("custom-apply-128-p50", "its median", "ms", 10.0, NONE),
    less("custom-apply-128-p99", "its p99", "ms", 20.0, NONE),
];

/// Creates that a validating policy accepts: not more than a tenth slower than without.
const POLICY: &[Row] = &[
    more("policy-create-1", "Pod create under a policy, 1 client", 1_350.0, NONE),
    more("policy-create-16", "the same, 16 clients", 7_200.0, NONE),
    more("policy-create-128", "the same, 128 clients", 12_600.0, NONE),
    more("policy-custom-1", "Widget create under a policy, 1 client", 1_350.0, NONE),
    more("policy-custom-16", "the same, 16 clients", 7_200.0, NONE),
    more("policy-custom-128", "the same, 128 clients", 12_600.0, NONE),
];
