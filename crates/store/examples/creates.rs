//! Measures durable creates per second of the embedded store in a folder:
//! `cargo run --profile quick -p gifee-store --example creates -- FOLDER [ROUNDS [UPDATES [HISTORY_SECONDS]]]`

use std::{fs, path::Path, sync::Arc, time::Duration};

/// As in the real program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use gifee_store::{Limits, Store, embedded, load};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: creates FOLDER [ROUNDS [UPDATES [HISTORY_SECONDS]]]");
        std::process::exit(2);
    };
    let mut number = |default| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, updates, history_seconds) = (number(3), number(50_000), number(300));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    runtime.expect("a runtime").block_on(measure(Path::new(&folder), rounds, updates, history_seconds));
}

async fn measure(folder: &Path, rounds: usize, updates: usize, history_seconds: usize) {
    let before = resident();
    let begin = std::time::Instant::now();
    let history_age = Duration::from_secs(history_seconds as u64);
    let engine =
        embedded::open(folder, Limits { history_age, ..Limits::default() }).expect("the store opens");
    let store: Arc<dyn Store> = Arc::new(engine);
    println!("opened in {:?} at revision {}", begin.elapsed(), store.revision().await.expect("open"));
    println!("resident {before} KiB before, {} KiB now", resident());
    println!("          writers   writes/s      p50      p99     CPU/op   resident");
    let mut run = std::process::id() as usize;
    for _ in 0..rounds {
        for (writers, creates) in [(1, 4_000), (16, 40_000), (128, 100_000)] {
            run += 1 << 22;
            let plan = load::Plan { writers, creates, value_bytes: 1024, run };
            let before = cpu_microseconds();
            let report = load::creates(store.clone(), plan).await.expect("the writes succeed");
            print("creates", plan, &report, before);
        }
        let plan = load::Plan { writers: 128, creates: updates, value_bytes: 512, run };
        let before = cpu_microseconds();
        let report = load::updates(store.clone(), plan).await.expect("the writes succeed");
        print("updates", plan, &report, before);
    }
}

fn print(what: &str, plan: load::Plan, report: &load::Report, before: f64) {
    let cpu = (cpu_microseconds() - before) / plan.creates as f64;
    println!(
        "{what:9} {:7} {:10.0} {:5} us {:5} us {cpu:7.1} us {:6} KiB",
        plan.writers,
        report.rate(),
        report.latency(0.5).as_micros(),
        report.latency(0.99).as_micros(),
        resident(),
    );
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
