//! The contract on both stores, a model of them, and what crashes and failing disks leave.

#![allow(clippy::unwrap_used)]

mod contract;
mod crash;
mod disk;
mod model;
