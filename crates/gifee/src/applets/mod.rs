//! APPLETS: what the first word of the command line selects.
//!
//! Words that are none of these belong to the API client: `gifee get pods`.

mod down;
mod image;
mod status;
mod up;

use clap::Args;
use std::process::ExitCode;

/// One applet: its name, what it is for, whether `--help` shows it, and its function over the words after its name.
pub struct Applet {
    /// First word.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[String]) -> anyhow::Result<ExitCode>,
}

/// All applets.
pub const APPLETS: &[Applet] =
    &[Applet { name: "up", run: up::up }, Applet { name: "server", run: up::server }];

/// Runs what the command line asks for.
pub fn run(arguments: &[String]) -> ExitCode {
    let name = arguments.get(1).map(String::as_str).unwrap_or_default();
    let Some(applet) = APPLETS.iter().find(|applet| applet.name == name) else {
        eprintln!("error: unknown command {name:?}; see `gifee help`");
        return ExitCode::from(2);
    };
    match (applet.run)(&arguments[2..]) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
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
