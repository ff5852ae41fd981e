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
mod signing;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Inherited from the agent that started this one, and not meant for containers.
    huge_pages(true);
    if let Some(code) = gifee_oci::shim::main(std::env::args_os().skip(1)) {
        return code;
    }
    huge_pages(false);
    let arguments: Vec<String> = std::env::args().collect();
    applets::run(&arguments)
}

/// Huge pages double the memory of an idle server and make nothing in it faster.
fn huge_pages(allowed: bool) {
    // A kernel that knows no such setting has no huge pages to avoid.
    let _ = rustix::thread::disable_transparent_huge_pages(!allowed);
}
