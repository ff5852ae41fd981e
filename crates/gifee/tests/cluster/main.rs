//! Whole clusters: the real binary brings them up with real containers, and kubectl of three ages drives them as a
//! person would.
//!
//! Invariant: every cluster has a data directory, ports and networks of its own and takes all of it away at its end,
//! so that the tests run side by side, beside other clusters, and again. Conditions are watched for, with a deadline;
//! nothing sleeps in the hope that something will have happened.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod blog;
mod clients;
mod commands;
mod conformance;
mod crash;
mod disk;
mod elections;
mod first;
mod fixture;
mod guestbook;
mod http;
mod jobs;
mod leftovers;
mod mixed;
mod mounts;
mod pods;
mod quotas;
mod refusals;
mod run;
mod sets;
mod shell;
mod steps;
mod streams;
mod usage;
mod volumes;
