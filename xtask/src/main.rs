//! Tasks of the house. One row per task; the work stands in a module of the task's name.

mod facts;
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
    /// Generate the table of facts about Kubernetes' types out of its Go modules, or check it.
    Facts(facts::Arguments),
    /// Hold every dependency between our crates against the table of layers.
    Layers,
    /// Hold the tree against the house rules.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Facts(arguments) => facts::run(&arguments),
        Task::Layers => layers::run(),
        Task::Tidy => tidy::run(),
    }
}
