//! `/exec`, `/attach`, `/run`: programs in containers.

use std::sync::Arc;

use gifee_base::Status;
use gifee_oci::spec::ExecSpec;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::query::Query;
use super::routes::{self, Named};
use super::{Body, respond};
use crate::agent::Agent;
use crate::streams::remote::{self, Deed, Wanted};
use crate::streams::upgrade;

/// Names of the flags, as clients and as API servers write them.
const STDIN: [&str; 2] = ["stdin", "input"];
const STDOUT: [&str; 2] = ["stdout", "output"];
const STDERR: [&str; 2] = ["stderr", "error"];
const TTY: [&str; 1] = ["tty"];

/// Which streams a request is for.
pub(super) fn wanted(query: &Query) -> Result<Wanted, Status> {
    let tty = query.flag(&TTY);
    // A terminal has one output.
    let stderr = query.flag(&STDERR) && !tty;
    let wanted = Wanted { stdin: query.flag(&STDIN), stdout: query.flag(&STDOUT), stderr, tty };
    if !wanted.stdin && !wanted.stdout && !wanted.stderr {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(wanted)
}

pub(super) async fn exec(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let named = Named::find(&agent, &rest)?;
    let query = routes::query(&request);
    let args: Vec<String> = query.all("command").map(str::to_owned).collect();
    if args.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let wanted = wanted(&query)?;
    let spec = ExecSpec { args, tty: wanted.tty, stdin: wanted.stdin, ..ExecSpec::default() };
    stream(agent, &named, Deed::Exec(spec), wanted, request)
}

pub(super) async fn attach(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let named = Named::find(&agent, &rest)?;
    let wanted = wanted(&routes::query(&request))?;
    stream(agent, &named, Deed::Attach, wanted, request)
}

fn stream(
    agent: Arc<Agent>,
    named: &Named,
    deed: Deed,
    wanted: Wanted,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let id = named.running()?.to_owned();
    let (agreed, headers) = upgrade::negotiate(request.headers(), upgrade::REMOTE)?;
    let serving = agent.clone();
    upgrade::answer(&agent, request, headers, move |upgraded| {
        remote::serve(serving, id, deed, wanted, agreed, upgraded)
    })
}

pub(super) async fn run(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let named = Named::find(&agent, &rest)?;
    let query = routes::query(&request);
    let line = query.get("cmd").unwrap_or_default();
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let result = agent.runtime.exec_sync(named.running()?, &args, None).await;
    let result = result.map_err(|error| Status::internal(error.to_string()))?;
    let output = [result.stdout, result.stderr].concat();
    let code = if result.exit_code == 0 { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    Ok(respond(code, "text/plain", String::from_utf8_lossy(&output).into_owned()))
}
