//! Real containers, on this machine, as root: the whole crate at work.
//!
//! Its own harness, because the test's executable is also the shim that it starts, and the agent that it kills.
//! Tests run in parallel, each in folders and control groups of its own, and leave nothing.

mod crashes;
mod images;
mod inside;
mod machine;
mod running;
mod streams;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use futures_util::future::LocalBoxFuture;

/// A test.
type Test = (&'static str, fn() -> LocalBoxFuture<'static, ()>);

/// Makes a table of tests out of functions.
macro_rules! tests {
    ($($module:ident: $($name:ident),+ $(,)?);+ $(;)?) => {
        const TESTS: &[Test] = &[
            $($((concat!(stringify!($module), "::", stringify!($name)), || Box::pin($module::$name()))),+),+
        ];
    };
}

tests! {
    running: lifecycle, exit_codes, failing_starts, limits, logs, many, speed;
    streams: exec_sync, exec_streams, exec_terminal, attach, terminal, slow_attachment;
    crashes: agent_killed, shim_killed, leftovers, memory;
    images: layers, import_killed;
    inside: users, privileges, mounts, sharing, executable;
}

/// Tests that run at the same time.
const PARALLEL: usize = 4;

fn main() -> ExitCode {
    if let Some(code) = gifee_oci::shim::main(std::env::args_os().skip(1)) {
        return code;
    }
    if std::env::args().nth(1).as_deref() == Some(crashes::AGENT) {
        return crashes::agent(std::env::args().skip(2));
    }
    if std::env::args().nth(1).as_deref() == Some(images::IMPORTER) {
        return images::importer(std::env::args().skip(2));
    }
    let mut filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if std::env::args().any(|word| word == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    filters.retain(|filter| !filter.is_empty());
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
                    let begun = Instant::now();
                    let ended = std::panic::catch_unwind(|| {
                        let runtime = tokio::runtime::Builder::new_multi_thread()
                            .worker_threads(2)
                            .enable_all()
                            .build()
                            .expect("a runtime");
                        runtime.block_on(test());
                    });
                    let word = if ended.is_ok() { "ok" } else { "FAILED" };
                    println!("test {name} ... {word} ({} ms)", begun.elapsed().as_millis());
                    if ended.is_err() {
                        failed.lock().expect("not poisoned").push(*name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("not poisoned");
    let passed = chosen.len() - failed.len();
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    if !failed.is_empty() {
        println!("\nfailures: {failed:?}");
    }
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered out\n",
        failed.len(),
        TESTS.len() - chosen.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
