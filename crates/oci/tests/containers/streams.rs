//! Programs run in containers, terminals, attachments.

use std::time::{Duration, Instant};

use gifee_oci::spec::{ContainerSpec, ExecSpec, Size};
use gifee_oci::{Error, Runtime, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::machine::{Machine, output, processes_of, shell};

fn words(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

/// Output, exit codes, environment, errors, time limits.
pub async fn exec_sync() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let mut spec = shell("exec sleep 1000");
    spec.env = vec![("A".into(), "b".into())];
    spec.user.uid = Some(33);
    spec.security.seccomp = gifee_oci::spec::Seccomp::RuntimeDefault;
    let id = machine.start(&sandbox, spec).await;
    let run = async |script: &str| {
        machine.runtime.exec_sync(&id, &words(script), Some(Duration::from_secs(20))).await
    };
    let result = run("echo out; echo err >&2; exit 5").await.expect("exec");
    assert_eq!(
        (result.stdout.as_slice(), result.stderr.as_slice()),
        (b"out\n".as_slice(), b"err\n".as_slice())
    );
    assert_eq!(result.exit_code, 5);
    let result =
        run("echo $A $(id -u) $(id -G) $HOME; awk '/^Seccomp:/ {print $2}' /proc/self/status; ps | wc -l")
            .await;
    let text = String::from_utf8(result.expect("exec").stdout).expect("text");
    assert!(text.starts_with("b 33 44 50 /srv\n2\n"), "{text}");
    let result = run("kill -9 $$").await.expect("exec");
    assert_eq!(result.exit_code, 137);
    let result = run("yes 0123456789 | head -c 5000000").await.expect("exec");
    assert_eq!(result.stdout.len(), 5_000_000);
    let missing =
        machine.runtime.exec_sync(&id, &["nope".to_owned()], None).await.expect_err("no such program");
    assert!(missing.to_string().contains("exec: \"nope\": executable file not found in $PATH"), "{missing}");
    let begun = Instant::now();
    let limit = Some(Duration::from_millis(300));
    let late = machine.runtime.exec_sync(&id, &words("exec sleep 4321"), limit).await.expect_err("too late");
    assert!(matches!(late, Error::Timeout { .. }) && begun.elapsed() < Duration::from_secs(5), "{late}");
    crate::running::wait_for(|| processes_of("4321").is_empty()).await;
    machine.runtime.stop_container(&id, Default::default()).await.expect("stop");
    let ended = run("true").await.expect_err("not running");
    assert!(ended.to_string().contains("not running"), "{ended}");
    machine.clean().await;
}

/// Input and its end; a session that is dropped takes its program with it.
pub async fn exec_streams() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, shell("exec sleep 1000")).await;
    let spec =
        ExecSpec { args: words("tr a-z A-Z; echo done >&2; exit 3"), stdin: true, ..ExecSpec::default() };
    let Session { stdin, stdout, stderr, exit, resize } =
        machine.runtime.exec(&id, spec).await.expect("exec");
    assert!(resize.is_none());
    let mut stdin = stdin.expect("input");
    let data = b"some words\n".repeat(50_000);
    let copy = data.clone();
    let writing = tokio::spawn(async move {
        stdin.write_all(&copy).await.expect("written");
        stdin.shutdown().await.expect("closed");
    });
    let (mut out, mut err) = (Vec::new(), String::new());
    stdout.expect("output").read_to_end(&mut out).await.expect("read");
    stderr.expect("output").read_to_string(&mut err).await.expect("read");
    writing.await.expect("written");
    assert_eq!(out, data.to_ascii_uppercase());
    assert_eq!((err.as_str(), exit.await.expect("an exit")), ("done\n", 3));
    let spec = ExecSpec { args: words("exec sleep 5432"), ..ExecSpec::default() };
    let session = machine.runtime.exec(&id, spec).await.expect("exec");
    crate::running::wait_for(|| !processes_of("5432").is_empty()).await;
    drop(session);
    crate::running::wait_for(|| processes_of("5432").is_empty()).await;
    machine.clean().await;
}

/// A terminal has a name, a size and a controlling process.
pub async fn exec_terminal() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let id = machine.start(&sandbox, shell("exec sleep 1000")).await;
    let spec = ExecSpec {
        args: words("tty; stty size; read line; stty size; echo got $line; exit 9"),
        stdin: true,
        tty: true,
        size: Some(Size { width: 100, height: 30 }),
        ..ExecSpec::default()
    };
    let Session { stdin, stdout, stderr, exit, resize } =
        machine.runtime.exec(&id, spec).await.expect("exec");
    assert!(stderr.is_none());
    let exit = tokio::spawn(exit);
    let mut stdout = stdout.expect("output");
    let text = read_until(&mut stdout, "30 100\r\n").await;
    assert!(text.starts_with("/dev/pts/"), "{text}");
    resize.expect("a terminal").send(Size { width: 80, height: 25 }).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    stdin.expect("input").write_all(b"hello\n").await.expect("written");
    let text = read_until(&mut stdout, "got hello\r\n").await;
    assert!(text.contains("25 80\r\n"), "{text}");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.expect("its end");
    assert_eq!(exit.await.expect("joined").expect("an exit"), 9);
    machine.clean().await;
}

/// Several can follow a container's output, and feed it.
pub async fn attach() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let mut spec = shell("while read line; do echo you said $line; done; echo end; exit 4");
    spec.stdin = true;
    spec.stdin_once = true;
    spec.log_path = Some("attach.log".into());
    let id = machine.start(&sandbox, spec).await;
    let mut listener = machine.runtime.attach(&id, false).await.expect("attach");
    let mut session = machine.runtime.attach(&id, true).await.expect("attach");
    let mut stdin = session.stdin.take().expect("input");
    let mut stdout = session.stdout.take().expect("output");
    stdin.write_all(b"one\n").await.expect("written");
    read_until(&mut stdout, "you said one\n").await;
    stdin.write_all(b"two\n").await.expect("written");
    stdin.shutdown().await.expect("closed");
    drop(stdin);
    let text = read_until(&mut stdout, "end\n").await;
    assert_eq!(text, "you said two\nend\n");
    assert_eq!(session.exit.await.expect("an exit"), 4);
    let mut text = String::new();
    listener.stdout.take().expect("output").read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "you said one\nyou said two\nend\n");
    assert_eq!(listener.exit.await.expect("an exit"), 4);
    assert_eq!(output(&machine.logs().join("attach.log")), text);
    assert!(machine.runtime.attach(&id, false).await.is_err());
    machine.clean().await;
}

/// A container with a terminal of its own.
pub async fn terminal() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let mut spec = shell("tty; read line; stty size; echo got $line; exit 6");
    spec.stdin = true;
    spec.tty = true;
    spec.log_path = Some("tty.log".into());
    let id = machine.start(&sandbox, spec).await;
    let mut session = machine.runtime.attach(&id, true).await.expect("attach");
    session.resize.take().expect("a terminal").send(Size { width: 77, height: 22 }).await.expect("sent");
    let mut exit = session.exit;
    let mut stdin = session.stdin.take().expect("input");
    let mut stdout = session.stdout.take().expect("output");
    // The size goes out while somebody waits for the end.
    let none = tokio::time::timeout(Duration::from_millis(200), &mut exit).await;
    assert!(none.is_err());
    stdin.write_all(b"hello\n").await.expect("written");
    let text = read_until(&mut stdout, "got hello\r\n").await;
    assert!(text.contains("22 77\r\n"), "{text}");
    assert_eq!(exit.await.expect("an exit"), 6);
    let log = output(&machine.logs().join("tty.log"));
    assert!(log.starts_with("/dev/pts/0\n"), "{log}");
    machine.clean().await;
}

/// An attachment that nobody reads holds the container up, and nobody else; one that goes away does not.
pub async fn slow_attachment() {
    let machine = Machine::new().await;
    let sandbox = machine.sandbox().await;
    let spec = ContainerSpec { log_path: Some("slow.log".into()), ..shell("seq 1 200000; echo end") };
    let mut spec = spec;
    spec.command = vec!["sh".into(), "-c".into(), "sleep 0.3; seq 1 200000; echo end".into()];
    let id = machine.start(&sandbox, spec).await;
    let session = machine.runtime.attach(&id, false).await.expect("attach");
    let log = machine.logs().join("slow.log");
    crate::running::wait_for(|| output(&log).contains("100\n")).await;
    let other = machine.run(&sandbox, shell("echo alive")).await;
    assert_eq!(other.1, "alive\n");
    assert!(machine.runtime.container(&id).await.expect("known").exit.is_none());
    drop(session);
    machine.exit(&id).await;
    assert_eq!(output(&log).lines().count(), 200_001);
    machine.clean().await;
}

async fn read_until(from: &mut gifee_oci::runtime::Output, end: &str) -> String {
    let mut text = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&text).ends_with(end) {
            let length = from.read(&mut buffer).await.expect("readable");
            assert!(length > 0, "ended after {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&buffer[..length]);
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(read.is_ok(), "{end:?} did not come, but {text:?}");
    text
}
