//! `/exec`, `/attach`, `/run`: programs in containers.

use std::sync::Arc;

use gifee_base::Status;
use gifee_oci::spec::ExecSpec;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::routes::{self, Named};
use super::{Body, respond, websocket};
use crate::agent::Agent;

/// Names of the flags, as clients and as API servers write them.
const STDIN: [&str; 2] = ["stdin", "input"];
const STDOUT: [&str; 2] = ["stdout", "output"];
const STDERR: [&str; 2] = ["stderr", "error"];
const TTY: [&str; 1] = ["tty"];

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
    let tty = query.flag(&TTY);
    let spec = ExecSpec { args, tty, stdin: query.flag(&STDIN), ..ExecSpec::default() };
    let (stdout, stderr) = (query.flag(&STDOUT), query.flag(&STDERR) && !tty);
    let id = named.running()?.to_owned();
    websocket::upgrade(request, &websocket::PROTOCOLS, move |socket| async move {
        let session = agent.runtime.exec(&id, spec).await;
        websocket::serve(socket, session.map(|session| only(session, stdout, stderr))).await;
    })
}

pub(super) async fn attach(
    agent: Arc<Agent>,
    rest: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Status> {
    let named = Named::find(&agent, &rest)?;
    let query = routes::query(&request);
    let (stdin, stdout) = (query.flag(&STDIN), query.flag(&STDOUT));
    let stderr = query.flag(&STDERR) && !query.flag(&TTY);
    let id = named.running()?.to_owned();
    websocket::upgrade(request, &websocket::PROTOCOLS, move |socket| async move {
        let session = agent.runtime.attach(&id, stdin).await;
        websocket::serve(socket, session.map(|session| only(session, stdout, stderr))).await;
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

/// What was not asked for is read and dropped, so that the program does not wait for a reader.
fn only(mut session: gifee_oci::Session, stdout: bool, stderr: bool) -> gifee_oci::Session {
    let drain = |output: &mut Option<gifee_oci::runtime::Output>| {
        if let Some(mut output) = output.take() {
            tokio::spawn(async move {
                // Whatever it is, nobody wants it.
                let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
            });
        }
    };
    if !stdout {
        drain(&mut session.stdout);
    }
    if !stderr {
        drain(&mut session.stderr);
    }
    session
}
