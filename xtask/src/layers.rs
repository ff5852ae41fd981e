//! Which crate may use which: DESIGN's table as data, held against what cargo says.
//!
//! Answers to upstream's import restrictions. A crate that is not in the table fails, so a new one is placed first.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Layer, crate, and the crates of ours that it may use. Development dependencies may be anything but higher.
const LAYERS: &[(u8, &str, &[&str])] = &[
    (0, "gifee-base", &[]),
    (0, "gifee-testkit", &["base"]),
    (1, "gifee-schema", &["base"]),
    (1, "gifee-store", &["base"]),
    (1, "gifee-client", &["base"]),
    (1, "gifee-oci", &["base"]),
    (2, "gifee-registry", &["base", "schema"]),
    (2, "gifee-policy", &["base", "schema"]),
    (2, "gifee-reconcile", &["base", "client"]),
    (3, "gifee-apiserver", &["base", "schema", "store", "registry", "policy"]),
    // Devices are selected by expressions, which are judged in one place.
    (3, "gifee-scheduler", &["base", "schema", "client", "reconcile"]),
    // What a quota counts is measured in one place, by who charges and by who counts again.
    (3, "gifee-controllers", &["base", "client", "reconcile", "policy"]),
    (3, "gifee-net", &["base", "client", "reconcile"]),
    // What a pod asks for and where it may be is decided in one place, also by the node that takes it on.
    (4, "gifee-kubelet", &["base", "client", "policy", "reconcile", "oci", "net"]),
    (4, "gifee-cli", &["base", "schema", "client"]),
    // The control plane in one process: what the binary and the simulation have of it alike.
    (4, "gifee-plane", &["base", "client", "policy", "apiserver"]),
    (
        5,
        "gifee-simulation",
        &[
            "base",
            "schema",
            "store",
            "client",
            "registry",
            "policy",
            "reconcile",
            "apiserver",
            "scheduler",
            "controllers",
            "plane",
        ],
    ),
    (6, "gifee", &["*"]),
    (6, "xtask", &["*"]),
];

/// External crates that only some of ours may name, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "k8s-openapi",
        &["gifee-reconcile", "gifee-scheduler", "gifee-controllers", "gifee-net", "gifee-kubelet"],
        "only the typed side names Kubernetes' types",
    ),
    ("fjall", &["gifee-store"], "only the store keeps data"),
    ("libcontainer", &["gifee-oci"], "only oci runs containers"),
    ("jsonwebtoken", &["gifee-policy"], "only policy verifies tokens"),
];

/// One package as `cargo metadata` shows it.
pub struct Package {
    name: String,
    /// Dependency name and kind: empty for a normal one.
    dependencies: Vec<(String, String)>,
}

/// Runs the check on the workspace.
///
/// # Errors
/// If a dependency is forbidden.
pub fn run() -> Result<()> {
    let packages = packages(&metadata(&["--no-deps"])?);
    let findings = check(&packages);
    if findings.is_empty() {
        println!("layers: {} crates, every dependency allowed", packages.len());
        return Ok(());
    }
    bail!("forbidden dependencies:\n  {}", findings.join("\n  "))
}

/// What `cargo metadata` prints.
///
/// # Errors
/// If cargo fails.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .output()
        .context("running cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn packages(metadata: &Value) -> Vec<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let package = |package: &Value| Package {
        name: text(&package["name"]),
        dependencies: list(&package["dependencies"])
            .iter()
            .map(|one| (text(&one["name"]), text(&one["kind"])))
            .collect(),
    };
    list(&metadata["packages"]).iter().map(package).collect()
}

/// The forbidden dependencies, a line each.
pub fn check(packages: &[Package]) -> Vec<String> {
    let layers: BTreeMap<&str, (u8, &[&str])> =
        LAYERS.iter().map(|(layer, name, may)| (*name, (*layer, *may))).collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some((layer, may)) = layers.get(package.name.as_str()) else {
            findings
                .push(format!("{} stands in no layer: give it a row in xtask/src/layers.rs", package.name));
            continue;
        };
        for (dependency, kind) in &package.dependencies {
            for (external, users, why) in RESERVED {
                if dependency == external && kind.is_empty() && !users.contains(&package.name.as_str()) {
                    findings.push(format!("{} may not use {external}: {why}", package.name));
                }
            }
            let Some((below, _)) = layers.get(dependency.as_str()) else { continue };
            let short = dependency.trim_start_matches("gifee-");
            let allowed = if kind == "dev" {
                dependency == "gifee-testkit" || below <= layer
            } else {
                may.contains(&"*") || may.contains(&short)
            };
            if !allowed {
                findings.push(format!(
                    "{} (layer {layer}) may not use {dependency} (layer {below})",
                    package.name
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, &str)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind)| ((*name).into(), (*kind).into())).collect();
        Package { name: name.into(), dependencies }
    }

    #[test]
    fn forbidden_dependencies_are_named() {
        let findings = check(&[
            package("gifee-base", &[("gifee-store", "")]),
            package(
                "gifee-controllers",
                &[("gifee-store", ""), ("gifee-client", ""), ("gifee-testkit", "dev")],
            ),
            package("gifee-client", &[("k8s-openapi", "")]),
            package("gifee-helpers", &[]),
        ]);
        assert_eq!(
            findings,
            [
                "gifee-base (layer 0) may not use gifee-store (layer 1)",
                "gifee-controllers (layer 3) may not use gifee-store (layer 1)",
                "gifee-client may not use k8s-openapi: only the typed side names Kubernetes' types",
                "gifee-helpers stands in no layer: give it a row in xtask/src/layers.rs",
            ]
        );
    }
}
