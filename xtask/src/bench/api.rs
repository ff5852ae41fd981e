//! Figures of the API: the control plane alone, writes and reads of single objects.

use super::load::{Load, Measured, Script, Until};
use super::measure::{Bed, Outcome};
use super::objects::{LEASES, PODS, bare, first_pod, full, lease, node, pod, request};
use super::target::{Cluster, Target};
use anyhow::Result;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an idle process is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(5);
/// How long reads and updates go on.
const TIME: Duration = Duration::from_secs(2);
/// Pods that are read.
const READ: usize = 1_000;
/// Requests before the clock starts, so that no page of the program is read for the first time.
const WARM: usize = 200;

/// From an empty folder until a Pod has a node; then the memory of the idle control plane.
///
/// # Errors
/// If it does not come up.
pub async fn server(bed: &Bed) -> Result<Outcome> {
    let cluster = Cluster::new(&bed.binary, &bed.folder())?;
    let begun = Instant::now();
    cluster.start("server").await?;
    let target = cluster.target()?;
    target.endpoint.once(&full("POST", "/api/v1/nodes", &node())).await?;
    target.await_account().await?;
    target.endpoint.once(&full("POST", PODS, &first_pod())).await?;
    let path = format!("{PODS}?watch=true&fieldSelector=metadata.name%3Dfirst");
    target.await_line(&path, |line| line.contains(r#""nodeName":"bench""#)).await?;
    let took = begun.elapsed().as_secs_f64();
    drop(cluster);

    let (_cluster, target) = bed.server().await?;
    tokio::time::sleep(SETTLE).await;
    let rss = target.process.rss()?;
    Ok(Outcome { measured: vec![("first-pod", took), ("server-rss", rss)], ..Outcome::default() })
}

/// Creates Pods `<prefix>-<number>` on many connections.
///
/// # Errors
/// If one is refused.
pub async fn create_pods(target: &Target, prefix: &str, clients: usize, count: usize) -> Result<Measured> {
    create(target, PODS, &pod("NAME"), prefix, clients, count).await
}

/// Creates objects `<prefix>-<number>` that look like `object` but for its name, `NAME`, on many connections.
///
/// # Errors
/// If one is refused.
pub async fn create(
    target: &Target,
    path: &'static str,
    object: &Value,
    prefix: &str,
    clients: usize,
    count: usize,
) -> Result<Measured> {
    // The name is put into bytes that were made before, so that the client costs little.
    let body = object.to_string();
    let (before, after) = body.split_once("NAME").unwrap_or((&body, ""));
    let (before, after) = (Arc::<str>::from(before), Arc::<str>::from(after));
    let prefix = Arc::<str>::from(prefix);
    let script = move |_| -> Box<dyn Script> {
        let (before, after, prefix) = (before.clone(), after.clone(), prefix.clone());
        let mut body = String::new();
        Box::new(move |number: usize, out: &mut Vec<u8>| {
            body.clear();
            for part in [&*before, &prefix, "-", &number.to_string(), &after] {
                body.push_str(part);
            }
            request(out, "POST", path, body.as_bytes());
        })
    };
    Load { clients, until: Until::Count(count), expect: 201, script: &script }.drive(target).await
}

async fn create_both(bed: &Bed, clients: usize, count: usize) -> Result<(Measured, Measured)> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    create_pods(&target, "warm", clients, WARM).await?;
    let measured = create_pods(&target, "pod", clients, count).await?;
    create_pods(ceiling, "warm", clients, WARM).await?;
    Ok((measured, create_pods(ceiling, "pod", clients, count).await?))
}

/// One client creates Pods.
///
/// # Errors
/// If one is refused.
pub async fn create_one(bed: &Bed) -> Result<Outcome> {
    let (measured, ceiling) = create_both(bed, 1, 2_000).await?;
    Ok(Outcome {
        measured: vec![("create-1", measured.rate)],
        ceiling: vec![("create-1", ceiling.rate)],
        ..Outcome::default()
    })
}

/// Sixteen clients create Pods.
///
/// # Errors
/// If one is refused.
pub async fn create_sixteen(bed: &Bed) -> Result<Outcome> {
    let (measured, ceiling) = create_both(bed, 16, 8_000).await?;
    Ok(Outcome {
        measured: vec![("create-16", measured.rate)],
        ceiling: vec![("create-16", ceiling.rate)],
        ..Outcome::default()
    })
}

/// 128 clients create Pods.
///
/// # Errors
/// If one is refused.
pub async fn create_many(bed: &Bed) -> Result<Outcome> {
    let values = |measured: &Measured| {
        vec![
            ("create-128", measured.rate),
            ("create-128-p99", measured.p99),
            ("create-128-cpu", measured.cpu),
        ]
    };
    let (measured, ceiling) = create_both(bed, 128, 10_000).await?;
    Ok(Outcome { measured: values(&measured), ceiling: values(&ceiling), ..Outcome::default() })
}

/// One and 128 clients get Pods, each time another.
///
/// # Errors
/// If one is refused.
pub async fn get(bed: &Bed) -> Result<Outcome> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    create_pods(&target, "pod", 16, READ).await?;
    let requests: Arc<[Vec<u8>]> =
        (0..READ).map(|number| bare("GET", &format!("{PODS}/pod-{number}"))).collect();
    let script = move |_| -> Box<dyn Script> {
        let requests = requests.clone();
        Box::new(move |number: usize, out: &mut Vec<u8>| out.clone_from(&requests[number * 7 % READ]))
    };
    let mut outcome = Outcome::default();
    for (row, clients) in [("get-1", 1), ("get-128", 128)] {
        let load = Load { clients, until: Until::Time(TIME), expect: 200, script: &script };
        outcome.measured.push((row, load.drive(&target).await?.rate));
        outcome.ceiling.push((row, load.drive(ceiling).await?.rate));
    }
    Ok(outcome)
}

/// The resource version in an object's or list's bytes.
pub fn version(body: &[u8]) -> String {
    const FIELD: &[u8] = br#""resourceVersion":""#;
    let digits = memchr::memmem::find(body, FIELD).map_or(&[][..], |at| &body[at + FIELD.len()..]);
    digits.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect()
}

/// Renews one Lease, each time at the revision that the last renewal gave.
struct Renewal {
    name: String,
    path: String,
    version: String,
}

impl Script for Renewal {
    fn request(&mut self, _: usize, out: &mut Vec<u8>) {
        request(out, "PUT", &self.path, lease(&self.name, &self.version).to_string().as_bytes());
    }

    fn reply(&mut self, body: &[u8]) {
        self.version = version(body);
    }
}

/// As many clients as there are versions each renew a Lease of their own.
async fn renew(target: &Target, versions: &[String]) -> Result<Measured> {
    let script = |client: usize| -> Box<dyn Script> {
        let name = format!("node-{client}");
        let version = versions[client].clone();
        Box::new(Renewal { path: format!("{LEASES}/{name}"), name, version })
    };
    let clients = versions.len();
    Load { clients, until: Until::Time(TIME), expect: 200, script: &script }.drive(target).await
}

/// 128 clients each renew a Lease of their own, on gifee and on the ceiling.
///
/// # Errors
/// If one is refused.
pub async fn leases(bed: &Bed) -> Result<Outcome> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    let mut connection = target.endpoint.connect().await?;
    let mut versions = Vec::new();
    for client in 0..128 {
        let created = connection.text(&full("POST", LEASES, &lease(&format!("node-{client}"), ""))).await?;
        versions.push(version(created.as_bytes()));
    }
    let measured = renew(&target, &versions).await?.rate;
    let ceiling = renew(ceiling, &versions).await?.rate;
    Ok(Outcome {
        measured: vec![("lease-128", measured)],
        ceiling: vec![("lease-128", ceiling)],
        ..Outcome::default()
    })
}
