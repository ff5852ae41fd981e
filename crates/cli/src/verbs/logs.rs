//! `gifee logs`: what a container writes, and goes on writing.

use super::parse;
use crate::session::Globals;
use anyhow::{Result, bail};
use clap::Parser;
use futures_util::StreamExt;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::Request;
use http::Method;
use std::io::Write;
use std::process::ExitCode;

/// Print what a container writes
#[derive(Parser, Debug)]
#[command(name = "logs", bin_name = "gifee logs")]
struct Arguments {
    /// The pod
    pod: String,
    #[command(flatten)]
    globals: Globals,
    /// The container [default: the only one, or the annotated one]
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Of the container's run before this one
    #[arg(short, long)]
    previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only what was written in the last seconds
    #[arg(long, value_name = "SECONDS")]
    since_seconds: Option<u64>,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let session = arguments.globals.open()?;
    let name = arguments.pod.trim_start_matches("pods/").trim_start_matches("pod/").trim_start_matches("po/");
    if name.contains('/') {
        bail!("gifee logs takes a pod: `gifee get pods` lists them");
    }
    let key = ObjectKey::new(&session.namespace, name);
    let mut request = Request::object(Method::GET, &Gvr::core("pods"), &key).segment("log");
    for (parameter, value) in [
        ("container", arguments.container.clone()),
        ("follow", arguments.follow.then(|| "true".to_owned())),
        ("previous", arguments.previous.then(|| "true".to_owned())),
        ("timestamps", arguments.timestamps.then(|| "true".to_owned())),
        ("tailLines", arguments.tail.map(|lines| lines.to_string())),
        ("sinceSeconds", arguments.since_seconds.map(|seconds| seconds.to_string())),
    ] {
        if let Some(value) = value {
            request = request.query(parameter, &value);
        }
    }
    let mut body = session.client.stream(&request).await?.into_body();
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = body.next().await {
        out.write_all(&chunk.map_err(|error| anyhow::anyhow!("the log broke off: {error}"))?)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}
