//! Runs the benches, one after the other and each several times, and has the outcome reported.

use super::ceiling::{self, Ceiling};
use super::objects::{PODS, bare, full, pod};
use super::peer::Etcd;
use super::report::Figures;
use super::table::{BENCHES, Bench};
use super::target::{Cluster, Target};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::OnceCell;

/// Measure a built gifee from outside, and print a table of medians beside goals and a ceiling.
#[derive(Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The gifee to measure
    #[arg(long, value_name = "FILE", default_value = "target/release/gifee")]
    binary: PathBuf,
    /// Only benches and rows whose name begins so; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Not the benches that start containers
    #[arg(long)]
    no_node: bool,
    /// An etcd to run beside gifee, such as that of Debian's package etcd-server: its figures take upstream's place
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// How often each bench runs
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    runs: usize,
    /// Also write every run's values into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Say which benches and rows there are, and end
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(clap::Subcommand)]
enum Part {
    /// The ceiling's own process
    #[command(hide = true)]
    CeilingServer(ceiling::Arguments),
}

/// The values of one run: of gifee, and of the ceiling and of etcd where they can do the same.
#[derive(Default)]
pub struct Outcome {
    /// Row and value.
    pub measured: Vec<(&'static str, f64)>,
    /// Row and value.
    pub ceiling: Vec<(&'static str, f64)>,
    /// Row and value.
    pub peer: Vec<(&'static str, f64)>,
}

/// What benches run on.
pub struct Bed {
    /// The gifee to measure.
    pub binary: PathBuf,
    etcd: Option<PathBuf>,
    folder: TempDir,
    folders: AtomicUsize,
    ceiling: OnceCell<Ceiling>,
}

impl Bed {
    /// A name in the temporary folder that nobody has used.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join(self.folders.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A control plane alone, with nothing in it.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn server(&self) -> Result<(Cluster, Target)> {
        Cluster::server(&self.binary, &self.folder()).await
    }

    /// A new etcd, if one is to be measured beside.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn etcd(&self) -> Result<Option<Etcd>> {
        match &self.etcd {
            Some(binary) => Ok(Some(Etcd::start(binary, &self.folder()).await?)),
            None => Ok(None),
        }
    }

    /// The ceiling; it answers with a Pod as gifee stores it.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn ceiling(&self) -> Result<&Target> {
        let start = async || {
            let (_cluster, target) = self.server().await?;
            target.endpoint.once(&full("POST", PODS, &pod("sample"))).await?;
            let sample = target.endpoint.once(&bare("GET", &format!("{PODS}/sample"))).await?;
            Ceiling::start(&self.folder(), sample.trim_end().as_bytes())
        };
        Ok(&self.ceiling.get_or_try_init(start).await?.target)
    }
}

/// Measures as the words say.
///
/// # Errors
/// If a cluster cannot be started or answers wrongly.
pub fn run(words: &[String]) -> Result<()> {
    let arguments =
        Arguments::parse_from(std::iter::once("cargo xtask bench".to_owned()).chain(words.to_vec()));
    if let Some(Part::CeilingServer(arguments)) = &arguments.part {
        return ceiling::serve(arguments);
    }
    let wanted = |bench: &&Bench| {
        let named = |name: &str| arguments.only.iter().any(|only| name.starts_with(only.as_str()));
        let asked =
            arguments.only.is_empty() || named(bench.name) || bench.rows.iter().any(|row| named(row.name));
        asked && !(arguments.no_node && bench.node)
    };
    let benches: Vec<&Bench> = BENCHES.iter().filter(wanted).collect();
    if arguments.list {
        for bench in benches {
            let rows: Vec<&str> = bench.rows.iter().map(|row| row.name).collect();
            println!("{:<12} {}", bench.name, rows.join(" "));
        }
        return Ok(());
    }
    ensure!(!benches.is_empty(), "--only names no bench and no row; --list says which there are");
    ensure!(arguments.runs > 0, "--runs must be at least 1");
    let binary = arguments.binary.canonicalize().with_context(|| {
        format!("{} is not there: `cargo build --release -p gifee` makes it", arguments.binary.display())
    })?;
    let folder = TempDir::with_prefix("gifee-bench-")?;
    let etcd = arguments.etcd.clone();
    let bed = Bed { binary, etcd, folder, folders: AtomicUsize::new(0), ceiling: OnceCell::new() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Figures::default();
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = all(&bed, &benches, arguments.runs, &mut figures) => outcome,
            outcome = interrupted() => outcome,
        }
    });
    figures.print(&benches, arguments.runs);
    if let Some(path) = &arguments.json {
        std::fs::write(path, figures.json(&benches))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    outcome
}

/// Only this ends the bench early, so that clusters are purged then too.
async fn interrupted() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    anyhow::bail!("interrupted")
}

async fn all(bed: &Bed, benches: &[&Bench], runs: usize, figures: &mut Figures) -> Result<()> {
    for bench in benches {
        for run in 1..=runs {
            eprintln!("{} {run}/{runs}", bench.name);
            let outcome = (bench.run)(bed).await.with_context(|| format!("bench {}", bench.name))?;
            figures.add(&outcome);
        }
    }
    Ok(())
}
