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

/// Flags with a value that may also stand before the verb, as with kubectl: `-n NAMESPACE get pods`.
const LEADING: &[&str] = &["-n", "--namespace", "--kubeconfig", "--context"];

/// The words with the verb first; flags that stood before it come behind it.
fn verb_first(words: &[String]) -> Vec<String> {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        match word.split_once('=') {
            Some((flag, _)) if LEADING.contains(&flag) => at += 1,
            None if LEADING.contains(&word.as_str()) => at += 2,
            _ => break,
        }
    }
    let (flags, rest) = words.split_at(at.min(words.len()));
    match rest.split_first() {
        Some((verb, rest)) => std::iter::once(verb).chain(flags).chain(rest).cloned().collect(),
        None => words.to_vec(),
    }
}

/// Runs the verb that the words name; None if they name none.
pub fn run(words: &[String]) -> Option<ExitCode> {
    let words = verb_first(words);
    let verb = VERBS.iter().find(|verb| Some(verb.name) == words.first().map(String::as_str))?;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return Some(ExitCode::FAILURE);
        }
    };
    let code = match runtime.block_on((verb.run)(words)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str, expected: &str) {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(verb_first(&words).join(" "), expected);
    }

    #[test]
    fn flags_may_stand_before_the_verb() {
        check("get pods -n a", "get pods -n a");
        check("-n a --context=b get pods", "get -n a --context=b pods");
        check("-n", "-n");
        check("--version", "--version");
        check("-n a", "-n a");
    }
}
