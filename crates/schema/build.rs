//! Takes the descriptions of types and fields, which `explain` shows, out of the sources of the k8s-openapi crate.
//!
//! The crate is read, not built: its types are of no use here, and the prose is not copied into this repository.
//! Writes `descriptions.txt`: a line `MODEL\tTEXT` per type, after it a line `\tFIELD\tTEXT` per field, with
//! backslash, newline and tab escaped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CRATE: &str = "k8s-openapi";
/// The folder of the Kubernetes version in the crate's sources.
const VERSION: &str = "v1_37";

type Described = BTreeMap<String, (String, Vec<(String, String)>)>;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let sources = sources().join("src").join(VERSION);
    let mut described = Described::new();
    read_folder(&sources, &mut described);
    assert!(described.len() > 500, "{} describes {} types only", sources.display(), described.len());
    let mut out = String::new();
    for (model, (text, fields)) in described {
        out.push_str(&format!("{model}\t{text}\n"));
        for (name, text) in fields {
            out.push_str(&format!("\t{name}\t{text}\n"));
        }
    }
    let target =
        PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("descriptions.txt");
    fs::write(target, out).expect("OUT_DIR can be written");
}

/// The folder of the crate's sources: where cargo keeps what it downloaded, or where cargo itself says.
fn sources() -> PathBuf {
    let lock = fs::read_to_string("../../Cargo.lock").expect("the workspace has a lock file");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{CRATE}\"\n")));
    let version = entry
        .and_then(|entry| entry.split("version = \"").nth(1))
        .and_then(|rest| rest.split('"').next())
        .expect("the lock file names the crate");
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let found = registries
        .into_iter()
        .flatten()
        .flatten()
        .map(|registry| registry.path().join(format!("{CRATE}-{version}")))
        .find(|path| path.is_dir());
    found.unwrap_or_else(from_metadata)
}

fn from_metadata() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("cargo sets CARGO");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--filter-platform"])
        .arg(std::env::var("TARGET").expect("cargo sets TARGET"))
        .output()
        .expect("cargo can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let manifest = text
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains(&format!("/{CRATE}")))
        .unwrap_or_else(|| {
            panic!("cargo metadata knows no {CRATE}: {}", String::from_utf8_lossy(&output.stderr))
        });
    Path::new(manifest).parent().expect("a manifest is in a folder").to_path_buf()
}

fn read_folder(folder: &Path, described: &mut Described) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("reading {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            read_folder(&path, described);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read_file(&fs::read_to_string(&path).expect("sources are text"), described);
        }
    }
}

/// The generated JSON schemas are laid out by one program: a property's name is indented by 16 spaces, its description
/// stands below it, the type's own is indented by 12.
fn read_file(source: &str, described: &mut Described) {
    let Some(model) =
        source.strip_prefix("// Generated from definition ").and_then(|rest| rest.lines().next())
    else {
        return;
    };
    let Some((_, schema)) = source.split_once("json_schema!({") else { return };
    let mut text = String::new();
    let mut fields = Vec::new();
    let mut field = None;
    for line in schema.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        if indent == 12 && line.starts_with("\"description\": ") {
            text = literal(&line["\"description\": ".len()..]);
        } else if indent == 16 && line.starts_with('"') {
            field = line[1..].split_once('"').map(|(name, _)| name.to_string());
        } else if indent == 20
            && let Some(described) = line
                .strip_prefix("\"description\": ")
                .or_else(|| line.split_once("insert(\"description\".into(), ").map(|(_, rest)| rest))
            && let Some(name) = field.take()
        {
            fields.push((name, literal(described)));
        }
    }
    described.insert(model.to_string(), (text, fields));
}

/// A string literal's text, with its escapes of backslash, newline and tab kept.
fn literal(source: &str) -> String {
    let mut out = String::new();
    let mut letters = source.strip_prefix('"').unwrap_or(source).chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('"') => out.push('"'),
                Some('\'') => out.push('\''),
                Some('u') => {
                    let code: String = letters.by_ref().skip(1).take_while(|letter| *letter != '}').collect();
                    out.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
                }
                Some(letter) => {
                    out.push('\\');
                    out.push(letter);
                }
                None => break,
            },
            letter => out.push(letter),
        }
    }
    out
}
