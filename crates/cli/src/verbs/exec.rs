//! `gifee exec`: a command in a container, over WebSocket with channels.
//!
//! Answers to kubectl's remote command executor, protocols v5 and v4.

use super::parse;
use crate::session::Globals;
use anyhow::{Context, Result, bail};
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Request, WebSocket};
use http::Method;
use nix::sys::termios::{self, SetArg, Termios};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::tungstenite::Message;

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
const CHUNK: usize = 32 << 10;

/// Run a command in a container
#[derive(Parser, Debug)]
#[command(name = "exec", bin_name = "gifee exec")]
struct Arguments {
    /// The pod
    pod: String,
    #[command(flatten)]
    globals: Globals,
    /// The container [default: the only one, or the first]
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Give it this terminal's input
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the verb; the exit code is the command's.
pub async fn run(words: Vec<String>) -> Result<ExitCode> {
    let arguments: Arguments = parse(words);
    let session = arguments.globals.open()?;
    let name = arguments.pod.rsplit('/').next().unwrap_or_default();
    let key = ObjectKey::new(&session.namespace, name);
    let terminal = arguments.tty && std::io::stdin().is_terminal();
    if arguments.tty && !terminal {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let mut request = Request::object(Method::GET, &Gvr::core("pods"), &key).segment("exec");
    for word in &arguments.command {
        request = request.query("command", word);
    }
    if let Some(container) = &arguments.container {
        request = request.query("container", container);
    }
    for (parameter, wanted) in
        [("stdin", arguments.stdin), ("stdout", true), ("stderr", !terminal), ("tty", terminal)]
    {
        request = request.query(parameter, if wanted { "true" } else { "false" });
    }
    let (socket, protocol) = session.client.websocket(request.path(), &PROTOCOLS).await?;
    let raw = terminal.then(Raw::begin).transpose()?;
    let outcome = talk(socket, protocol.as_deref() == Some(PROTOCOLS[0]), arguments.stdin, terminal).await;
    drop(raw);
    exit(&outcome?)
}

/// The terminal without echo and line editing, until dropped.
struct Raw(Termios);

impl Raw {
    fn begin() -> Result<Self> {
        let before = termios::tcgetattr(std::io::stdin()).context("reading the terminal's settings")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

fn frame(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

fn size() -> Option<Message> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    let text = json!({ "Width": size.ws_col, "Height": size.ws_row }).to_string();
    Some(frame(RESIZE, text.as_bytes()))
}

/// Carries the streams until the command ends; its status as the server tells it.
async fn talk(mut socket: WebSocket, closes: bool, stdin: bool, terminal: bool) -> Result<Value> {
    let mut resized = signal(SignalKind::window_change())?;
    if let Some(size) = size().filter(|_| terminal) {
        socket.send(size).await?;
    }
    let mut input = tokio::io::stdin();
    let mut reading = stdin;
    let mut buffer = vec![0; CHUNK];
    let mut status = Value::Null;
    loop {
        tokio::select! {
            message = socket.next() => {
                let data = match message {
                    Some(Ok(Message::Binary(data))) => data,
                    Some(Ok(Message::Close(_))) | None => return Ok(status),
                    Some(Ok(_)) => continue,
                    Some(Err(_)) if !status.is_null() => return Ok(status),
                    Some(Err(error)) => return Err(error).context("the connection broke off"),
                };
                let Some((channel, data)) = data.split_first() else { continue };
                match *channel {
                    STDOUT => write(&mut std::io::stdout().lock(), data)?,
                    STDERR => write(&mut std::io::stderr().lock(), data)?,
                    ERROR => status = serde_json::from_slice(data).unwrap_or_else(|_| json!({ "status": "Failure",
                        "message": String::from_utf8_lossy(data) })),
                    _ => {}
                }
            }
            read = input.read(&mut buffer), if reading => match read? {
                0 => {
                    reading = false;
                    if closes {
                        socket.send(Message::Binary(vec![CLOSE, STDIN].into())).await?;
                    }
                }
                count => socket.send(frame(STDIN, &buffer[..count])).await?,
            },
            _ = resized.recv(), if terminal => if let Some(size) = size() {
                socket.send(size).await?;
            },
        }
    }
}

fn write(out: &mut dyn Write, data: &[u8]) -> Result<()> {
    out.write_all(data)?;
    Ok(out.flush()?)
}

fn exit(status: &Value) -> Result<ExitCode> {
    if status["status"] == "Success" || status.is_null() {
        return Ok(ExitCode::SUCCESS);
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code =
        causes.filter(|cause| cause["reason"] == "ExitCode").find_map(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse::<u8>().ok()) {
        Some(code) => {
            eprintln!("command terminated with exit code {code}");
            Ok(ExitCode::from(code))
        }
        None => bail!("{}", status["message"].as_str().unwrap_or("the command failed")),
    }
}
