//! `gifee create`: objects from files, namespaces, and the plainest Deployment.

use super::parse;
use crate::manifest;
use crate::session::Globals;
use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use gifee_base::Gvr;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Create objects from files
#[derive(Parser, Debug)]
#[command(name = "create", bin_name = "gifee create")]
struct Arguments {
    /// File, folder, or - for standard input; may be repeated
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    kind: Option<Kind>,
}

#[derive(Subcommand, Debug)]
enum Kind {
    /// A namespace
    #[command(visible_alias = "ns")]
    Namespace {
        /// Its name
        name: String,
    },
    /// A Deployment of one image
    #[command(visible_alias = "deploy")]
    Deployment {
        /// Its name
        name: String,
        /// The image
        #[arg(long)]
        image: String,
        /// How many copies
        #[arg(long, default_value_t = 1)]
        replicas: u32,
        /// The port that the container listens on
        #[arg(long)]
        port: Option<u16>,
    },
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    match arguments.kind {
        Some(Kind::Namespace { name }) => {
            let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            arguments.globals.open()?.client.create(&Gvr::core("namespaces"), "", object).await?;
            println!("namespace/{name} created");
        }
        Some(Kind::Deployment { name, image, replicas, port }) => {
            let session = arguments.globals.open()?;
            let mut container = json!({ "name": name.rsplit('.').next(), "image": image });
            if let Some(port) = port {
                container["ports"] = json!([{ "containerPort": port }]);
            }
            let labels = json!({ "app": name });
            let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": name, "labels": labels },
                "spec": { "replicas": replicas, "selector": { "matchLabels": labels },
                    "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } } } });
            session.client.create(&Gvr::new("apps", "v1", "deployments"), &session.namespace, object).await?;
            println!("deployment.apps/{name} created");
        }
        None if arguments.filename.is_empty() => {
            bail!("say what to create: -f FILE, namespace or deployment")
        }
        None => {
            let session = arguments.globals.open()?;
            let discovery = session.discovery().await?;
            for item in manifest::read(&arguments.filename, &discovery, &session.namespace)? {
                let created =
                    session.client.create(&item.resource.gvr, &item.key.namespace, item.object).await?;
                println!("{} created", manifest::label(&item.resource, created.name()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
