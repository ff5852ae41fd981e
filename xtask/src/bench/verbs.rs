//! What the machinery makes of writes: updates, status, apply, of a built-in kind and of a custom one; creates
//! that a policy looks at; and the memory that custom resources take.

use super::api::{create, version};
use super::load::{Load, Measured, Script, Until};
use super::measure::{Bed, Outcome};
use super::objects::{PODS, WIDGETS, binding, definition, full, pod, policy, request, widget};
use super::target::Target;
use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long each load goes on.
const TIME: Duration = Duration::from_secs(2);
/// Clients of each load; every client changes an object of its own.
const CLIENTS: [usize; 3] = [1, 16, 128];
/// Custom resources whose memory is looked at.
const OBJECTS: usize = 10_000;
/// How long a process is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// What stands for a number in the bytes of a request.
const NUMBER: &str = "NUMBER";
/// What stands for a resource version there.
const VERSION: &str = "VERSION";

/// A kind that is written: where its objects are, and what they look like.
#[derive(Clone, Copy)]
struct Subject {
    path: &'static str,
    object: fn(&str) -> Value,
}

const POD: Subject = Subject { path: PODS, object: pod };
const WIDGET: Subject = Subject { path: WIDGETS, object: widget };

/// Names of the rows of a load: rate for each number of clients, then median and tail at the highest.
type Names = [&'static str; 5];

/// Updates, status patches and apply of Pods.
///
/// # Errors
/// If one is refused.
pub async fn pods(bed: &Bed) -> Result<Outcome> {
    let (_cluster, target) = bed.server().await?;
    let mut outcome = Outcome::default();
    changes(&target, POD, PODS_ROWS, &mut outcome).await?;
    Ok(outcome)
}

const PODS_ROWS: [Names; 3] = [
    ["put-1", "put-16", "put-128", "put-128-p50", "put-128-p99"],
    ["status-1", "status-16", "status-128", "status-128-p50", "status-128-p99"],
    ["apply-1", "apply-16", "apply-128", "apply-128-p50", "apply-128-p99"],
];

const CUSTOM_ROWS: [Names; 3] = [
    ["custom-put-1", "custom-put-16", "custom-put-128", "custom-put-128-p50", "custom-put-128-p99"],
    [
        "custom-status-1",
        "custom-status-16",
        "custom-status-128",
        "custom-status-128-p50",
        "custom-status-128-p99",
    ],
    ["custom-apply-1", "custom-apply-16", "custom-apply-128", "custom-apply-128-p50", "custom-apply-128-p99"],
];

const CREATES: Names = [
    "custom-create-1",
    "custom-create-16",
    "custom-create-128",
    "custom-create-128-p50",
    "custom-create-128-p99",
];
const GETS: Names =
    ["custom-get-1", "custom-get-16", "custom-get-128", "custom-get-128-p50", "custom-get-128-p99"];

/// All verbs of a custom resource, and its memory.
///
/// # Errors
/// If one is refused.
pub async fn custom(bed: &Bed) -> Result<Outcome> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    define(&target).await?;
    let mut outcome = Outcome::default();
    tokio::time::sleep(SETTLE).await;
    let before = target.process.rss()?;
    for (clients, (count, row)) in CLIENTS.into_iter().zip([2_000, 3_000, 5_000].into_iter().zip(CREATES)) {
        let name = format!("of-{clients}");
        let made = create(&target, WIDGETS, &widget("NAME"), &name, clients, count).await?;
        let most = create(ceiling, WIDGETS, &widget("NAME"), &name, clients, count).await?;
        outcome.ceiling.push((row, most.rate));
        report(&mut outcome, CREATES, row, &made);
    }
    tokio::time::sleep(SETTLE).await;
    debug_assert_eq!(OBJECTS, 2_000 + 3_000 + 5_000);
    outcome.measured.push(("custom-rss-10000", target.process.rss()? - before));
    for (clients, row) in CLIENTS.into_iter().zip(GETS) {
        let script = |_| -> Box<dyn Script> {
            Box::new(|number: usize, out: &mut Vec<u8>| {
                request(out, "GET", &format!("{WIDGETS}/of-1-{}", number % 2_000), b"");
            })
        };
        let load = Load { clients, until: Until::Time(TIME), expect: 200, script: &script };
        outcome.ceiling.push((row, load.drive(ceiling).await?.rate));
        report(&mut outcome, GETS, row, &load.drive(&target).await?);
    }
    changes(&target, WIDGET, CUSTOM_ROWS, &mut outcome).await?;
    Ok(outcome)
}

/// Creates of both kinds under a policy that accepts them.
///
/// # Errors
/// If one is refused, or if nothing is.
pub async fn policies(bed: &Bed) -> Result<Outcome> {
    let (_cluster, target) = bed.server().await?;
    define(&target).await?;
    let group = "/apis/admissionregistration.k8s.io/v1";
    for (kind, object) in
        [("validatingadmissionpolicies", policy()), ("validatingadmissionpolicybindings", binding())]
    {
        target.endpoint.once(&full("POST", &format!("{group}/{kind}"), &object)).await?;
    }
    let mut refused = widget("refused");
    refused["spec"]["replicas"] = 1_000.into();
    let code = target.endpoint.connect().await?.call(&full("POST", WIDGETS, &refused), |_| {}).await?;
    ensure!(code == 422, "the policy is not asked: {code}");
    let mut outcome = Outcome::default();
    let rows = [
        ("policy-create-1", "policy-custom-1"),
        ("policy-create-16", "policy-custom-16"),
        ("policy-create-128", "policy-custom-128"),
    ];
    for (clients, (built_in, custom)) in CLIENTS.into_iter().zip(rows) {
        let (name, count) = (format!("of-{clients}"), 1_000 * clients.ilog2().max(1) as usize);
        for (row, Subject { path, object }) in [(built_in, POD), (custom, WIDGET)] {
            let made = create(&target, path, &object("NAME"), &name, clients, count).await?;
            outcome.measured.push((row, made.rate));
        }
    }
    Ok(outcome)
}

fn report(outcome: &mut Outcome, names: Names, row: &'static str, measured: &Measured) {
    outcome.measured.push((row, measured.rate));
    if row == names[2] {
        outcome.measured.push((names[3], measured.p50));
        outcome.measured.push((names[4], measured.p99));
    }
}

/// Makes the server know Widgets.
async fn define(target: &Target) -> Result<()> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    target.endpoint.once(&full("POST", path, &definition())).await?;
    let established = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
    };
    target.await_line(&format!("{path}?watch=true"), established).await
}

/// PUTs, patches of the status, and apply of the whole: each client of an object of its own, with a new number
/// every time, so that no write changes nothing.
async fn changes(target: &Target, subject: Subject, rows: [Names; 3], outcome: &mut Outcome) -> Result<()> {
    let Subject { path, object } = subject;
    let most = CLIENTS.into_iter().max().unwrap_or_default();
    let [mut puts, mut patches, mut applies] = [const { Vec::new() }; 3];
    let mut connection = target.endpoint.connect().await?;
    for client in 0..most {
        let name = format!("change-{client}");
        let made = connection.text(&full("POST", path, &object(&name))).await?;
        let first = version(made.as_bytes());
        ensure!(!first.is_empty(), "an object without a version: {made}");
        let mut made: Value = serde_json::from_str(&made).context("an object that is no JSON")?;
        if let Some(metadata) = made["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        made["metadata"]["resourceVersion"] = VERSION.into();
        made["metadata"]["annotations"]["number"] = NUMBER.into();
        puts.push(Template::new("PUT", format!("{path}/{name}"), &made, first)?);
        let status = json!({ "status": { "message": NUMBER } });
        patches.push(Template::new("PATCH", format!("{path}/{name}/status"), &status, String::new())?);
        let name = format!("apply-{client}");
        let mut applied = object(&name);
        applied["metadata"]["annotations"]["number"] = NUMBER.into();
        let query = "fieldManager=bench&force=true";
        applies.push(Template::new("PATCH", format!("{path}/{name}?{query}"), &applied, String::new())?);
        connection.text(&full("PATCH", &format!("{path}/{name}?{query}"), &applied)).await?;
    }
    for (names, templates) in rows.into_iter().zip([puts, patches, applies]) {
        let templates: Arc<[Template]> = templates.into();
        let script = move |client: usize| -> Box<dyn Script> {
            Box::new(Changes { templates: templates.clone(), client })
        };
        for (clients, row) in CLIENTS.into_iter().zip(names) {
            let load = Load { clients, until: Until::Time(TIME), expect: 200, script: &script };
            report(outcome, names, row, &load.drive(target).await?);
        }
    }
    Ok(())
}

/// What one client says: changes of its own object, each based on the answer to the one before.
struct Changes {
    templates: Arc<[Template]>,
    client: usize,
}

impl Script for Changes {
    fn request(&mut self, number: usize, out: &mut Vec<u8>) {
        self.templates[self.client].fill(number, out);
    }

    fn reply(&mut self, body: &[u8]) {
        let last = &mut *self.templates[self.client].version.lock();
        if !last.is_empty() {
            *last = version(body);
        }
    }
}

/// A request that was made before but for a number in it, and for the version of the object if it names one.
struct Template {
    method: &'static str,
    path: String,
    body: String,
    /// Empty: it names none.
    version: Mutex<String>,
}

impl Template {
    fn new(method: &'static str, path: String, body: &Value, version: String) -> Result<Self> {
        let body = body.to_string();
        ensure!(body.contains(NUMBER), "a body without a number");
        Ok(Self { method, path, body, version: Mutex::new(version) })
    }

    fn fill(&self, number: usize, out: &mut Vec<u8>) {
        let body = self.body.replacen(NUMBER, &number.to_string(), 1);
        let body = body.replacen(VERSION, &self.version.lock(), 1);
        request(out, self.method, &self.path, body.as_bytes());
    }
}
