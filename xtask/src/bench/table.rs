//! What is measured: benches, and the figures that each gives, with goal, budget and upstream's figure.
//!
//! Upstream's are kube-apiserver's with etcd on two cores; goals and budgets are the project's own.

use super::measure::{Bed, Outcome};
use super::{api, lists, node, watches};
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
    Row { name, title, unit: "/s", more: true, goal, upstream: Some(upstream) }
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
];
