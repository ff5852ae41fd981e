//! `gifee apply`: makes objects be as files say, by a three-way merge of what was applied last, what is wanted, and
//! what is there.
//!
//! The last applied form is kept in kubectl's annotation, so the two can take turns on one object. Lists are
//! replaced whole, as kubectl does for custom resources.

use super::parse;
use crate::manifest::{self, Item};
use crate::session::{Globals, Session};
use anyhow::Result;
use clap::Parser;
use gifee_base::Reason;
use gifee_client::{Error, PatchKind};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::process::ExitCode;

const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Make objects be as files say
#[derive(Parser, Debug)]
#[command(name = "apply", bin_name = "gifee apply")]
struct Arguments {
    /// File, folder, or - for standard input; may be repeated
    #[arg(short, long, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    globals: Globals,
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let session = arguments.globals.open()?;
    let items = manifest::read(&arguments.filename, &session.discovery().await?, &session.namespace)?;
    let mut failed = false;
    for item in items {
        match one(&session, &item).await {
            Ok(outcome) => println!("{} {outcome}", item.label()),
            Err(error) => {
                failed = true;
                eprintln!("{}", crate::session::describe(&error));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn one(session: &Session, item: &Item) -> Result<&'static str> {
    let gvr = &item.resource.gvr;
    let mut wanted = item.object.clone();
    if let Some(annotations) = wanted["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST);
    }
    let applied = format!("{wanted}\n");
    wanted["metadata"]["annotations"][LAST] = applied.into();
    let live = match session.client.get(gvr, &item.key).await {
        Ok(live) => live.to_value()?,
        Err(Error::Status(status)) if status.is(Reason::NotFound) => {
            session.client.create(gvr, &item.key.namespace, wanted).await?;
            return Ok("created");
        }
        Err(error) => return Err(error.into()),
    };
    let last = live["metadata"]["annotations"][LAST].as_str();
    let last: Value = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let patch = merge(&last, &wanted, &live);
    if patch.as_object().is_none_or(Map::is_empty) {
        return Ok("unchanged");
    }
    session.client.patch(gvr, &item.key, PatchKind::Merge, patch).await?;
    Ok("configured")
}

/// The merge patch that makes `live` hold all of `wanted`, and none of what `last` held and `wanted` does not.
fn merge(last: &Value, wanted: &Value, live: &Value) -> Value {
    let mut patch = Map::new();
    for (key, value) in wanted.as_object().into_iter().flatten() {
        match (value, live.get(key)) {
            (_, Some(there)) if there == value => {}
            (Value::Object(_), Some(there @ Value::Object(_))) => {
                let below = merge(last.get(key).unwrap_or(&Value::Null), value, there);
                if below.as_object().is_some_and(|below| !below.is_empty()) {
                    patch.insert(key.clone(), below);
                }
            }
            // A null asks for the default: the server's own value is no difference.
            (Value::Null, None) => {}
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    for key in last.as_object().into_iter().flatten().map(|(key, _)| key) {
        if wanted.get(key).is_none() && live.get(key).is_some() {
            patch.insert(key.clone(), Value::Null);
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_patch_sets_what_is_wanted_and_removes_what_was_applied_before() {
        let last = json!({ "a": 1, "b": { "c": 1, "d": 1 }, "gone": 1, "list": [1, 2] });
        let wanted = json!({ "a": 1, "b": { "c": 2 }, "list": [1], "new": true });
        let live =
            json!({ "a": 1, "b": { "c": 1, "d": 1, "e": 1 }, "gone": 1, "list": [1, 2], "status": {} });
        assert_eq!(
            merge(&last, &wanted, &live),
            json!({ "b": { "c": 2, "d": null }, "gone": null, "list": [1], "new": true })
        );
        assert_eq!(
            merge(&wanted, &wanted, &json!({ "a": 1, "b": { "c": 2 }, "list": [1], "new": true, "x": 1 })),
            json!({})
        );
    }
}
