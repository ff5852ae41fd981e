//! Measures durable creates per second of the embedded store in a folder:
//! `cargo run --profile quick -p gifee-store --example creates -- FOLDER [ROUNDS]`

use std::{fs, path::Path, sync::Arc};

/// As in the real program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use gifee_store::{Limits, Store, embedded, load};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), rounds) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: creates FOLDER [ROUNDS]");
        std::process::exit(2);
    };
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    runtime.expect("a runtime").block_on(measure(Path::new(&folder), rounds));
}

async fn measure(folder: &Path, rounds: usize) {
    let before = resident();
    let begin = std::time::Instant::now();
    let engine = embedded::open(folder, Limits::default()).expect("the store opens");
    let store: Arc<dyn Store> = Arc::new(engine);
    println!("opened in {:?} at revision {}", begin.elapsed(), store.revision().await.expect("open"));
    println!("resident {before} KiB before, {} KiB now", resident());
    println!("writers   creates/s      p50      p99     CPU/op   resident");
    let mut run = std::process::id() as usize;
    for _ in 0..rounds {
        for (writers, creates) in [(1, 4_000), (16, 40_000), (128, 100_000)] {
            run += 1 << 22;
            let plan = load::Plan { writers, creates, value_bytes: 1024, run };
            let before = cpu_microseconds();
            let report = load::creates(store.clone(), plan).await.expect("the writes succeed");
            let cpu = (cpu_microseconds() - before) / creates as f64;
            println!(
                "{writers:7} {:11.0} {:6} us {:6} us {cpu:7.1} us {:6} KiB",
                report.rate(),
                report.latency(0.5).as_micros(),
                report.latency(0.99).as_micros(),
                resident(),
            );
        }
    }
}

/// User and system time of this process, at the clock's resolution of 10 ms.
fn cpu_microseconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) * 10_000.0
}

/// KiB in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
