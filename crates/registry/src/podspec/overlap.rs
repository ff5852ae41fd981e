//! Files of one volume whose paths lie upon one another, of which clients are warned.
//!
//! Answers to `warningsForOverlappingVirtualPaths` of upstream's `pkg/api/pod/warnings.go`.

use crate::value::{is_empty, items, text};
use serde_json::Value;

/// Of all volumes of a pod.
pub(super) fn volumes(warnings: &mut Vec<String>, list: &Value) {
    for volume in items(list) {
        let own = text(&volume["name"]);
        for (kind, shown, field) in [
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("downwardAPI", "DownwardAPI", ""),
        ] {
            let source = &volume[kind];
            // A single file lies upon nothing.
            if items(&source["items"]).len() > 1 {
                let name = named(&source[field]);
                among(warnings, &paths(source), || format!("volume {own:?} ({shown}{name})"));
            }
        }
        if volume["projected"].is_object() {
            projected(warnings, own, &volume["projected"]["sources"]);
        }
    }
}

fn named(name: &Value) -> String {
    name.as_str().map(|name| format!(" {name:?}")).unwrap_or_default()
}

fn paths(source: &Value) -> Vec<&str> {
    items(&source["items"]).iter().map(|file| text(&file["path"])).collect()
}

fn projected(warnings: &mut Vec<String>, own: &str, sources: &Value) {
    let mut all: Vec<&str> = Vec::new();
    for source in items(sources) {
        let Some((kind, body)) =
            source.as_object().and_then(|source| source.iter().find(|(_, body)| !body.is_null()))
        else {
            warnings.push(format!("volume {own:?} (Projected) has no sources provided"));
            continue;
        };
        let shown = match kind.as_str() {
            "configMap" => "ConfigMap",
            "secret" => "Secret",
            "downwardAPI" => "DownwardAPI",
            "serviceAccountToken" => "ServiceAccountToken",
            "clusterTrustBundle" => "ClusterTrustBundle",
            _ => "PodCertificate",
        };
        let mut given = paths(body);
        for field in ["path", "credentialBundlePath", "keyPath", "certificateChainPath"] {
            if !is_empty(&body[field]) {
                given.push(text(&body[field]));
            }
        }
        if given.is_empty() {
            continue;
        }
        let signer =
            if body["name"].is_null() && kind == "clusterTrustBundle" { "signerName" } else { "name" };
        let what = || format!("volume {own:?} (Projected {shown}{})", named(&body[signer]));
        among(warnings, &given, what);
        given.sort_unstable();
        given.dedup();
        let mut together = given.clone();
        together.extend_from_slice(&all);
        together.sort_unstable();
        among(warnings, &together, what);
        for path in given {
            if !all.contains(&path) {
                all.push(path);
            }
        }
    }
}

/// Each path with the first of those before it that it lies upon.
fn among(warnings: &mut Vec<String>, paths: &[&str], what: impl Fn() -> String) {
    let mut seen: Vec<&str> = Vec::with_capacity(paths.len());
    for path in paths.iter().map(|path| path.trim_end_matches('/')) {
        if path.is_empty() {
            continue;
        }
        if let Some(other) = seen.iter().find(|other| is_upon(other, path)) {
            warnings.push(format!("{}: overlapping paths: {path:?} with {other:?}", what()));
        }
        if !seen.contains(&path) {
            seen.push(path);
        }
    }
}

/// One is the other, or begins as the other does: upstream compares text, so that `ab` lies upon `a`.
fn is_upon(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
