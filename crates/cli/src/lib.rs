//! The API client's command line: kubectl's everyday verbs, for machines that have nothing else.
//!
//! Invariant: untyped. What a table shows, what a resource is called and what is valid all come from the server.

mod manifest;
mod print;
mod resource;
mod session;
pub mod verbs;

pub use verbs::{VERBS, Verb};

use std::process::ExitCode;

/// Runs the verb that the first word names; None if it names none.
pub fn run(words: &[String]) -> Option<ExitCode> {
    let verb = VERBS.iter().find(|verb| Some(verb.name) == words.first().map(String::as_str))?;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Some(ExitCode::FAILURE);
        }
    };
    let code = match runtime.block_on((verb.run)(words.to_vec())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", session::describe(&error));
            ExitCode::FAILURE
        }
    };
    // Standard input is read by a thread that cannot be stopped: the process ends without it.
    runtime.shutdown_background();
    Some(code)
}
