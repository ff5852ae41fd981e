//! Both stores keep the contract, with all history in memory and with nearly all of it read back from the
//! journal.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gifee_store::{Limits, Store, contract, embedded, memory};

/// History in memory for a few events only.
fn forgetful() -> Limits {
    Limits { recent_events: 3, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    contract::run(&|| Arc::new(memory::open())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract_out_of_the_journal() {
    contract::run(&|| Arc::new(memory::Disk::default().open(forgetful()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_keeps_the_contract() {
    embedded_with(Limits::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_keeps_the_contract_out_of_the_journal() {
    embedded_with(forgetful()).await;
}

async fn embedded_with(limits: Limits) {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicUsize::new(0);
    let make = || -> Arc<dyn Store> {
        let path = folder.path().join(number.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(embedded::open(&path, limits).unwrap())
    };
    contract::run(&make).await;
}
