//! Tasks of the house. One row per task; the work stands in a module of the task's name.

mod bench;
mod facts;
mod fuzz;
mod layers;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Tasks of the house")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure a built gifee from outside, and print a table of medians beside goals and a ceiling.
    #[command(disable_help_flag = true)]
    Bench(bench::Arguments),
    /// Generate the table of facts about Kubernetes' types out of its Go modules, or check it.
    Facts(facts::Arguments),
    /// Feed every parser of what the network brings with bytes found by their coverage.
    Fuzz(fuzz::Arguments),
    /// Hold every dependency between our crates against the table of layers.
    Layers,
    /// Hold the tree against the house rules.
    Tidy,
}

/// The bench is client and ceiling: both should cost as little as they can.
#[cfg(feature = "bench")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Facts(arguments) => facts::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Layers => layers::run(),
        Task::Tidy => tidy::run(),
    }
}
