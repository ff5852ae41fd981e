//! The gifee binary: one table of applets, the first of which re-execute this program as the holder of containers.
//!
//! Invariant: applets that must be single-threaded run before any thread exists.

mod applets;
mod instance;
mod pki;
mod progress;
mod server;
mod settings;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    applets::run(&arguments)
}
