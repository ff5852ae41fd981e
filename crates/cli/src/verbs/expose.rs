//! `gifee expose`: a Service for a workload, by its selector.

use super::parse;
use crate::resource;
use crate::session::Globals;
use anyhow::{Result, bail};
use clap::Parser;
use gifee_base::{Gvr, ObjectKey};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Make a Service for a workload
#[derive(Parser, Debug)]
#[command(name = "expose", bin_name = "gifee expose")]
struct Arguments {
    /// RESOURCE NAME or RESOURCE/NAME: a pod, Deployment, ReplicaSet, StatefulSet or Service
    #[arg(required = true)]
    what: Vec<String>,
    #[command(flatten)]
    globals: Globals,
    /// Port of the Service [default: the containers' own]
    #[arg(long)]
    port: Option<u16>,
    /// Port of the pods, by number or name [default: that of the Service]
    #[arg(long)]
    target_port: Option<String>,
    /// TCP, UDP or SCTP
    #[arg(long, default_value = "TCP")]
    protocol: String,
    /// ClusterIP, NodePort or LoadBalancer
    #[arg(long = "type", default_value = "ClusterIP")]
    kind: String,
    /// Name of the Service [default: that of the workload]
    #[arg(long)]
    name: Option<String>,
}

/// Runs the verb.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let session = arguments.globals.open()?;
    let wanted = resource::parse(&session.discovery().await?, &arguments.what)?;
    let [one] = wanted.as_slice() else { bail!("expose takes one workload") };
    let [name] = one.names.as_slice() else { bail!("expose takes one workload: say its name") };
    let object =
        session.client.get(&one.resource.gvr, &ObjectKey::new(&session.namespace, name)).await?.to_value()?;
    let (selector, pod) = match &*one.resource.gvk.kind {
        "Pod" => (object["metadata"]["labels"].clone(), object["spec"].clone()),
        "Service" => (object["spec"]["selector"].clone(), Value::Null),
        "ReplicationController" => {
            (object["spec"]["selector"].clone(), object["spec"]["template"]["spec"].clone())
        }
        _ => (object["spec"]["selector"]["matchLabels"].clone(), object["spec"]["template"]["spec"].clone()),
    };
    if selector.as_object().is_none_or(serde_json::Map::is_empty) {
        bail!("{name} has no labels that a Service could select by");
    }
    let containers = pod["containers"].as_array().into_iter().flatten();
    let own: Vec<Value> =
        containers.flat_map(|one| one["ports"].as_array().cloned().unwrap_or_default()).collect();
    let ports: Vec<(Value, String)> = match arguments.port {
        Some(port) => vec![(port.into(), arguments.protocol.clone())],
        None => own
            .iter()
            .map(|port| {
                (port["containerPort"].clone(), port["protocol"].as_str().unwrap_or("TCP").to_owned())
            })
            .collect(),
    };
    if ports.is_empty() {
        bail!("couldn't find a port in {name}: say it with --port");
    }
    let several = ports.len() > 1;
    let ports = ports.into_iter().enumerate().map(|(index, (port, protocol))| {
        let target = match &arguments.target_port {
            Some(text) => text.parse::<u16>().map_or_else(|_| Value::from(text.as_str()), Value::from),
            None => port.clone(),
        };
        let mut port = json!({ "port": port, "protocol": protocol, "targetPort": target });
        if several {
            port["name"] = format!("port-{}", index + 1).into();
        }
        port
    });
    let service = arguments.name.clone().unwrap_or_else(|| name.clone());
    let object = json!({ "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": service, "labels": object["metadata"]["labels"] },
        "spec": { "type": arguments.kind, "selector": selector, "ports": ports.collect::<Vec<_>>() } });
    session.client.create(&Gvr::core("services"), &session.namespace, object).await?;
    println!("service/{service} exposed");
    Ok(ExitCode::SUCCESS)
}
