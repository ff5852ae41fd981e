//! `gifee run`: an image in a pod.

use super::parse;
use crate::session::Globals;
use anyhow::{Result, bail};
use clap::Parser;
use gifee_base::Gvr;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Run an image in a pod
#[derive(Parser, Debug)]
#[command(name = "run", bin_name = "gifee run")]
struct Arguments {
    /// Name of the pod
    name: String,
    /// The image
    #[arg(long)]
    image: String,
    #[command(flatten)]
    globals: Globals,
    /// The port that the container listens on
    #[arg(long)]
    port: Option<u16>,
    /// NAME=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A label of the pod, key=value; may be repeated [default: run=NAME]
    #[arg(short, long, value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Always, OnFailure or Never
    #[arg(long, default_value = "Always")]
    restart: String,
    /// The words after -- are the program, not its arguments
    #[arg(long)]
    command: bool,
    /// Print the pod, create nothing
    #[arg(long)]
    dry_run: bool,
    /// Arguments of the image's program
    #[arg(last = true)]
    words: Vec<String>,
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let mut labels = json!({});
    for (key, value) in pairs(&arguments.labels)? {
        labels[key] = value.into();
    }
    if arguments.labels.is_empty() {
        labels["run"] = arguments.name.clone().into();
    }
    let mut container = json!({ "name": arguments.name, "image": arguments.image });
    if let Some(port) = arguments.port {
        container["ports"] = json!([{ "containerPort": port }]);
    }
    if !arguments.env.is_empty() {
        let env =
            pairs(&arguments.env)?.into_iter().map(|(name, value)| json!({ "name": name, "value": value }));
        container["env"] = Value::Array(env.collect());
    }
    if !arguments.words.is_empty() {
        container[if arguments.command { "command" } else { "args" }] = arguments.words.clone().into();
    }
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": arguments.name, "labels": labels },
        "spec": { "restartPolicy": arguments.restart, "containers": [container] } });
    if arguments.dry_run {
        println!("{}", serde_json::to_string_pretty(&pod)?);
        return Ok(ExitCode::SUCCESS);
    }
    let session = arguments.globals.open()?;
    session.client.create(&Gvr::core("pods"), &session.namespace, pod).await?;
    println!("pod/{} created", arguments.name);
    Ok(ExitCode::SUCCESS)
}

fn pairs(words: &[String]) -> Result<Vec<(&str, &str)>> {
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(pair) => Ok(pair),
            None => bail!("{word:?} is not of the form NAME=VALUE"),
        })
        .collect()
}
