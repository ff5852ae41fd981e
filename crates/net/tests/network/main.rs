//! The network against a real kernel: every test has a host of its own, a fresh network namespace with
//! pods and an outside world as further namespaces. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod dns;
mod harness;
mod pods;
mod run;
mod services;
