//! `gifee get`: the server's tables, objects whole, and what changes in them.

use super::parse;
use crate::manifest::label;
use crate::print::{Form, Style, cells, columns};
use crate::resource::{self, Wanted};
use crate::session::{Globals, Session};
use anyhow::{Result, bail};
use clap::Parser;
use futures_util::StreamExt;
use gifee_base::ObjectKey;
use gifee_client::discovery::Discovery;
use gifee_client::{Request, Resource};
use http::Method;
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.9";

/// List objects, or show some
#[derive(Parser, Debug)]
#[command(name = "get", bin_name = "gifee get")]
struct Arguments {
    /// RESOURCE [NAME…], RESOURCE,RESOURCE or RESOURCE/NAME…
    #[arg(required = true)]
    what: Vec<String>,
    #[command(flatten)]
    globals: Globals,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// wide, json, yaml or name
    #[arg(short, long, value_name = "FORM")]
    output: Option<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only objects with these fields
    #[arg(long, value_name = "FIELDS")]
    field_selector: Option<String>,
    /// Go on and show changes
    #[arg(short, long)]
    watch: bool,
    /// No headings
    #[arg(long)]
    no_headers: bool,
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let form = Form::parse(arguments.output.as_deref())?;
    let session = arguments.globals.open()?;
    let discovery = session.discovery().await?;
    let mut wanted = resource::parse(&discovery, &arguments.what)?;
    if let [word] = arguments.what.as_slice()
        && word.split(',').any(|word| word == "all")
    {
        beside_all(&discovery, &mut wanted);
    }
    if arguments.watch {
        let [one] = wanted.as_slice() else { bail!("you may only watch one resource at a time") };
        watch(&session, &arguments, one, form).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let several = wanted.len() > 1;
    let mut shown = false;
    for one in &wanted {
        shown |= show(&session, &arguments, one, form, several, shown).await?;
    }
    if !shown && matches!(form, Form::Table | Form::Wide) {
        match arguments.all_namespaces || wanted.iter().all(|one| !one.resource.namespaced) {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {} namespace.", session.namespace),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What people miss when they ask for all: upstream's category leaves it out. Only what is shown; to delete all takes
/// no volume along.
const BESIDE_ALL: &[(&str, &str)] = &[("networking.k8s.io", "ingresses"), ("", "persistentvolumeclaims")];

fn beside_all(discovery: &Discovery, wanted: &mut Vec<Wanted>) {
    for (group, name) in BESIDE_ALL {
        let is = |one: &Resource| *one.gvr.group == **group && *one.gvr.resource == **name;
        if let Some(found) = discovery.preferred().find(|one| is(one))
            && !wanted.iter().any(|one| is(&one.resource))
        {
            wanted.push(Wanted { resource: found.clone(), names: Vec::new() });
        }
    }
}

fn requests(session: &Session, arguments: &Arguments, wanted: &Wanted) -> Vec<Request> {
    let namespace = match wanted.resource.namespaced && !arguments.all_namespaces {
        true => session.namespace.as_str(),
        false => "",
    };
    let gvr = &wanted.resource.gvr;
    if !wanted.names.is_empty() {
        let one = |name: &String| Request::object(Method::GET, gvr, &ObjectKey::new(namespace, name));
        return wanted.names.iter().map(one).collect();
    }
    let mut request = Request::collection(Method::GET, gvr, namespace);
    if let Some(labels) = &arguments.selector {
        request = request.query("labelSelector", labels);
    }
    if let Some(fields) = &arguments.field_selector {
        request = request.query("fieldSelector", fields);
    }
    vec![request]
}

fn style(arguments: &Arguments, resource: &Resource, form: Form, several: bool) -> Style {
    Style {
        wide: form == Form::Wide,
        namespaces: arguments.all_namespaces && resource.namespaced,
        prefix: if several { label(resource, "") } else { String::new() },
        bare: arguments.no_headers,
    }
}

/// Prints what is wanted of one resource; whether there was anything.
async fn show(
    session: &Session,
    arguments: &Arguments,
    wanted: &Wanted,
    form: Form,
    several: bool,
    after: bool,
) -> Result<bool> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut out = std::io::stdout().lock();
    for (index, request) in requests(session, arguments, wanted).into_iter().enumerate() {
        match form {
            Form::Table | Form::Wide => {
                let table = session.client.value(&request.accept(TABLE)).await?;
                let style = style(arguments, &wanted.resource, form, several);
                lines.extend(cells(&table, &Style { bare: style.bare || index > 0, ..style }));
            }
            Form::Yaml => {
                let body = session.client.send(&request.accept("application/yaml")).await?.into_body();
                out.write_all(if index > 0 || after { b"---\n" } else { b"" })?;
                out.write_all(&body)?;
            }
            Form::Json => {
                let value = session.client.value(&request).await?;
                writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
            }
            Form::Name => {
                let value = session.client.value(&request).await?;
                let items = value["items"].as_array().cloned().unwrap_or_else(|| vec![value]);
                for item in items {
                    writeln!(
                        out,
                        "{}",
                        label(&wanted.resource, item["metadata"]["name"].as_str().unwrap_or_default())
                    )?;
                }
            }
        }
    }
    if !matches!(form, Form::Table | Form::Wide) {
        return Ok(true);
    }
    let headings = usize::from(!arguments.no_headers);
    if lines.len() <= headings {
        return Ok(false);
    }
    write!(out, "{}{}", if after { "\n" } else { "" }, columns(&lines))?;
    Ok(true)
}

/// Prints the present rows, then a row for every change, until interrupted.
async fn watch(session: &Session, arguments: &Arguments, wanted: &Wanted, form: Form) -> Result<()> {
    let namespace = match wanted.resource.namespaced && !arguments.all_namespaces {
        true => session.namespace.as_str(),
        false => "",
    };
    let mut request =
        Request::collection(Method::GET, &wanted.resource.gvr, namespace).query("watch", "true");
    if let Some(labels) = &arguments.selector {
        request = request.query("labelSelector", labels);
    }
    match wanted.names.as_slice() {
        [] => {
            if let Some(fields) = &arguments.field_selector {
                request = request.query("fieldSelector", fields);
            }
        }
        [name] => request = request.query("fieldSelector", &format!("metadata.name={name}")),
        _ => bail!("you may only watch one name, or all"),
    }
    let table = matches!(form, Form::Table | Form::Wide);
    let request = if table { request.accept(TABLE) } else { request };
    let mut body = session.client.stream(&request).await?.into_body();
    let mut style = style(arguments, &wanted.resource, form, false);
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(chunk) = body.next().await {
        buffer.extend_from_slice(&chunk.map_err(|error| anyhow::anyhow!("the watch broke off: {error}"))?);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line)?;
            if event["type"] == "ERROR" {
                bail!("{}", event["object"]["message"].as_str().unwrap_or("the watch failed"));
            }
            if table {
                print!("{}", columns(&cells(&event["object"], &style)));
                style.bare = true;
            } else {
                println!("{}", event["object"]);
            }
            std::io::stdout().flush()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gifee_base::{Gvk, Gvr};

    #[test]
    fn all_shows_what_its_category_leaves_out() {
        let one = |group: &str, resource: &str, all: bool| Resource {
            gvr: Gvr::new(group, "v1", resource),
            gvk: Gvk::new(group, "v1", resource),
            namespaced: true,
            singular: String::new(),
            short_names: Vec::new(),
            categories: if all { vec!["all".into()] } else { Vec::new() },
            verbs: vec!["list".into()],
            subresources: Vec::new(),
            preferred: true,
        };
        let claims = one("", "persistentvolumeclaims", false);
        let ingresses = one("networking.k8s.io", "ingresses", false);
        let resources = vec![one("", "pods", true), claims, one("", "secrets", false), ingresses];
        let discovery = Discovery { resources, missing: Vec::new() };
        let mut wanted = resource::parse(&discovery, &["all".to_owned()]).unwrap();
        beside_all(&discovery, &mut wanted);
        let shown: Vec<String> = wanted.iter().map(|one| one.resource.gvr.resource.to_string()).collect();
        assert_eq!(shown, ["pods", "ingresses", "persistentvolumeclaims"]);
    }
}
