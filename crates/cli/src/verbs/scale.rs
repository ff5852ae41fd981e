//! `gifee scale`: how many copies.

use super::parse;
use crate::manifest::label;
use crate::resource;
use crate::session::Globals;
use anyhow::{Result, bail};
use clap::Parser;
use gifee_base::ObjectKey;
use gifee_client::{PatchKind, Request};
use http::Method;
use serde_json::json;
use std::process::ExitCode;

/// Set the number of copies
#[derive(Parser, Debug)]
#[command(name = "scale", bin_name = "gifee scale")]
struct Arguments {
    /// RESOURCE NAME… or RESOURCE/NAME…
    #[arg(required = true)]
    what: Vec<String>,
    #[command(flatten)]
    globals: Globals,
    /// How many
    #[arg(long)]
    replicas: u32,
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let session = arguments.globals.open()?;
    for wanted in resource::parse(&session.discovery().await?, &arguments.what)? {
        if !wanted.resource.subresources.iter().any(|one| one == "scale") {
            bail!("{} cannot be scaled", wanted.resource.gvr.resource);
        }
        if wanted.names.is_empty() {
            bail!("say which {} to scale", wanted.resource.gvr.resource);
        }
        for name in &wanted.names {
            let key = ObjectKey::new(&session.namespace, name);
            let request =
                Request::object(Method::PATCH, &wanted.resource.gvr, &key).segment("scale").payload(
                    PatchKind::Merge.content_type(),
                    json!({ "spec": { "replicas": arguments.replicas } }),
                );
            session.client.send(&request).await?;
            println!("{} scaled", label(&wanted.resource, name));
        }
    }
    Ok(ExitCode::SUCCESS)
}
