//! `/healthz`, `/livez`, `/readyz`, whole and check by check.
//!
//! Answers to apiserver's `server/healthz`; the texts are those that people and probes match on.

use crate::body::Body;
use crate::request::Request;
use crate::respond;
use crate::server::Server;
use gifee_base::Status;
use http::Response;
use std::fmt::Write;
use std::time::Duration;

/// How long the store may take to answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs all checks of an endpoint: names, and why they fail.
async fn checks(server: &Server, endpoint: &str) -> Vec<(String, Result<(), String>)> {
    let store = match tokio::time::timeout(STORE_TIMEOUT, server.config.store.revision()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store did not answer in time".to_owned()),
    };
    let mut all = vec![("ping".to_owned(), Ok(())), ("log".to_owned(), Ok(())), ("etcd".to_owned(), store)];
    if endpoint == "readyz" {
        let synced = if server.caches.progress() > 0 { Ok(()) } else { Err("caches are empty".to_owned()) };
        all.push(("informer-sync".to_owned(), synced));
    }
    if endpoint != "livez" {
        all.extend(server.config.checks.iter().map(|(name, check)| (name.clone(), check())));
    }
    if endpoint == "readyz" {
        let up = if server.is_ready() { Ok(()) } else { Err("process is shutting down".to_owned()) };
        all.push(("shutdown".to_owned(), up));
    }
    all
}

/// Answers an endpoint, or one of its checks.
pub async fn answer(
    request: &Request<'_>,
    endpoint: &'static str,
    check: &[&str],
) -> Result<Response<Body>, Status> {
    let mut all = checks(request.server, endpoint).await;
    if !check.is_empty() {
        let name = check.join("/");
        all.retain(|(one, _)| *one == name);
        if all.is_empty() {
            return Ok(respond::page_not_found());
        }
    }
    let excluded: Vec<&str> = request.query.all("exclude").collect();
    let mut text = String::new();
    let mut failed = Vec::new();
    for (name, outcome) in &all {
        request.server.metrics.checked(name, endpoint, outcome.is_ok());
        if excluded.contains(&name.as_str()) {
            let _ = writeln!(text, "[+]{name} excluded: ok");
        } else if let Err(why) = outcome {
            tracing::warn!(check = %name, %why, "a health check failed");
            let _ = writeln!(text, "[-]{name} failed: reason withheld");
            failed.push(name.as_str());
        } else {
            let _ = writeln!(text, "[+]{name} ok");
        }
    }
    if !failed.is_empty() {
        return Ok(respond::text(500, format!("{text}{endpoint} check failed\n")));
    }
    if request.query.has("verbose") && check.is_empty() {
        return Ok(respond::text(200, format!("{text}{endpoint} check passed\n")));
    }
    Ok(respond::text(200, "ok"))
}
