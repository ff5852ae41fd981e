//! What is special about ConfigMaps, Secrets and ServiceAccounts.
//!
//! Answers to upstream's strategies and rules of the three.

use crate::kind::Order;
use crate::rule::{Errors, METADATA, ROOT, immutable, key_pair, named_text};
use crate::rules::{RULES, Rules};
use crate::value::{entries, is_empty, items, remove, same, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

const SIZE_MAXIMUM: usize = 1024 * 1024;
const DATA: Path<'static> = Path::root("data");
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
const TLS: &str = "kubernetes.io/tls";
const REDACTED: &str = "<secret contents redacted>";

/// How many bytes base64 text stands for.
fn decoded_size(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count().min(2)
}

fn frozen(errors: &mut Errors, object: &Value, old: &Value, fields: &[&str]) {
    if old["immutable"] != true {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if object["immutable"] != true {
        errors.push(FieldError::forbidden(&Path::root("immutable"), why));
    }
    for field in fields {
        if !same(&object[*field], &old[*field]) {
            errors.push(FieldError::forbidden(&Path::root(field), why));
        }
    }
}

/// Rules of ConfigMaps.
pub(crate) const CONFIG_MAP: Rules = Rules {
    validate: |errors, map| {
        let mut total = 0;
        for (key, value) in entries(&map["data"]) {
            named_text(errors, key, &DATA.key(key), name::config_map_key);
            if map["binaryData"].get(key).is_some() {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(&DATA.key(key), key, why));
            }
            total += text(value).len();
        }
        let binary = Path::root("binaryData");
        for (key, value) in entries(&map["binaryData"]) {
            named_text(errors, key, &binary.key(key), name::config_map_key);
            total += decoded_size(text(value));
        }
        if total > SIZE_MAXIMUM {
            errors.push(FieldError::too_long(&ROOT, SIZE_MAXIMUM));
        }
    },
    order: Order::ChangeFirst,
    validate_update: |errors, map, old| frozen(errors, map, old, &["data", "binaryData"]),
    ..RULES
};

/// Rules of Secrets.
pub(crate) const SECRET: Rules = Rules {
    default: |secret| {
        let Some(plain) = remove(secret, "stringData") else { return };
        for (key, value) in entries(&plain) {
            secret["data"][key] = STANDARD.encode(text(value)).into();
        }
    },
    warnings: |warnings, secret, _| {
        if secret["type"] == TLS {
            let decoded = |key: &str| {
                let bytes = STANDARD.decode(text(&secret["data"][key])).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            warnings.extend(key_pair::mismatch(&decoded("tls.crt"), &decoded("tls.key")));
        }
    },
    update: |secret, old, _, _| {
        if is_empty(&secret["type"]) {
            secret["type"] = old["type"].clone();
        }
    },
    validate: |errors, secret| {
        let mut total = 0;
        for (key, value) in entries(&secret["data"]) {
            named_text(errors, key, &DATA.key(key), name::config_map_key);
            total += decoded_size(text(value));
        }
        if total > SIZE_MAXIMUM {
            errors.push(FieldError::too_long(&DATA, SIZE_MAXIMUM));
        }
        by_type(errors, secret);
    },
    order: Order::ChangeFirst,
    validate_update: |errors, secret, old| {
        immutable(errors, &secret["type"], &old["type"], &Path::root("type"));
        frozen(errors, secret, old, &["data"]);
    },
    ..RULES
};

fn by_type(errors: &mut Errors, secret: &Value) {
    let data = &secret["data"];
    let mut need = |key: &str, there: bool| {
        if !there {
            errors.push(FieldError::required(&DATA.key(key), ""));
        }
        there
    };
    let there = |key: &str| data.get(key).is_some();
    let (key, _) = match text(&secret["type"]) {
        "kubernetes.io/service-account-token" => {
            if is_empty(&secret["metadata"]["annotations"][ACCOUNT]) {
                let at = METADATA.child("annotations");
                errors.push(FieldError::required(&at.key(ACCOUNT), ""));
            }
            return;
        }
        "kubernetes.io/dockercfg" => (".dockercfg", need(".dockercfg", there(".dockercfg"))),
        "kubernetes.io/dockerconfigjson" => {
            (".dockerconfigjson", need(".dockerconfigjson", there(".dockerconfigjson")))
        }
        "kubernetes.io/basic-auth" => {
            let one = there("username") || there("password");
            need("username", one);
            need("password", one);
            return;
        }
        "kubernetes.io/ssh-auth" => {
            need("ssh-privatekey", !is_empty(&data["ssh-privatekey"]));
            return;
        }
        TLS => {
            need("tls.crt", there("tls.crt"));
            need("tls.key", there("tls.key"));
            return;
        }
        _ => return,
    };
    let Some(value) = data.get(key) else { return };
    let bytes = STANDARD.decode(text(value)).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.push(FieldError::invalid(&DATA.key(key), REDACTED, &error.to_string()));
    }
}

/// Rules of ServiceAccounts: of a reference to a Secret only the name counts.
pub(crate) const SERVICE_ACCOUNT: Rules = Rules {
    warnings: |warnings, account, old| {
        let has = |account: &Value| !account["metadata"]["annotations"][ENFORCE].is_null();
        if has(account) && !old.is_some_and(has) {
            warnings.push(format!(
                "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            ));
        }
    },
    create: |account, _| names_only(account),
    update: |account, _, _, _| names_only(account),
    ..RULES
};

fn names_only(account: &mut Value) {
    let names: Vec<Value> =
        items(&account["secrets"]).iter().map(|one| json!({ "name": text(&one["name"]) })).collect();
    if !names.is_empty() {
        account["secrets"] = names.into();
    }
}
