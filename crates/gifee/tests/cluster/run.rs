//! Programs that are run to their end, with a deadline, and what they said.

use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

/// No command of these tests takes longer.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// The runtime that all tests of this program share.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

/// What a program came to.
#[derive(Debug)]
pub struct Ran {
    what: String,
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// Its output; it must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.code == 0, "{self}");
        self.out
    }

    /// It must have failed, and have said all of this.
    #[track_caller]
    pub fn fails(self, words: &[&str]) {
        assert!(self.code != 0, "it succeeded: {self}");
        for word in words {
            assert!(self.err.contains(word) || self.out.contains(word), "nothing of {word:?} in: {self}");
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "`{}` ended with {}\n{}{}", self.what, self.code, self.out, self.err)
    }
}

/// Runs a program with an environment and some input.
#[track_caller]
pub fn run(program: &Path, words: &[&str], environment: &[(&str, &Path)], input: &[u8]) -> Ran {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("{name} {}", words.join(" "));
    let mut command = tokio::process::Command::new(program);
    command.args(words).envs(environment.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_vec();
    let output = runtime().block_on(async {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut pipe = child.stdin.take().unwrap();
        // A program that does not read its input is free not to.
        let feed = async move { drop(pipe.write_all(&input).await) };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        tokio::time::timeout(DEADLINE, both).await
    });
    let output = output.unwrap_or_else(|_| panic!("`{what}` did not end within {DEADLINE:?}")).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { what, code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}
