//! The API server driven in-process over a memory store, as its clients drive it over connections.

#![allow(clippy::unwrap_used)]

mod access;
mod aggregation;
mod apply;
mod backend;
mod calls;
mod certificates;
mod conformance;
mod conversions;
mod counts;
mod custom;
mod deletions;
mod fairness;
mod forms;
mod hostile;
mod kinds;
mod lists;
mod objects;
mod operations;
mod outbound;
mod policies;
mod proxies;
mod rules;
mod secure;
mod streams;
mod usage;
mod versions;
mod watches;
mod webhooks;
mod wire;
mod world;
