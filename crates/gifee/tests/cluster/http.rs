//! HTTP without a library between: a connection per request, so that each meets the service rules anew.

use crate::run::{DEADLINE, runtime};
use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// Its code.
    pub code: u16,
    /// Headers and body.
    pub text: String,
}

/// Sends a request to HOST:PORT; a form makes it a POST.
pub async fn call(address: &str, path: &str, form: Option<&str>) -> Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let (method, body) = form.map_or(("GET", ""), |form| ("POST", form));
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Answer { code: code.ok_or_else(|| Error::other(format!("no response: {text:?}")))?, text })
    };
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| Error::other("no answer in time"))?
}

/// Asks until the answer is 200 and holds a text: rules and endpoints follow the API a moment later.
#[track_caller]
pub fn answers(address: &str, path: &str, text: &str) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = runtime().block_on(call(address, path, None));
        match answer {
            Ok(answer) if answer.code == 200 && answer.text.contains(text) => return answer,
            other if begun.elapsed() > DEADLINE => {
                panic!("http://{address}{path} does not answer {text:?}: {other:?}")
            }
            _ => runtime().block_on(async { tokio::time::sleep(PAUSE).await }),
        }
    }
}

/// Requests that go on until they are ended.
pub struct Load {
    tasks: JoinSet<(u64, Vec<String>)>,
    ended: Arc<AtomicBool>,
}

impl Load {
    /// `clients` at once, each some 30 requests a second.
    pub fn start(address: &str, path: &'static str, clients: usize) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (address, ended) = (address.to_owned(), ended.clone());
            let requests = async move {
                let (mut good, mut bad) = (0, Vec::new());
                let mut pace = tokio::time::interval(Duration::from_millis(30));
                pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while !ended.load(Ordering::Relaxed) {
                    pace.tick().await;
                    match call(&address, path, None).await {
                        Ok(answer) if answer.code == 200 => good += 1,
                        other => bad.push(format!("{other:?}")),
                    }
                }
                (good, bad)
            };
            tasks.spawn_on(requests, runtime().handle());
        }
        Self { tasks, ended }
    }

    /// How many succeeded; why the others failed.
    pub fn end(mut self) -> (u64, Vec<String>) {
        self.ended.store(true, Ordering::Relaxed);
        let (mut good, mut bad) = (0, Vec::new());
        while let Some(task) = runtime().block_on(self.tasks.join_next()) {
            let (more, worse) = task.unwrap();
            good += more;
            bad.extend(worse);
        }
        (good, bad)
    }
}
