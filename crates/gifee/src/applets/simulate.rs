//! `gifee simulate`: a control plane with simulated nodes runs a workload, or answers what would become of a cluster's
//! pods if something were added, changed or lost.
//!
//! Invariant: a cluster that is read with `--from-cluster` is only read; what is run against a cluster is run with its
//! API alone.

use super::parse;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use gifee_base::SystemClock;
use gifee_client::{Client, Kubeconfig, Tls};
use gifee_simulation::workload::Reading;
use gifee_simulation::world::Parts;
use gifee_simulation::{Plan, Workload, World, import};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One line for the list of commands.
pub const ABOUT: &str = "Run a workload on simulated nodes, or ask what a change would do to a cluster";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kept {
    Disk,
    Memory,
}

/// Flags of `simulate`.
#[derive(Args, Debug)]
struct Arguments {
    /// Workload: YAML with steps
    #[arg(value_name = "WORKLOAD")]
    workload: Option<PathBuf>,
    /// A parameter of the workload; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    param: Vec<String>,
    /// Begin with the objects of the cluster that the kubeconfig names; it is only read
    #[arg(long, conflicts_with = "from")]
    from_cluster: bool,
    /// Begin with the objects of a file, as `kubectl get -o yaml` writes it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Add simulated nodes
    #[arg(long, value_name = "NUMBER")]
    add_nodes: Option<usize>,
    /// Apply the objects of a file; may be repeated
    #[arg(long, value_name = "FILE")]
    apply: Vec<PathBuf>,
    /// Scale, such as default/deployment/web=5; may be repeated
    #[arg(long, value_name = "NAMESPACE/KIND/NAME=REPLICAS")]
    scale: Vec<String>,
    /// Delete, such as default/deployment/web; may be repeated
    #[arg(long, value_name = "NAMESPACE/KIND/NAME")]
    delete: Vec<String>,
    /// Drain a node; may be repeated
    #[arg(long, value_name = "NODE")]
    drain: Vec<String>,
    /// Lose a node; may be repeated
    #[arg(long, value_name = "NODE")]
    lose_node: Vec<String>,
    /// Lose all nodes of a zone; may be repeated
    #[arg(long, value_name = "ZONE")]
    lose_zone: Vec<String>,
    /// Run against the cluster that the kubeconfig names, instead of a control plane in this process
    #[arg(long, conflicts_with_all = ["from_cluster", "from"])]
    live: bool,
    /// Kubeconfig file [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where the control plane in this process keeps objects
    #[arg(long, value_enum, default_value = "disk")]
    store: Kept,
    /// Form of the report
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Simulates and prints what happened.
///
/// # Errors
/// If the workload is wrong or a step fails.
pub fn simulate(words: &[String]) -> Result<ExitCode> {
    let arguments: Arguments = parse("simulate", ABOUT, words);
    let workload = arguments.workload()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(arguments.run(&workload))?;
    match arguments.output {
        Output::Text => print!("{}", report.text()),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// The file's steps, then those of the flags.
    fn workload(&self) -> Result<Workload> {
        let mut parameters = Vec::new();
        for one in &self.param {
            let (name, value) = pair(one, "--param")?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            parameters.push((name.to_owned(), value));
        }
        let mut workload = match &self.workload {
            Some(path) => Workload::load(path, &parameters).with_context(|| path.display().to_string())?,
            None => Workload::empty("simulation"),
        };
        for (flag, step) in self.steps()? {
            workload.push(step, Reading { path: flag.into(), folder: Path::new("") })?;
        }
        if workload.steps.is_empty() && !self.from_cluster && self.from.is_none() {
            bail!(
                "nothing to simulate: name a workload file, or what to begin with and what to change (see --help)"
            );
        }
        Ok(workload)
    }

    fn steps(&self) -> Result<Vec<(&'static str, Value)>> {
        let mut steps = Vec::new();
        if let Some(count) = self.add_nodes {
            let step = json!({ "opcode": "createNodes", "prefix": "simulated-", "count": count });
            steps.push(("--add-nodes", step));
        }
        for path in &self.apply {
            steps.push(("--apply", json!({ "opcode": "apply", "path": path })));
        }
        for one in &self.scale {
            let (target, replicas) = pair(one, "--scale")?;
            let mut step = target_of(target, "--scale", "scale")?;
            step["replicas"] = replicas.parse::<u32>().with_context(|| format!("--scale {one}"))?.into();
            steps.push(("--scale", step));
        }
        for one in &self.delete {
            steps.push(("--delete", target_of(one, "--delete", "delete")?));
        }
        for node in &self.drain {
            steps.push(("--drain", json!({ "opcode": "drain", "nodes": [node] })));
        }
        for node in &self.lose_node {
            steps.push(("--lose-node", json!({ "opcode": "failNodes", "nodes": [node] })));
        }
        for zone in &self.lose_zone {
            steps.push(("--lose-zone", json!({ "opcode": "failNodes", "zone": zone })));
        }
        Ok(steps)
    }

    async fn run(&self, workload: &Workload) -> Result<gifee_simulation::Report> {
        let shutdown = CancellationToken::new();
        let _ends = shutdown.clone().drop_guard();
        let clock = Arc::new(SystemClock);
        if self.live {
            let client = self.cluster()?;
            let of_all = client.clone();
            let plan = Plan {
                client,
                agents: Arc::new(move |_: &str| of_all.clone()),
                clock,
                nodes: Vec::new(),
                against: "a running cluster".into(),
                shutdown,
            };
            return Ok(gifee_simulation::run(workload, plan).await?);
        }
        let folder =
            tempfile::TempDir::with_prefix("gifee-simulate-").context("making a folder for the store")?;
        let store: Arc<dyn gifee_store::Store> = match self.store {
            Kept::Memory => Arc::new(gifee_store::memory::open()),
            Kept::Disk => Arc::new(gifee_store::embedded::open(
                &folder.path().join("store"),
                gifee_store::Limits::default(),
            )?),
        };
        let world = World::start(Parts {
            store,
            clock: clock.clone(),
            seed: None,
            between: None,
            shutdown: shutdown.clone(),
        })
        .await?;
        let objects = match &self.from {
            Some(path) => import::file(path)?,
            None if self.from_cluster => import::live(&self.cluster()?).await?,
            None => Vec::new(),
        };
        let imported = import::write(&world.admin(), &objects).await?;
        for refused in &imported.refused {
            eprintln!("warning: not taken in: {refused}");
        }
        world.components();
        let kept = if self.store == Kept::Disk { "durable" } else { "in memory" };
        let plan = Plan {
            client: world.admin(),
            agents: world.agents(),
            clock,
            nodes: imported.nodes,
            against: format!("control plane in this process, store {kept}"),
            shutdown,
        };
        Ok(gifee_simulation::run(workload, plan).await?)
    }

    fn cluster(&self) -> Result<Client> {
        let config = Kubeconfig::find(self.kubeconfig.as_deref())?;
        let tls = config.tls(self.context.as_deref())?;
        Ok(Client::new(Arc::new(Tls::new(&tls)?)).named("gifee-simulate"))
    }
}

fn pair<'a>(text: &'a str, flag: &str) -> Result<(&'a str, &'a str)> {
    text.split_once('=').with_context(|| format!("{flag} {text}: must be NAME=VALUE"))
}

/// `NAMESPACE/KIND/NAME`, or `KIND/NAME` of what lives in no namespace.
fn target_of(text: &str, flag: &str, opcode: &str) -> Result<Value> {
    let parts: Vec<&str> = text.split('/').collect();
    let (namespace, kind, name) = match parts.as_slice() {
        [namespace, kind, name] => (*namespace, *kind, *name),
        [kind, name] => ("default", *kind, *name),
        _ => bail!("{flag} {text}: must be NAMESPACE/KIND/NAME"),
    };
    Ok(json!({ "opcode": opcode, "namespace": namespace, "kind": kind, "name": name }))
}
