//! Objects from files, folders and standard input, in YAML or JSON, many to a file.

use anyhow::{Context, Result, bail};
use gifee_base::{Gvk, ObjectKey};
use gifee_client::Resource;
use gifee_client::discovery::Discovery;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest input that is read.
const MAXIMUM: u64 = 64 << 20;

/// One object of a manifest, and where the server keeps its like.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its resource.
    pub resource: Resource,
    /// Namespace (the given one if it names none) and name.
    pub key: ObjectKey,
    /// The object.
    pub object: Value,
}

impl Item {
    /// `deployment.apps/web`, as verbs report it.
    pub fn label(&self) -> String {
        label(&self.resource, &self.key.name)
    }
}

/// `deployment.apps/web`, as verbs report it.
pub fn label(resource: &Resource, name: &str) -> String {
    let singular = if resource.singular.is_empty() { &*resource.gvr.resource } else { &resource.singular };
    format!("{}/{name}", gifee_base::gvk::group_resource(&resource.gvr.group, singular))
}

/// Reads all objects of the given files, folders (not deep) and `-`, in order.
///
/// # Errors
/// If a file cannot be read, is malformed, or holds what the server does not have.
pub fn read(paths: &[PathBuf], discovery: &Discovery, namespace: &str) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for path in paths {
        for (name, text) in texts(path)? {
            for object in objects(&text).with_context(|| format!("reading {name}"))? {
                items.push(item(object, discovery, namespace).with_context(|| format!("reading {name}"))?);
            }
        }
    }
    if items.is_empty() {
        bail!("no objects passed");
    }
    Ok(items)
}

fn texts(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().take(MAXIMUM).read_to_end(&mut text)?;
        return Ok(vec![("standard input".into(), text)]);
    }
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
            let file = entry?.path();
            if file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json")
            {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let read = |file: PathBuf| {
        let mut text = Vec::new();
        let opened = std::fs::File::open(&file).with_context(|| format!("reading {}", file.display()))?;
        opened.take(MAXIMUM).read_to_end(&mut text)?;
        Ok((file.display().to_string(), text))
    };
    files.into_iter().map(read).collect()
}

/// The objects of a text; those of a List one by one.
fn objects(text: &[u8]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut take = |value: Value| match value.get("items").and_then(Value::as_array) {
        Some(items) if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
            found.extend(items.iter().cloned())
        }
        _ if value.is_null() => {}
        _ => found.push(value),
    };
    if gifee_schema::parse::looks_like_json(text) {
        take(gifee_schema::parse::json(text)?.value);
    } else {
        for document in gifee_schema::parse::yaml_documents(text)? {
            take(document?.value);
        }
    }
    Ok(found)
}

fn item(mut object: Value, discovery: &Discovery, namespace: &str) -> Result<Item> {
    let (Some(api_version), Some(kind)) = (object["apiVersion"].as_str(), object["kind"].as_str()) else {
        bail!("an object without apiVersion or kind");
    };
    let gvk = Gvk::from_api_version(api_version, kind);
    let Some(resource) = discovery.kind(&gvk).cloned() else {
        bail!(
            "no matches for kind {kind:?} in version {api_version:?}; ensure that its CustomResourceDefinition is installed first"
        );
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut key = ObjectKey::cluster(&name);
    if resource.namespaced {
        let own = object["metadata"]["namespace"].as_str().unwrap_or_default();
        key = ObjectKey::new(if own.is_empty() { namespace } else { own }, &name);
        object["metadata"]["namespace"] = Value::from(&*key.namespace);
    }
    Ok(Item { resource, key, object })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_holds_many_objects() {
        let yaml = b"# one\nkind: A\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n";
        let kinds = |text: &[u8]| -> Vec<String> {
            objects(text).unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(kinds(yaml), ["A", "B", "C"]);
        assert_eq!(kinds(br#"{"kind":"A"}"#), ["A"]);
        assert!(objects(b"a: [b\n").is_err());
    }
}
