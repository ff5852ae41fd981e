//! The contract on both stores, a model of them, and what crashes and failing disks leave.

#![allow(clippy::unwrap_used)]

mod contract;
mod crash;
mod disk;
mod model;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use gifee_store::{Engine, Error, Limits, embedded};

/// Opens a store that was open before. A child that another test starts at this moment holds every descriptor, the
/// lock's among them, until it executes its program: that passes.
fn open(folder: &Path, limits: Limits) -> Engine {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match embedded::open(folder, limits) {
            Err(Error::Locked { .. }) if Instant::now() < deadline => thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}
