//! Rows of results, and answers of a server on loopback.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Plays `+` and `-` to a machine and writes what changes: `P`, `F`, or `.`.
fn play(kind: Kind, probe: serde_json::Value, results: &str) -> String {
    let probe: Probe = serde_json::from_value(probe).unwrap();
    let mut machine = Machine::new(kind, &probe, None);
    let mut record = |result| {
        let outcome = if result == '+' { Outcome::Success } else { Outcome::Failure("no".into()) };
        match machine.record(&outcome) {
            Some(Change::Passed) => 'P',
            Some(Change::Failed) => 'F',
            None => '.',
        }
    };
    results.chars().map(&mut record).collect()
}

#[test]
fn thresholds_count_results_in_a_row() {
    assert_eq!(play(Kind::Readiness, json!({}), "+++---+"), "P....FP");
    assert_eq!(
        play(Kind::Readiness, json!({"successThreshold": 2, "failureThreshold": 1}), "+-++-"),
        "...PF"
    );
    assert_eq!(play(Kind::Liveness, json!({}), "+--+---+"), "......FP");
    assert_eq!(play(Kind::Liveness, json!({"failureThreshold": 1}), "-"), "F");
    assert_eq!(play(Kind::Startup, json!({"failureThreshold": 3}), "--+"), "..P");
    assert_eq!(play(Kind::Startup, json!({"failureThreshold": 3}), "---"), "..F");
}

#[test]
fn ports_have_names() {
    let container: Container =
        serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
            .unwrap();
    assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
    assert_eq!(port(&IntOrString::String("web".into()), &container), Ok(8080));
    assert_eq!(port(&IntOrString::String("no".into()), &container), Err("couldn't find port: \"no\"".into()));
    assert_eq!(port(&IntOrString::Int(70000), &container), Err("invalid port number: 70000".into()));
}

/// Serves one answer to each connection, and returns the port.
async fn serve(answer: &'static str) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            if answer == "silence" {
                std::future::pending::<()>().await;
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

async fn get(port: u16) -> String {
    let action: HTTPGetAction =
        serde_json::from_value(json!({"host": "127.0.0.1", "port": port, "path": "/ok"})).unwrap();
    let place = http::try_once(&action, Duration::from_millis(300)).await;
    format!("{place:?}").replace(&port.to_string(), "PORT")
}

#[tokio::test]
async fn answers_are_read_as_upstream_does() {
    assert_eq!(get(serve("HTTP/1.1 204 No Content\r\n\r\n").await).await, "Success");
    assert_eq!(
        get(serve("HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno").await).await,
        r#"Failure("HTTP probe failed with statuscode: 500")"#
    );
    assert!(
        get(serve("HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\n\r\n")
            .await)
        .await
        .starts_with("Warning")
    );
    assert!(get(serve("silence").await).await.contains("context deadline exceeded"));
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    assert_eq!(
        get(port).await,
        r#"Failure("Get \"http://127.0.0.1:PORT/ok\": dial tcp 127.0.0.1:PORT: connect: connection refused")"#
    );
}
