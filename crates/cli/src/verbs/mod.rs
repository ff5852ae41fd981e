//! VERBS: one file and one row each.

mod apply;
mod create;
mod delete;
mod exec;
mod expose;
mod get;
mod logs;
mod run;
mod scale;

use anyhow::Result;
use clap::Parser;
use futures_util::future::LocalBoxFuture;
use std::process::ExitCode;

/// A verb of the command line.
pub struct Verb {
    /// First word.
    pub name: &'static str,
    /// One line for the list of verbs.
    pub about: &'static str,
    /// Runs it; the words begin with the verb's own.
    pub run: fn(Vec<String>) -> LocalBoxFuture<'static, Result<ExitCode>>,
}

/// All verbs.
pub const VERBS: &[Verb] = &[
    Verb { name: "get", about: "List objects, or show some", run: |words| Box::pin(get::run(words)) },
    Verb { name: "apply", about: "Make objects be as files say", run: |words| Box::pin(apply::run(words)) },
    Verb { name: "create", about: "Create objects from files", run: |words| Box::pin(create::run(words)) },
    Verb {
        name: "delete",
        about: "Delete objects by name, label or file",
        run: |words| Box::pin(delete::run(words)),
    },
    Verb { name: "logs", about: "Print what a container writes", run: |words| Box::pin(logs::run(words)) },
    Verb { name: "exec", about: "Run a command in a container", run: |words| Box::pin(exec::run(words)) },
    Verb { name: "run", about: "Run an image in a pod", run: |words| Box::pin(run::run(words)) },
    Verb {
        name: "expose",
        about: "Make a Service for a workload",
        run: |words| Box::pin(expose::run(words)),
    },
    Verb { name: "scale", about: "Set the number of copies", run: |words| Box::pin(scale::run(words)) },
];

/// Reads a verb's flags; prints help or what is wrong and ends the process if there are none to read.
fn parse<P: Parser>(words: Vec<String>) -> P {
    P::parse_from(words)
}
