//! The gifee binary: one table of applets, the first of which re-execute this program as the holder of containers.
//!
//! Invariant: applets that must be single-threaded run before any thread exists.

mod applets;
mod instance;
mod layout;
mod node;
mod pki;
mod progress;
mod server;
mod settings;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = gifee_oci::shim::main(std::env::args_os().skip(1)) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().collect();
    applets::run(&arguments)
}
