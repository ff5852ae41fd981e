//! `gifee scale`: how many copies.

use super::parse;
use crate::manifest::label;
use crate::resource;
use crate::session::Globals;
use anyhow::{Result, bail};
use clap::Parser;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Client, PatchKind, Request};
use http::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

/// How often one is scaled that changes meanwhile.
const ATTEMPTS: usize = 64;

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
    /// Only if there are to be so many now
    #[arg(long)]
    current_replicas: Option<u32>,
    /// Only if nobody has changed it since this resource version
    #[arg(long)]
    resource_version: Option<String>,
}

impl Arguments {
    /// The resource version that a scale must still have, if what it says now is what was expected.
    fn precondition(&self, scale: &Value) -> Result<Value> {
        let version = &scale["metadata"]["resourceVersion"];
        let expect = |what: &str, wanted: &str, is: &str| match wanted == is {
            true => Ok(()),
            false => bail!("Expected {what} to be {wanted}, was {is}"),
        };
        if let Some(wanted) = self.current_replicas {
            let replicas = scale["spec"]["replicas"].as_u64().unwrap_or_default();
            expect("replicas", &wanted.to_string(), &replicas.to_string())?;
        }
        if let Some(wanted) = &self.resource_version {
            expect("resource version", wanted, version.as_str().unwrap_or_default())?;
        }
        Ok(version.clone())
    }

    /// Scales one. What changes between the look and the write, such as its status, is looked at again.
    async fn scale(&self, client: &Client, gvr: &Gvr, key: &ObjectKey) -> Result<()> {
        let conditional = self.current_replicas.is_some() || self.resource_version.is_some();
        for attempt in 1.. {
            let mut patch = json!({ "spec": { "replicas": self.replicas } });
            if conditional {
                let scale = client.get_subresource(gvr, key, "scale").await?;
                patch["metadata"]["resourceVersion"] = self.precondition(&scale.to_value()?)?;
            }
            let request = Request::object(Method::PATCH, gvr, key)
                .segment("scale")
                .payload(PatchKind::Merge.content_type(), patch);
            match client.send(&request).await {
                Err(error) if conditional && error.is_conflict() && attempt < ATTEMPTS => {}
                outcome => return Ok(outcome.map(drop)?),
            }
        }
        unreachable!("the last attempt returns")
    }
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
            arguments.scale(&session.client, &wanted.resource.gvr, &key).await?;
            println!("{} scaled", label(&wanted.resource, name));
        }
    }
    Ok(ExitCode::SUCCESS)
}
