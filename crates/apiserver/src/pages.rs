//! Pages for people who look into a server: what runs since when (`/statusz`), and how it was started (`/flagz`).
//!
//! Invariant: a page is text unless an object of its kind is asked for. Answers to apiserver's `statusz` and `flagz`.

use crate::body::Body;
use crate::negotiate::{Accept, Clause, Media, not_acceptable, pretty};
use crate::request::Request;
use crate::respond;
use gifee_base::{Status, clock};
use http::Response;
use http::header::ACCEPT;
use serde_json::{Map, Value, json};

/// What upstream's server is called on its pages.
const COMPONENT: &str = "apiserver";
const GROUP: &str = "config.k8s.io";
const TEXT: &str = "text/plain; charset=utf-8";

/// How a page is shown.
enum Form {
    Text,
    /// An object; whether of `v1beta1`, else `v1alpha1`.
    Object(Media, bool),
}

fn form(request: &Request<'_>, kind: &str) -> Result<Form, Status> {
    let header = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header.trim().is_empty() {
        return Ok(Form::Text);
    }
    let mut best: Option<((f32, bool, bool), Form)> = None;
    for clause in header.split(',').filter_map(Clause::parse) {
        let found = match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
            (None, None, None) if clause.names_text() => Some(Form::Text),
            (Some(own), Some(GROUP), Some(version @ ("v1beta1" | "v1alpha1"))) if own == kind => {
                let media = [Media::Json, Media::Yaml].into_iter().find(|media| clause.names(*media));
                media.map(|media| Form::Object(media, version == "v1beta1"))
            }
            _ => None,
        };
        let rank = clause.rank();
        if let Some(found) = found.filter(|_| best.as_ref().is_none_or(|(best, _)| rank > *best)) {
            best = Some((rank, found));
        }
    }
    let accepted = "application/json, application/yaml, text/plain";
    let none = || not_acceptable(format!("only the following media types are accepted: {accepted}"));
    best.map(|(_, form)| form).ok_or_else(none)
}

fn head(page: &str) -> String {
    format!(
        "\n{COMPONENT} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n"
    )
}

/// A page: its text, or the fields of its object.
fn show(
    request: &Request<'_>,
    kind: &str,
    text: impl FnOnce() -> String,
    fields: impl FnOnce() -> Map<String, Value>,
) -> Result<Response<Body>, Status> {
    let (media, beta) = match form(request, kind)? {
        Form::Text => return Ok(respond::bytes(200, TEXT, text())),
        Form::Object(media, beta) => (media, beta),
    };
    let version = if beta { "v1beta1" } else { "v1alpha1" };
    if !beta {
        let page = kind.to_ascii_lowercase();
        request
            .warn(format!("This version of the {page} endpoint is deprecated. Please use a newer version."));
    }
    let mut object = json!({
        "kind": kind, "apiVersion": format!("{GROUP}/{version}"), "metadata": { "name": COMPONENT },
    });
    if let Some(map) = object.as_object_mut() {
        map.extend(fields());
    }
    let pretty = pretty(request.headers, request.query);
    Ok(respond::value(200, &Accept { media, pretty, ..Accept::JSON }, &object))
}

/// What runs, and since when; `listed` are the paths that are told of.
pub fn status(request: &Request<'_>, listed: &[&str]) -> Result<Response<Body>, Status> {
    let server = request.server;
    let begun = server.begun;
    let up = server.config.clock.now().duration_since(begun).as_secs().max(0);
    let full = server.config.version.git_version.trim_start_matches('v');
    let binary = full.split(['-', '+']).next().unwrap_or(full);
    let emulated = binary.rsplit_once('.').map_or(binary, |(minor, _)| minor);
    let mut paths: Vec<String> = listed
        .iter()
        .filter_map(|path| path.split('/').nth(1))
        .filter(|folder| {
            !matches!(*folder, "" | "apis" | "api" | "openid" | "openapi" | ".well-known" | "statusz")
        })
        .map(|folder| format!("/{folder}"))
        .collect();
    paths.sort();
    paths.dedup();
    let text = || {
        let since = begun.strftime("%a %b %e %H:%M:%S UTC %Y");
        let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
        format!(
            "{}\nStarted: {since}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\nGo version: none\nBinary version: {binary}\nEmulation version: {emulated}\nPaths: {}\n",
            head("statusz"),
            paths.join(" ")
        )
    };
    let fields = || {
        let fields = json!({
            "startTime": clock::format_time(begun), "uptimeSeconds": up, "goVersion": "none",
            "binaryVersion": binary, "emulationVersion": emulated, "paths": paths,
        });
        fields.as_object().cloned().unwrap_or_default()
    };
    show(request, "Statusz", text, fields)
}

/// How it was started.
pub fn flags(request: &Request<'_>) -> Result<Response<Body>, Status> {
    let flags = &request.server.config.flags;
    let text = || {
        let lines = flags.iter().map(|(name, value)| format!("{name}: {value}\n"));
        format!("{}{}", head("flagz"), lines.collect::<String>())
    };
    let fields = || {
        let mut fields = Map::new();
        if !flags.is_empty() {
            fields.insert("flags".into(), json!(flags));
        }
        fields
    };
    show(request, "Flagz", text, fields)
}
