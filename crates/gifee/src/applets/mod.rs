//! APPLETS: what the first word of the command line selects.
//!
//! Words that are none of these belong to the API client: `gifee get pods`.

mod agent;
mod down;
mod image;
mod simulate;
mod status;
mod up;

use clap::Args;
use std::process::ExitCode;

/// One applet: its name, what it is for, whether `--help` shows it, and its function over the words after its name.
pub struct Applet {
    /// First word.
    pub name: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&[String]) -> anyhow::Result<ExitCode>,
}

/// All applets.
pub const APPLETS: &[Applet] = &[
    Applet { name: "up", about: "Bring up a cluster on this machine", run: up::up },
    Applet { name: "down", about: "End the cluster on this machine; its data stays", run: down::down },
    Applet { name: "status", about: "Say how the cluster on this machine is", run: status::status },
    Applet { name: "image", about: "Import, pull, list and remove images of the node", run: image::image },
    Applet { name: "server", about: "Run the control plane alone, for nodes elsewhere", run: up::server },
    Applet {
        name: "credentials",
        about: "Write what a node needs to join this control plane",
        run: agent::credentials,
    },
    Applet { name: "simulate", about: simulate::ABOUT, run: simulate::simulate },
    Applet { name: "agent", about: "Run a node of a control plane elsewhere", run: agent::agent },
];

/// Runs what the command line asks for.
pub fn run(arguments: &[String]) -> ExitCode {
    let name = arguments.get(1).map(String::as_str).unwrap_or("help");
    if let Some(applet) = APPLETS.iter().find(|applet| applet.name == name) {
        return match (applet.run)(&arguments[2..]) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(code) = gifee_cli::run(arguments.get(1..).unwrap_or_default()) {
        return code;
    }
    match name {
        "help" | "--help" | "-h" => {
            print!("{}", help());
            ExitCode::SUCCESS
        }
        "version" | "--version" | "-V" => {
            println!("gifee {} (Kubernetes 1.37)", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("error: unknown command {other:?}; see `gifee help`");
            ExitCode::from(2)
        }
    }
}

fn help() -> String {
    let mut text = String::from("gifee: Kubernetes on this machine, in one program\n\n");
    let line = |name: &str, about: &str| format!("  {name:<11} {about}\n");
    text.push_str("This machine:\n");
    text.extend(APPLETS.iter().map(|applet| line(applet.name, applet.about)));
    text.push_str("\nThe cluster (kubectl works as well):\n");
    text.extend(gifee_cli::VERBS.iter().map(|verb| line(verb.name, verb.about)));
    text.push_str("\nEach takes --help. Start with `sudo gifee up`.\n");
    text
}

/// Reads an applet's flags; prints help or what is wrong and ends the process if there are none to read.
fn parse<A: Args>(name: &'static str, about: &'static str, words: &[String]) -> A {
    let command = A::augment_args(clap::Command::new(name).about(about).bin_name(format!("gifee {name}")));
    let words = std::iter::once(name.to_owned()).chain(words.iter().cloned());
    let matches = command.get_matches_from(words);
    match A::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    }
}
