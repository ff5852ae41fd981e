//! The objects, compiled: flows in the order of their precedence, levels by name, and an index from subjects to rules.
//!
//! Invariant: a plan never changes but for what levels hold; a new one takes its place as a whole. The mandatory
//! level and flow for what nothing else matches are always there.

use super::classify::{Index, Rule};
use super::level::{Level, Shape};
use super::meter::{FlowMeter, Meter};
use http::header::HeaderValue;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The name of the level and of the flow for what nothing else matches.
const CATCH_ALL: &str = "catch-all";
/// The name of the level that is never limited.
const EXEMPT: &str = "exempt";

/// What tells the flows of one schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    /// Nothing: it is one flow.
    None,
    /// The user's name.
    User,
    /// The namespace of the request.
    Namespace,
}

/// A FlowSchema.
pub struct Flow {
    /// Name.
    pub name: Box<str>,
    /// UID as a header.
    pub uid: HeaderValue,
    /// Its level.
    pub level: Arc<Level>,
    /// UID of the level as a header.
    pub level_uid: HeaderValue,
    /// What tells flows apart.
    pub by: Distinguisher,
    /// What hashes of its flows begin with.
    pub seed: u64,
    /// What is counted of it.
    pub meter: FlowMeter,
}

/// All of it.
pub struct Plan {
    /// Levels by name.
    pub levels: BTreeMap<Box<str>, Arc<Level>>,
    /// Flows, the first that matches first.
    pub flows: Vec<Arc<Flow>>,
    /// From who asks to what may match.
    pub index: Index,
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn uid(object: &Value) -> HeaderValue {
    HeaderValue::from_str(text(object, "/metadata/uid")).unwrap_or(HeaderValue::from_static(""))
}

impl Plan {
    /// Compiles FlowSchemas and PriorityLevelConfigurations. Levels that `old` has by the same name stay.
    pub fn new(schemas: &[Value], levels: &[Value], seats: u32, old: Option<&Plan>, meter: &Meter) -> Self {
        let mut all: BTreeMap<&str, &Value> =
            levels.iter().map(|level| (text(level, "/metadata/name"), level)).collect();
        let mandatory = super::objects::levels();
        for level in &mandatory {
            if [EXEMPT, CATCH_ALL].contains(&text(level, "/metadata/name")) {
                all.entry(text(level, "/metadata/name")).or_insert(level);
            }
        }
        let shares: f64 = all.values().map(|level| Shape::of(level).shares).sum();
        let (mut compiled, mut uids) = (BTreeMap::new(), BTreeMap::new());
        for (name, object) in all {
            let shape = Shape::of(object);
            let nominal = (f64::from(seats) * shape.shares / shares.max(1.0)).ceil() as u32;
            let known = old.and_then(|old| old.levels.get(name));
            let level = known.cloned().unwrap_or_else(|| Arc::new(Level::new(name)));
            level.reshape(&shape, nominal, seats, meter.level(name));
            uids.insert(name, uid(object));
            compiled.insert(Box::from(name), level);
        }
        let mut sorted: Vec<&Value> = schemas.iter().collect();
        let last = super::objects::schemas();
        // Also before their objects are there: the privileged are never shed.
        for mandatory in [EXEMPT, CATCH_ALL] {
            let named = |schema: &&Value| text(schema, "/metadata/name") == mandatory;
            if !schemas.iter().any(|schema| named(&schema)) {
                sorted.extend(last.iter().find(named));
            }
        }
        let precedence = |schema: &Value| schema["spec"]["matchingPrecedence"].as_i64().unwrap_or(1_000);
        sorted.sort_by(|a, b| {
            (precedence(a), text(a, "/metadata/name")).cmp(&(precedence(b), text(b, "/metadata/name")))
        });
        let (mut flows, mut index) = (Vec::new(), Index::default());
        for schema in sorted {
            // One whose level is not there matches nothing.
            let level = compiled.get(text(schema, "/spec/priorityLevelConfiguration/name"));
            let Some(level) = level else { continue };
            let name = text(schema, "/metadata/name");
            for rule in schema["spec"]["rules"].as_array().into_iter().flatten() {
                index.add(rule, Rule::of(rule, flows.len()));
            }
            let by = match text(schema, "/spec/distinguisherMethod/type") {
                "ByUser" => Distinguisher::User,
                "ByNamespace" => Distinguisher::Namespace,
                _ => Distinguisher::None,
            };
            let meter = meter.flow(name, &level.name);
            flows.push(Arc::new(Flow {
                name: name.into(),
                uid: uid(schema),
                level: level.clone(),
                level_uid: uids.get(&*level.name).cloned().unwrap_or(HeaderValue::from_static("")),
                by,
                seed: xxh3_64(name.as_bytes()),
                meter,
            }));
        }
        Self { levels: compiled, flows, index }
    }
}
