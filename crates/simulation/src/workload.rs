//! A workload file: parameters, how nodes behave, and steps; whatever is wrong with it is said with the path of the
//! field.
//!
//! Invariant: a workload that was read can be run: names of operations, fields and values are checked, templates are
//! there. Answers to the configuration files of upstream's `scheduler_perf`, whose names of operations and fields are
//! understood.

use crate::error::{Error, Result};
use crate::fleet::Behaviour;
use crate::operations::{OPERATIONS, Step};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest file that is read.
const FILE_BYTES: u64 = 64 << 20;
/// Most steps of a workload.
const STEPS_MAXIMUM: usize = 1_000;

/// What is to happen.
pub struct Workload {
    /// Its name.
    pub name: String,
    /// How simulated nodes behave.
    pub behaviour: Behaviour,
    /// Steps with their opcodes.
    pub steps: Vec<(String, Box<dyn Step>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    #[serde(default)]
    name: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    nodes: Nodes,
    #[serde(alias = "workloadTemplate")]
    steps: Vec<Map<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Nodes {
    start_seconds: Option<f64>,
    stop_seconds: Option<f64>,
    run_seconds: Option<f64>,
    renew_seconds: Option<f64>,
}

/// What a step is read with.
pub struct Reading<'a> {
    /// Path of the step, such as `steps[2]`.
    pub path: String,
    /// Folder of the file, which other files are named from.
    pub folder: &'a Path,
}

impl Workload {
    /// Without steps.
    pub fn empty(name: &str) -> Self {
        Self { name: name.into(), behaviour: Behaviour::default(), steps: Vec::new() }
    }

    /// Reads a file; `overrides` replace its parameters.
    ///
    /// # Errors
    /// If it cannot be read, or with the path of the field that is wrong.
    pub fn load(path: &Path, overrides: &[(String, Value)]) -> Result<Self> {
        let mut all = documents(path)?;
        let (Some(value), true) = (all.pop(), all.is_empty()) else {
            return Err(Error::Syntax { path: path.into(), why: "it must hold one document".into() });
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut workload = Self::read(value, folder, overrides)?;
        if workload.name.is_empty() {
            workload.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        Ok(workload)
    }

    /// Reads what a file holds.
    ///
    /// # Errors
    /// With the path of the field that is wrong.
    pub fn read(value: Value, folder: &Path, overrides: &[(String, Value)]) -> Result<Self> {
        let mut file: File = decode(value, "")?;
        for (name, value) in overrides {
            if !file.params.contains_key(name) {
                return Err(Error::field(format!("params.{name}"), "the workload has no such parameter"));
            }
            file.params.insert(name.clone(), value.clone());
        }
        if file.steps.len() > STEPS_MAXIMUM {
            return Err(Error::field("steps", format!("must have at most {STEPS_MAXIMUM} items")));
        }
        let mut workload = Self::empty(&file.name);
        workload.behaviour = file.nodes.behaviour()?;
        for (index, step) in file.steps.into_iter().enumerate() {
            let path = format!("steps[{index}]");
            let step = fill(Value::Object(step), &file.params, &path)?;
            workload.push(step, Reading { path, folder })?;
        }
        Ok(workload)
    }

    /// Adds a step.
    ///
    /// # Errors
    /// With the path of the field that is wrong.
    pub fn push(&mut self, mut step: Value, reading: Reading<'_>) -> Result<()> {
        let at = format!("{}.opcode", reading.path);
        let opcode = step.as_object_mut().and_then(|step| step.remove("opcode"));
        let opcode = opcode.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(operation) = OPERATIONS.iter().find(|operation| operation.opcode == opcode) else {
            let known: Vec<&str> = OPERATIONS.iter().map(|operation| operation.opcode).collect();
            let why = match opcode.as_str() {
                "" => format!("required; one of {}", known.join(", ")),
                _ => format!("no operation {opcode:?}; there are {}", known.join(", ")),
            };
            return Err(Error::field(at, why));
        };
        // Upstream names what is a parameter.
        if let Some(fields) = step.as_object_mut() {
            for name in ["count", "number", "intervalMilliseconds"] {
                if let Some(value) = fields.remove(&format!("{name}Param")) {
                    fields.insert(name.into(), value);
                }
            }
        }
        let step = (operation.read)(step, &reading)?;
        self.steps.push((opcode, step));
        Ok(())
    }
}

impl Nodes {
    fn behaviour(&self) -> Result<Behaviour> {
        let usual = Behaviour::default();
        let read = |name: &str, seconds: Option<f64>, usual: Duration| match seconds {
            None => Ok(usual),
            Some(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| {
                Error::field(format!("nodes.{name}"), "must be a number of seconds, not negative")
            }),
        };
        Ok(Behaviour {
            start: read("startSeconds", self.start_seconds, usual.start)?,
            stop: read("stopSeconds", self.stop_seconds, usual.stop)?,
            run: read("runSeconds", self.run_seconds, usual.run)?,
            renew: read("renewSeconds", self.renew_seconds, usual.renew)?,
        })
    }
}

/// Decodes a value, naming the field below `path` that is wrong.
///
/// # Errors
/// If one is.
pub fn decode<T: DeserializeOwned>(value: Value, path: &str) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let below = error.path().to_string();
        let field = match (path, below.as_str()) {
            ("", ".") => "the workload".to_owned(),
            (path, ".") => path.to_owned(),
            ("", below) => below.to_owned(),
            (path, below) => format!("{path}.{below}"),
        };
        Error::field(field, error.into_inner())
    })
}

/// Puts parameters in: a text that is `$name` becomes the parameter's value. Templates are left alone.
fn fill(value: Value, params: &Map<String, Value>, path: &str) -> Result<Value> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('$') {
            Some(name) => match params.get(name) {
                Some(value) => value.clone(),
                None => return Err(Error::field(path, format!("no parameter {name:?} in params"))),
            },
            None => Value::String(text),
        },
        Value::Object(fields) => {
            let mut filled = Map::new();
            for (name, value) in fields {
                let below = format!("{path}.{name}");
                let template = matches!(name.as_str(), "template" | "templates" | "patch" | "objects");
                let value = if template { value } else { fill(value, params, &below)? };
                filled.insert(name, value);
            }
            Value::Object(filled)
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            let filled = items.map(|(index, item)| fill(item, params, &format!("{path}[{index}]")));
            Value::Array(filled.collect::<Result<_>>()?)
        }
        other => other,
    })
}

/// The documents of a YAML or JSON file; the items of Lists one by one.
///
/// # Errors
/// If it cannot be read.
pub fn documents(path: &Path) -> Result<Vec<Value>> {
    use std::io::Read;
    let failed = |source| Error::File { path: path.into(), source };
    let mut text = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(FILE_BYTES).read_to_end(&mut text).map_err(failed)?;
    let wrong = |why: String| Error::Syntax { path: path.into(), why };
    let mut found = Vec::new();
    let mut take = |value: Value| match value.get("items").and_then(Value::as_array) {
        Some(items) if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
            found.extend(items.iter().cloned());
        }
        _ if value.is_null() => {}
        _ => found.push(value),
    };
    if gifee_schema::parse::looks_like_json(&text) {
        take(gifee_schema::parse::json(&text).map_err(|error| wrong(error.to_string()))?.value);
    } else {
        for document in
            gifee_schema::parse::yaml_documents(&text).map_err(|error| wrong(error.to_string()))?
        {
            take(document.map_err(|error| wrong(error.to_string()))?.value);
        }
    }
    Ok(found)
}

impl Reading<'_> {
    /// A field of the step.
    pub fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// A file that the step names.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The one template of a step: written there, or in a file that it names.
    ///
    /// # Errors
    /// If there is none, or two, or the file is wrong.
    pub fn template(&self, inline: Option<Value>, path: Option<&str>) -> Result<Option<Value>> {
        match (inline, path) {
            (Some(_), Some(_)) => {
                Err(Error::field(self.field("templatePath"), "there is a template already"))
            }
            (Some(template), None) => Ok(Some(template)),
            (None, Some(path)) => {
                let mut all = documents(&self.file(path))?;
                match (all.pop(), all.is_empty()) {
                    (Some(template), true) => Ok(Some(template)),
                    _ => {
                        Err(Error::field(self.field("templatePath"), format!("{path} must hold one object")))
                    }
                }
            }
            (None, None) => Ok(None),
        }
    }
}
