//! Every parser that reads what the network brings, fed with bytes that libFuzzer finds by their coverage.
//!
//! `cargo xtask fuzz` builds it and runs its rows; `GIFEE_FUZZ` names the row. Invariant: no bytes make a parser panic,
//! overflow its stack, or run away.

#![no_main]

use gifee_base::{FieldSelector, LabelSelector, Object, Quantity, Status, clock::parse_time};
use gifee_policy::authenticate::bootstrap;
use gifee_schema::apply::{Set, decode};
use gifee_schema::cel::{self, Budget};
use gifee_schema::structural::Structural;
use gifee_schema::{Schema, check, parse, patch, protobuf};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::LazyLock;

type Target = fn(&[u8]);

/// Name and body of each.
const TARGETS: &[(&str, Target)] = &[
    ("json", |bytes| drop(parse::json(bytes))),
    ("yaml", |bytes| drop(parse::yaml(bytes))),
    ("documents", |bytes| drop(parse::yaml_documents(bytes).map(Iterator::count))),
    ("protobuf", protobuf_body),
    ("transcode", |bytes| _ = protobuf::transcode(&POD, bytes, &mut Vec::new())),
    ("pod", pod),
    ("object", |bytes| drop(Object::received(bytes.to_vec().into()))),
    ("status", |bytes| drop(Status::from_body(500, bytes))),
    ("json-patch", |bytes| both(bytes, |current, patch| drop(patch::json(current, &patch)))),
    ("merge-patch", |bytes| both(bytes, |current, patch| drop(patch::merge(current, patch)))),
    ("strategic-patch", |bytes| both(bytes, |current, patch| drop(patch::strategic(&POD, current, patch)))),
    ("managed-fields", |bytes| text(bytes, |text| drop((decode(text), Set::parse(text))))),
    ("labels", |bytes| text(bytes, |text| drop(LabelSelector::parse(text)))),
    ("fields", |bytes| text(bytes, |text| drop(FieldSelector::parse(text)))),
    ("quantity", |bytes| text(bytes, |text| drop(text.parse::<Quantity>().map(|one| one.to_string())))),
    ("time", |bytes| text(bytes, |text| drop((parse_time(text), check::duration::parse(text))))),
    ("expression", |bytes| text(bytes, expression)),
    ("structural", |bytes| both(bytes, structural)),
    ("bootstrap-token", |bytes| text(bytes, |text| _ = bootstrap::parse(text))),
];

static POD: LazyLock<Schema> = LazyLock::new(|| Schema::builtin("", "v1", "Pod").expect("pods are built in"));

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("GIFEE_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|(one, _)| *one == name);
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("GIFEE_FUZZ names one of {names:?}")).1
});

fn text(bytes: &[u8], body: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        body(text);
    }
}

/// Two trees, with a zero byte between.
fn both(bytes: &[u8], body: impl FnOnce(Value, Value)) {
    let Some(at) = bytes.iter().position(|byte| *byte == 0) else { return };
    let tree = |bytes: &[u8]| parse::json(bytes).ok().map(|parsed| parsed.value);
    if let (Some(left), Some(right)) = (tree(&bytes[..at]), tree(&bytes[at + 1..])) {
        body(left, right);
    }
}

fn protobuf_body(bytes: &[u8]) {
    let builtin = |group: &str, version: &str, kind: &str| Schema::builtin(group, version, kind);
    // Whole, and as what stands in an envelope.
    drop(protobuf::decode(bytes, &builtin));
    let mut body = b"k8s\0\n\x09\n\x02v1\x12\x03Pod\x12".to_vec();
    let mut length = bytes.len();
    while length >= 0x80 {
        body.push(length as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
    body.extend_from_slice(bytes);
    if let Ok(value) = protobuf::decode(&body, &builtin) {
        // What was read can be written.
        drop(protobuf::encode(&POD, &value));
    }
}

fn pod(bytes: &[u8]) {
    if let Ok(mut parsed) = parse::json(bytes) {
        drop(check::check(&POD, &mut parsed.value));
    }
}

fn expression(source: &str) {
    static ENVIRONMENT: LazyLock<cel::Environment> = LazyLock::new(cel::Environment::new);
    if let Ok(program) = ENVIRONMENT.compile(source, &[]) {
        let mut budget = Budget::new(10_000);
        if let Ok(value) = program.evaluate(&mut cel::Activation::new(Vec::new()), &mut budget) {
            drop(value.to_json(&mut budget));
        }
    }
}

fn structural(schema: Value, mut value: Value) {
    let structural = Structural::read(&schema);
    structural.unknown(&value);
    structural.apply_defaults(&mut value);
    structural.violations(&value, None, "");
}

fuzz_target!(|bytes: &[u8]| (*CHOSEN)(bytes));
