//! Pods that really run: how soon, how many at once, what they cost beside themselves; logs and images.

use super::client::Connection;
use super::load::percentile;
use super::measure::{Bed, Outcome};
use super::node::rootfs;
use super::objects::{DEPLOYMENTS, IMAGE, PODS, bare, deployment, full};
use super::process::Process;
use super::target::{Cluster, Target};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// Pods that come and go one by one.
const ALONE: usize = 60;
/// Pods that start at once.
const TOGETHER: usize = 100;
/// Replicas of a Deployment that fills the node.
const MANY: usize = 500;
/// Megabytes of a log, and of a root file system.
const MEGABYTES: usize = 256;
/// Ends at once when it is asked to: the first process of a container gets no signal that it does not ask for.
const PROGRAM: &str = "trap 'exit 0' TERM; /bin/busybox sleep 1000000 & wait";

/// A cluster with room for many Pods, which has the image and has unpacked it.
async fn cluster(bed: &Bed) -> Result<(Cluster, Target)> {
    let file = rootfs(bed.path())?;
    let configuration = bed.path().join("kubelet.json");
    let whole = json!({ "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "maxPods": MANY + TOGETHER });
    std::fs::write(&configuration, whole.to_string())?;
    let cluster = Cluster::new(&bed.binary, &bed.folder())?;
    let text =
        |path: &Path| path.to_str().map(str::to_owned).context("the temporary folder's name is no text");
    let words = ["--kubelet-config", &text(&configuration)?, "--node-cidr-mask-size", "22"];
    cluster.start_with("up", &words).await?;
    cluster.run(&["image", "import", &text(&file)?, "--rootfs", "--name", IMAGE]).await?;
    let target = cluster.target()?;
    target.await_account().await?;
    Ok((cluster, target))
}

fn pod(name: &str, program: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "restartPolicy": "Never", "containers": [{
            "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/busybox", "sh", "-c", program] }] } })
}

/// A watch of all Pods that come from now on.
async fn watch(target: &Target) -> Result<Connection> {
    let list: Value = serde_json::from_str(&target.endpoint.once(&bare("GET", PODS)).await?)?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut watch = target.endpoint.connect().await?;
    let path = format!("{PODS}?watch=true&resourceVersion={version}");
    ensure!(watch.send(&bare("GET", &path)).await? == 200, "the watch was refused");
    Ok(watch)
}

/// Waits until so many Pods are in a phase.
async fn phase(watch: &mut Connection, phase: &str, count: usize) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut wrong = None;
    let enough = |line: &str| {
        let event: Value = match serde_json::from_str(line) {
            Ok(event) => event,
            Err(error) => {
                wrong = Some(error);
                return true;
            }
        };
        let (object, is) = (&event["object"], &event["object"]["status"]["phase"]);
        if *is == phase {
            seen.insert(object["metadata"]["name"].to_string());
        }
        seen.len() >= count
    };
    watch.lines_until(enough).await?;
    wrong.map_or(Ok(()), |error| Err(error).context("an event that is no JSON"))
}

/// One by one, many at once, and a full node.
///
/// # Errors
/// If Pods do not run.
pub async fn pods(bed: &Bed) -> Result<Outcome> {
    let (cluster, target) = cluster(bed).await?;
    let mut events = watch(&target).await?;
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for number in 0..=ALONE {
        let name = format!("alone-{number}");
        let begun = Instant::now();
        target.endpoint.once(&full("POST", PODS, &pod(&name, PROGRAM))).await?;
        phase(&mut events, "Running", 1).await?;
        let started = begun.elapsed();
        let begun = Instant::now();
        target.endpoint.once(&bare("DELETE", &format!("{PODS}/{name}"))).await?;
        events.lines_until(|line| line.starts_with(r#"{"type":"DELETED""#)).await?;
        // The first is not counted: it unpacks the image.
        if number > 0 {
            starts.push(started);
            stops.push(begun.elapsed());
        }
    }
    let begun = Instant::now();
    let mut connection = target.endpoint.connect().await?;
    for number in 0..TOGETHER {
        connection.text(&full("POST", PODS, &pod(&format!("together-{number}"), PROGRAM))).await?;
    }
    phase(&mut events, "Running", TOGETHER).await?;
    let together = begun.elapsed().as_secs_f64();
    connection.text(&bare("DELETE", PODS)).await?;
    let mut gone = 0;
    events
        .lines_until(|line| {
            gone += usize::from(line.starts_with(r#"{"type":"DELETED""#));
            gone >= TOGETHER
        })
        .await?;
    drop(events);
    let begun = Instant::now();
    let mut body = deployment("many");
    body["spec"]["replicas"] = MANY.into();
    target.endpoint.once(&full("POST", DEPLOYMENTS, &body)).await?;
    let path = format!("{DEPLOYMENTS}?watch=true&fieldSelector=metadata.name%3Dmany");
    let ready = format!(r#""readyReplicas":{MANY}"#);
    target.await_line(&path, |line| line.contains(&ready)).await?;
    let many = begun.elapsed().as_secs_f64();
    Ok(Outcome {
        measured: vec![
            ("pod-p50", percentile(&mut starts, 50)),
            ("pod-p99", percentile(&mut starts, 99)),
            ("stop-p50", percentile(&mut stops, 50)),
            ("pods-parallel", TOGETHER as f64 / together),
            ("pods-500", many),
            ("pods-500-rss", target.process.rss()?),
            ("shim-private", shims(cluster.folder())?),
        ],
        ..Outcome::default()
    })
}

/// Megabytes that a shim has for itself, on average.
fn shims(folder: &Path) -> Result<f64> {
    let (mut found, mut sum, mut folders) = (0_usize, 0.0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name() == "shim.pid" {
                let number = std::fs::read_to_string(entry.path())?;
                sum += Process(number.trim().parse()?).private()?;
                found += 1;
            } else if entry.file_type()?.is_dir() && entry.file_name() != "rootfs" {
                folders.push(entry.path());
            }
        }
    }
    ensure!(found >= MANY, "only {found} shims were found");
    Ok(sum / found as f64)
}

/// A program that writes as fast as it is read, and an image that is taken in.
///
/// # Errors
/// If either fails.
pub async fn streams(bed: &Bed) -> Result<Outcome> {
    let (cluster, target) = cluster(bed).await?;
    let mut events = watch(&target).await?;
    let line = "0123456789".repeat(10);
    let program = format!("/bin/busybox yes {line} | /bin/busybox head -c {}", MEGABYTES * 1_000_000);
    target.endpoint.once(&full("POST", PODS, &pod("writes", &program))).await?;
    phase(&mut events, "Running", 1).await?;
    let begun = Instant::now();
    phase(&mut events, "Succeeded", 1).await?;
    let log = begun.elapsed().as_secs_f64();
    let file = bed.path().join("large.tar");
    let content = bed.path().join("large");
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = || {
        // Marsaglia's xorshift: bytes that do not compress.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let bytes: Vec<u8> = (0..MEGABYTES * 1_000_000 / 8).flat_map(|_| noise()).collect();
    std::fs::write(&content, bytes)?;
    let mut archive = tar::Builder::new(std::fs::File::create(&file)?);
    archive.append_path_with_name(&content, "large")?;
    archive.finish()?;
    let begun = Instant::now();
    let name = file.to_str().context("the temporary folder's name is no text")?;
    cluster.run(&["image", "import", name, "--rootfs", "--name", "bench.local/large:1"]).await?;
    let import = begun.elapsed().as_secs_f64();
    let rate = |seconds: f64| MEGABYTES as f64 / seconds;
    Ok(Outcome {
        measured: vec![("log-rate", rate(log)), ("import-rate", rate(import))],
        ..Outcome::default()
    })
}
