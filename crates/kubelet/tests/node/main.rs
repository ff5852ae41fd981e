//! A whole node against an API server in memory: real containers, real network, as root.
//!
//! Its own harness, because the test's executable is also the shim that holds containers. Everything happens in a
//! network namespace of its own, so that nothing can be left in the machine's.

#![expect(clippy::unwrap_used, reason = "without libtest this is a program to the linter, but it is a test")]

mod admission;
mod agent;
mod figures;
mod lifecycle;
mod machine;
mod probes;
mod spdy;
mod streams;
mod volumes;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use futures_util::future::LocalBoxFuture;

type Test = (&'static str, fn() -> LocalBoxFuture<'static, ()>);

macro_rules! tests {
    ($($module:ident: $($name:ident),+ $(,)?);+ $(;)?) => {
        const TESTS: &[Test] = &[
            $($((concat!(stringify!($module), "::", stringify!($name)), || Box::pin($module::$name()))),+),+
        ];
    };
}

tests! {
    lifecycle: runs_and_ends, init_and_sidecars, crash_loop, graceful_deletion, missing_image, missing_config,
        lost_sandbox, namespaces_of_the_host, deadline, ephemeral_container, dead_runs_are_removed;
    probes: readiness_and_liveness, startup_holds_back;
    volumes: content_follows;
    admission: refuses_what_does_not_fit, critical_pods_find_room;
    figures: usage;
    streams: logs, logs_follow, exec, exec_terminal, exec_base64, port_forward, refusals;
    spdy: exec, exec_terminal, attach, port_forward;
    agent: registers, survives_restart, many, killed_while_starting;
}

/// Tests that run at the same time.
const PARALLEL: usize = 3;

fn main() -> ExitCode {
    if let Some(code) = gifee_oci::shim::main(std::env::args_os().skip(1)) {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    machine::isolate();
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chosen: Vec<&Test> = TESTS
        .iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())))
        .collect();
    println!("\nrunning {} tests", chosen.len());
    let queue = Mutex::new(chosen.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some((name, test)) = { queue.lock().expect("not poisoned").next() } {
                    if !run(name, *test) {
                        failed.lock().expect("not poisoned").push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("not poisoned");
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    if !failed.is_empty() {
        println!("\nfailures: {failed:?}");
    }
    println!(
        "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out\n",
        chosen.len() - failed.len(),
        failed.len(),
        TESTS.len() - chosen.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(name: &str, test: fn() -> LocalBoxFuture<'static, ()>) -> bool {
    let begun = Instant::now();
    let ended = std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(test());
    });
    let word = if ended.is_ok() { "ok" } else { "FAILED" };
    println!("test {name} ... {word} ({} ms)", begun.elapsed().as_millis());
    ended.is_ok()
}
