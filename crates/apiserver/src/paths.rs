//! Paths that name no resource: discovery, OpenAPI, version, health, metrics, the token issuer's documents.
//!
//! Answers to the routes that kube-apiserver installs besides its storages.

use crate::body::Body;
use crate::negotiate::Accept;
use crate::request::Request;
use crate::{discovery, fairness, health, openapi, pages, respond};
use gifee_base::Status;
use http::{Method, Response};
use serde_json::{Value, json};

/// The form of what is no object: it is not negotiated.
const PRETTY: Accept = Accept { pretty: true, ..Accept::JSON };

/// What `/` lists besides groups.
const LISTED: &[&str] = &[
    "/.well-known/openid-configuration",
    "/flagz",
    "/healthz",
    "/livez",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/statusz",
    "/version",
];

/// Answers a path.
pub async fn answer(request: &Request<'_>) -> Result<Response<Body>, Status> {
    let parts: Vec<&str> = request.info.path.trim_matches('/').split('/').collect();
    // Those that upstream routes by method; the others answer to any.
    let routed = matches!(parts[0], "api" | "apis" | "version" | ".well-known" | "openid");
    if routed && *request.method != Method::GET {
        return Err(crate::dispatch::not_allowed());
    }
    match parts.as_slice() {
        [""] => root(request),
        ["api" | "apis", ..] => discovery::answer(request, &parts),
        ["version"] => version(request),
        ["healthz", check @ ..] => health::answer(request, "healthz", check).await,
        ["livez", check @ ..] => health::answer(request, "livez", check).await,
        ["readyz", check @ ..] => health::answer(request, "readyz", check).await,
        ["metrics"] => {
            let server = request.server;
            let stored = server.config.store.bytes();
            Ok(server.metrics.respond(&server.caches, stored, request.headers))
        }
        ["metrics", "slis"] => Ok(request.server.metrics.respond_checks(request.headers)),
        ["statusz"] => pages::status(request, LISTED),
        ["flagz"] => pages::flags(request),
        ["debug", "api_priority_and_fairness", table] => fairness::dump(request, table),
        ["openapi", "v2"] => openapi::v2(request),
        ["openapi", "v3", rest @ ..] => openapi::v3(request, rest),
        [".well-known", "openid-configuration"] => issuer(request, false),
        ["openid", "v1", "jwks"] => issuer(request, true),
        _ => Ok(respond::page_not_found()),
    }
}

fn root(request: &Request<'_>) -> Result<Response<Body>, Status> {
    let kinds = request.server.kinds.load();
    let mut paths: Vec<String> = LISTED.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(["/api", "/apis"].map(str::to_owned));
    for resource in kinds.all() {
        let (group, version) = (resource.group(), resource.version());
        if group.is_empty() {
            paths.push(format!("/api/{version}"));
        } else {
            paths.push(format!("/apis/{group}"));
            paths.push(format!("/apis/{group}/{version}"));
        }
    }
    crate::aggregate::insert_paths(&request.server.aggregator, &mut paths);
    paths.sort();
    paths.dedup();
    Ok(respond::value(200, &PRETTY, &json!({ "paths": paths })))
}

fn version(request: &Request<'_>) -> Result<Response<Body>, Status> {
    let version = &request.server.config.version;
    let number = version.git_version.trim_start_matches('v');
    let mut numbers = number.split(['.', '-', '+']);
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let value: Value = json!({
        "major": major, "minor": minor, "gitVersion": version.git_version, "gitCommit": version.git_commit,
        "gitTreeState": "clean", "buildDate": version.build_date, "goVersion": "none", "compiler": "rustc",
        "platform": format!("linux/{machine}"),
    });
    Ok(respond::value(200, &PRETTY, &value))
}

fn issuer(request: &Request<'_>, keys: bool) -> Result<Response<Body>, Status> {
    let issuer = request.server.config.issuer.as_ref().ok_or_else(Status::no_such_path)?;
    if keys {
        return Ok(respond::bytes(200, "application/jwk-set+json", issuer.jwks.clone()));
    }
    let value = json!({
        "issuer": issuer.url, "jwks_uri": issuer.jwks_url, "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    });
    Ok(respond::bytes(200, "application/json", value.to_string()))
}
