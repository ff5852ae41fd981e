//! The house rules that a machine can hold: documents, names, lengths, licences, and that every extension is listed.
//!
//! A rule looks at one file, or at the tree; each has a test that shows it failing.

use crate::layers::metadata;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::{fs, process};

const FILE_LINES: usize = 1000;
const FUNCTION_LINES: usize = 70;
const ARCHITECTURE_LINES: usize = 500;
const DOCUMENTS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "STYLE.md", "SPECIFICATION.md", "CHANGELOG.md", "LICENSE", ".ci/run"];
/// Names that hide what is inside.
const HIDING: &[&str] =
    &["common", "util", "utils", "helper", "helpers", "types", "misc", "manager", "handler", "handlers"];
/// What may not be left in code. Written apart, so that this file passes its own rule.
const MARKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ign", "ore"),
];
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "0BSD",
    "CC0-1.0",
    "BSL-1.0",
    "Unlicense",
    "CDLA-Permissive-2.0",
    "OpenSSL",
    "Apache-2.0 WITH LLVM-exception",
    "bzip2-1.0.6",
    "MPL-2.0+",
];
/// Packages that ship a licence file instead of naming a licence, as read.
const LICENCE_FILES: &[(&str, &str)] = &[("rust-criu", "MIT")];
/// Folders of extensions and the table that lists each: folder, file of the table, name of the table.
const EXTENSIONS: &[(&str, &str, &str)] = &[
    ("crates/policy/src/admission", "crates/policy/src/admission/mod.rs", "RULES"),
    ("crates/controllers/src", "crates/controllers/src/lib.rs", "CONTROLLERS"),
    ("crates/scheduler/src/plugins", "crates/scheduler/src/plugins/mod.rs", "PLUGINS"),
    ("crates/kubelet/src/hooks", "crates/kubelet/src/hooks/mod.rs", "HOOKS"),
    ("crates/kubelet/src/volumes", "crates/kubelet/src/volumes/mod.rs", "VOLUMES"),
    ("crates/cli/src/verbs", "crates/cli/src/verbs/mod.rs", "VERBS"),
    ("crates/simulation/src/operations", "crates/simulation/src/operations/mod.rs", "OPERATIONS"),
];
/// Files in those folders that are parts of the framework and no extensions.
const FRAMEWORK: &[&str] = &["mod", "lib", "tests"];

/// Runs all rules on the tree below the current folder.
///
/// # Errors
/// If one of them is broken.
pub fn run() -> Result<()> {
    let mut findings = Vec::new();
    let files = tracked()?;
    for path in &files {
        let Ok(content) = fs::read_to_string(path) else { continue };
        findings.extend(file(path, &content));
    }
    for document in DOCUMENTS {
        if !Path::new(document).exists() {
            findings.push(format!("{document} is missing"));
        }
    }
    let architecture = fs::read_to_string("ARCHITECTURE.md").unwrap_or_default().lines().count();
    if architecture > ARCHITECTURE_LINES {
        findings.push(format!("ARCHITECTURE.md has {architecture} lines, more than {ARCHITECTURE_LINES}"));
    }
    for (folder, table_file, table) in EXTENSIONS {
        let content = fs::read_to_string(table_file).unwrap_or_default();
        findings.extend(unlisted(&modules(&files, folder), &content, table, folder));
    }
    findings.extend(licences(&metadata(&[])?));
    if findings.is_empty() {
        println!("tidy: {} files, every rule kept", files.len());
        return Ok(());
    }
    bail!("{} findings:\n  {}", findings.len(), findings.join("\n  "))
}

fn tracked() -> Result<Vec<PathBuf>> {
    let output =
        process::Command::new("git").args(["ls-files", "-z"]).output().context("running git ls-files")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect())
}

/// The rules on one file.
fn file(path: &Path, content: &str) -> Vec<String> {
    let name = path.display().to_string();
    let mut findings = Vec::new();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let hiding = HIDING.iter().any(|word| *word == stem)
        || path
            .components()
            .any(|part| HIDING.iter().any(|word| *word == part.as_os_str().to_string_lossy()));
    let rust = path.extension().is_some_and(|extension| extension == "rs");
    if hiding && rust {
        findings.push(format!("{name}: the name does not say what is inside"));
    }
    for (index, line) in content.lines().enumerate() {
        if PLACES.iter().any(|place| line.contains(place)) && !name.ends_with(".lock") {
            findings.push(format!("{name}:{}: an absolute path of a machine", index + 1));
        }
    }
    if !rust {
        return findings;
    }
    if !content.starts_with("//!") {
        findings.push(format!("{name}: does not open with //!"));
    }
    let lines = content.lines().count();
    if lines > FILE_LINES {
        findings.push(format!("{name}: {lines} lines, more than {FILE_LINES}"));
    }
    let test = is_test(path);
    let production = if test { "" } else { before_tests(content) };
    for (index, line) in content.lines().enumerate() {
        // What a test expects may end in blanks.
        if !test && line.ends_with([' ', '\t']) {
            findings.push(format!("{name}:{}: white space at the end", index + 1));
        }
        if let Some(mark) = MARKS.iter().find(|mark| line.contains(**mark)) {
            findings.push(format!("{name}:{}: {mark}", index + 1));
        }
    }
    for (index, line) in production.lines().enumerate() {
        if line.contains(concat!(".unw", "rap()")) && !line.trim_start().starts_with("//") {
            findings.push(format!("{name}:{}: unwrap outside tests", index + 1));
        }
    }
    findings.extend(long_functions(production).into_iter().map(|text| format!("{name}:{text}")));
    findings
}

fn is_test(path: &Path) -> bool {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let folder = parts
        .iter()
        .any(|part| matches!(part.as_ref(), "tests" | "benches" | "examples" | "testkit" | "contract"));
    folder || path.file_stem().is_some_and(|stem| stem == "tests" || stem == "contract")
}

fn before_tests(content: &str) -> &str {
    match content.find("#[cfg(test)]\nmod tests {").or_else(|| content.find("#[cfg(test)]\npub mod tests {"))
    {
        Some(at) => &content[..at],
        None => content,
    }
}

/// Functions over the limit, found by rustfmt's indentation: the brace that ends one stands under its `fn`.
fn long_functions(content: &str) -> Vec<String> {
    let lines: Vec<&str> = content.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let opens = line.trim_start();
        let is_function =
            ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn ", "pub(crate) async fn "]
                .iter()
                .any(|prefix| opens.starts_with(prefix));
        if !is_function {
            continue;
        }
        // A declaration in a trait ends with a semicolon before any body opens.
        let body = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if body.is_none_or(|line| line.ends_with(';')) {
            continue;
        }
        let end = lines[start..].iter().position(|other| {
            other.len() - other.trim_start().len() == indent && matches!(other.trim_start(), "}" | "{}")
        });
        if let Some(length) = end.filter(|length| *length >= FUNCTION_LINES) {
            findings.push(format!(
                "{}: a function of {} lines, more than {FUNCTION_LINES}",
                start + 1,
                length + 1
            ));
        }
    }
    findings
}

/// The modules directly in a folder: files, and folders with a mod.rs.
fn modules(files: &[PathBuf], folder: &str) -> Vec<String> {
    let mut found: Vec<String> = files
        .iter()
        .filter_map(|path| path.strip_prefix(folder).ok())
        .filter_map(|rest| {
            let parts: Vec<_> = rest.components().collect();
            match parts.as_slice() {
                [_] if rest.extension().is_some_and(|one| one == "rs") => rest.file_stem(),
                [folder, file] if file.as_os_str() == "mod.rs" => Some(folder.as_os_str()),
                _ => None,
            }
        })
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !FRAMEWORK.contains(&name.as_str()))
        .collect();
    found.sort();
    found
}

/// Extensions whose module name does not stand in the table of their folder. A module whose own text says
/// `part of the framework` in the table's file is none.
fn unlisted(modules: &[String], table_file: &str, table: &str, folder: &str) -> Vec<String> {
    if modules.is_empty() {
        return Vec::new();
    }
    let Some(start) = table_file.find(&format!(" {table}:")) else {
        return vec![format!("{folder}: no table {table}")];
    };
    let body = &table_file[start..];
    let body = &body[..body.find("\n];").unwrap_or(body.len())];
    let framework =
        table_file.lines().find_map(|line| line.strip_prefix("// Not extensions: ")).unwrap_or_default();
    let missing = modules.iter().filter(|module| {
        !body.contains(&format!("{module}::"))
            && !framework.split(", ").any(|one| one.trim_end_matches('.') == *module)
    });
    missing.map(|module| format!("{folder}/{module} has no row in {table}")).collect()
}

/// Packages whose licence is not allowed in the binary.
fn licences(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let refused = packages.iter().filter_map(|package| {
        let named =
            LICENCE_FILES.iter().find(|(name, _)| package["name"] == *name).map(|(_, licence)| *licence);
        let expression = package["license"].as_str().or(named).unwrap_or_default();
        (!allowed(expression)).then(|| format!("{}: licence {expression:?} is not allowed", package["name"]))
    });
    refused.collect()
}

fn allowed(expression: &str) -> bool {
    // `A OR B` needs one, `A AND B` all; parentheses only ever group alternatives in our tree.
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, content: &str) -> Vec<String> {
        file(Path::new(path), content)
    }

    #[test]
    fn a_good_file_passes() {
        assert!(check("crates/a/src/pod.rs", "//! Pods.\n\nfn one() {\n    two();\n}\n").is_empty());
    }

    #[test]
    fn each_rule_fails_once() {
        assert_eq!(check("crates/a/src/x.rs", "fn a() {}\n"), ["crates/a/src/x.rs: does not open with //!"]);
        let long = format!("//! x\n{}", "// line\n".repeat(FILE_LINES));
        assert_eq!(check("crates/a/src/x.rs", &long), ["crates/a/src/x.rs: 1001 lines, more than 1000"]);
        let body = "    x();\n".repeat(FUNCTION_LINES);
        let function = format!("//! x\nfn a() {{\n{body}}}\n");
        assert_eq!(
            check("crates/a/src/x.rs", &function),
            ["crates/a/src/x.rs:2: a function of 72 lines, more than 70"]
        );
        assert_eq!(
            check("crates/a/src/util.rs", "//! x\n"),
            ["crates/a/src/util.rs: the name does not say what is inside"]
        );
        let unwrap = concat!("//! x\nfn a() {\n    b().unw", "rap();\n}\n");
        assert_eq!(check("crates/a/src/x.rs", unwrap), ["crates/a/src/x.rs:3: unwrap outside tests"]);
        assert!(check("crates/a/tests/x.rs", unwrap).is_empty());
        let mark = concat!("//! x\n// TO", "DO: later\n");
        assert_eq!(check("crates/a/src/x.rs", mark), [concat!("crates/a/src/x.rs:2: TO", "DO")]);
        let place = concat!("see /wo", "rk/x\n");
        assert_eq!(check("docs/x.md", place), ["docs/x.md:1: an absolute path of a machine"]);
    }

    #[test]
    fn an_unlisted_extension_is_found() {
        let table = "mod a;\nmod b;\npub const RULES: &[&dyn Rule] = &[\n    &a::A,\n];\n";
        let modules = ["a".to_owned(), "b".to_owned()];
        assert_eq!(unlisted(&modules, table, "RULES", "f"), ["f/b has no row in RULES"]);
        assert_eq!(unlisted(&modules, "", "RULES", "f"), ["f: no table RULES"]);
    }

    #[test]
    fn licences_of_the_gnu_family_are_refused() {
        assert!(allowed("MIT OR Apache-2.0"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(allowed("LGPL-2.1 OR MIT"));
        assert!(!allowed("LGPL-2.1"));
        assert!(!allowed("MIT AND GPL-3.0-only"));
        assert!(!allowed(""));
    }
}
