//! The named steps of one test on one cluster: each is reported, and one that fails does not hide the others.

use crate::fixture::Cluster;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

/// Steps on a cluster; may be shared by threads.
pub struct Steps<'a> {
    cluster: &'a Cluster,
    failed: Mutex<Vec<String>>,
}

impl<'a> Steps<'a> {
    /// On a cluster.
    pub fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, failed: Mutex::default() }
    }

    /// Runs one.
    pub fn step(&self, name: &str, body: impl FnOnce()) {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(body));
        let took = begun.elapsed().as_millis();
        if outcome.is_ok() {
            eprintln!("  {}: {name}: ok, {took} ms", self.cluster.subject);
            return;
        }
        eprintln!("  {}: {name}: FAILED after {took} ms\n{}", self.cluster.subject, self.cluster.describe());
        self.failed.lock().unwrap().push(name.to_owned());
    }

    /// Fails the test if a step has failed.
    pub fn end(self) {
        let failed = self.failed.into_inner().unwrap();
        assert!(failed.is_empty(), "{}: these steps failed: {}", self.cluster.subject, failed.join("; "));
    }
}
