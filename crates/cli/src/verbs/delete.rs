//! `gifee delete`: by name, by label, by file; waits until the objects are gone.

use super::parse;
use crate::manifest::{self, label};
use crate::resource;
use crate::session::{Globals, Session};
use anyhow::{Result, bail};
use clap::Parser;
use futures_util::StreamExt;
use gifee_base::{FieldSelector, LabelSelector, ObjectKey, Reason};
use gifee_client::{DeleteOptions, Deleted, Error, Event, ListOptions, Resource, WatchOptions};
use std::path::PathBuf;
use std::process::ExitCode;

/// Delete objects by name, label or file
#[derive(Parser, Debug)]
#[command(name = "delete", bin_name = "gifee delete")]
struct Arguments {
    /// RESOURCE NAME…, or RESOURCE/NAME…
    what: Vec<String>,
    #[command(flatten)]
    globals: Globals,
    /// File, folder, or - for standard input; may be repeated
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// All objects of the resource in the namespace
    #[arg(long)]
    all: bool,
    /// It is no error if there is none
    #[arg(long)]
    ignore_not_found: bool,
    /// Seconds that a pod has to end
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<i64>,
    /// Return at once
    #[arg(long)]
    no_wait: bool,
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let session = arguments.globals.open()?;
    let targets = targets(&session, &arguments).await?;
    let options = DeleteOptions { grace_period_seconds: arguments.grace_period, ..DeleteOptions::default() };
    let mut waiting = Vec::new();
    for (resource, key) in targets {
        match session.client.delete(&resource.gvr, &key, &options).await {
            Ok(deleted) => {
                println!("{} deleted", label(&resource, &key.name));
                if let Deleted::Object(object) = deleted {
                    waiting.push((resource, key, object.uid().to_owned()));
                }
            }
            Err(Error::Status(status)) if status.is(Reason::NotFound) && arguments.ignore_not_found => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !arguments.no_wait {
        for (resource, key, uid) in waiting {
            gone(&session, &resource, &key, &uid).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn targets(session: &Session, arguments: &Arguments) -> Result<Vec<(Resource, ObjectKey)>> {
    let discovery = session.discovery().await?;
    if !arguments.filename.is_empty() {
        let items = manifest::read(&arguments.filename, &discovery, &session.namespace)?;
        return Ok(items.into_iter().map(|item| (item.resource, item.key)).collect());
    }
    let mut targets = Vec::new();
    for wanted in resource::parse(&discovery, &arguments.what)? {
        let namespace = if wanted.resource.namespaced { session.namespace.as_str() } else { "" };
        if !wanted.names.is_empty() {
            targets.extend(
                wanted.names.iter().map(|name| (wanted.resource.clone(), ObjectKey::new(namespace, name))),
            );
            continue;
        }
        let labels = match (&arguments.selector, arguments.all) {
            (Some(text), _) => LabelSelector::parse(text).map_err(anyhow::Error::msg)?,
            (None, true) => LabelSelector::everything(),
            (None, false) => bail!("say which: a name, -l LABELS, or --all"),
        };
        let options = ListOptions { labels, ..ListOptions::default() };
        let page = session.client.list_all(&wanted.resource.gvr, namespace, &options).await?;
        targets.extend(page.items.iter().map(|object| (wanted.resource.clone(), object.key())));
    }
    Ok(targets)
}

/// Waits until an object is gone, or another of the same name is there.
async fn gone(session: &Session, resource: &Resource, key: &ObjectKey, uid: &str) -> Result<()> {
    loop {
        let object = match session.client.get(&resource.gvr, key).await {
            Ok(object) if object.uid() == uid => object,
            Ok(_) => return Ok(()),
            Err(Error::Status(status)) if status.is(Reason::NotFound) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let options = WatchOptions {
            fields: FieldSelector::parse(&format!("metadata.name={}", key.name))
                .map_err(anyhow::Error::msg)?,
            resource_version: Some(object.revision().to_string()),
            ..WatchOptions::default()
        };
        let mut watch = session.client.watch(&resource.gvr, &key.namespace, &options).await?;
        while let Some(event) = watch.next().await {
            if matches!(event, Ok(Event::Deleted(_))) {
                return Ok(());
            }
        }
    }
}
