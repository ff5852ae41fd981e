//! Every pod runs as a service account that exists, with its token mounted unless it is opted out.
//!
//! Answers to upstream's `ServiceAccount`.

use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::{ObjectKey, Status, name};
use serde_json::{Value, json};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const EXPIRATION_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether pods of an account mount only the Secrets that it lists.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The rule.
pub struct ServiceAccount;

impl Rule for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn half(&self) -> super::Half {
        super::Half::Both
    }

    fn mutate(&self, request: &Request<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "pods") || request.operation != Operation::Create {
            return Ok(());
        }
        if !pod["metadata"]["annotations"][MIRROR].is_null() {
            return Ok(());
        }
        if pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
            pod["spec"]["serviceAccountName"] = "default".into();
        }
        let account_name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().to_owned();
        pod["spec"]["serviceAccount"] = account_name.as_str().into();
        let key = ObjectKey::new(request.namespace, &account_name);
        let Some(account) = lookup.get("", "serviceaccounts", &key) else {
            let why = format!(
                "error looking up service account {}/{account_name}: serviceaccount {account_name:?} not found",
                request.namespace
            );
            return Err(request.forbidden(&why));
        };
        if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
            && let Ok(secrets) = account.decode_at::<Value>(&["imagePullSecrets"])
            && secrets.as_array().is_some_and(|secrets| !secrets.is_empty())
        {
            pod["spec"]["imagePullSecrets"] = secrets;
        }
        let asked = pod["spec"]["automountServiceAccountToken"].as_bool();
        let own = || account.decode_at(&["automountServiceAccountToken"]).unwrap_or_default();
        let mount = asked.or_else(own).unwrap_or(true);
        if mount {
            mount_token(pod);
        }
        Ok(())
    }

    fn validate(&self, request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let parts = match request.operation {
            Operation::Create => request.subresource.is_empty(),
            Operation::Update => request.subresource == "ephemeralcontainers",
            Operation::Delete | Operation::Connect => false,
        };
        if !request.gvk.group.is_empty() || request.resource != "pods" || !parts {
            return Ok(());
        }
        if !pod["metadata"]["annotations"][MIRROR].is_null() {
            return mirror(pod).map_or(Ok(()), |why| Err(request.forbidden(why)));
        }
        let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        let account = lookup.get("", "serviceaccounts", &ObjectKey::new(request.namespace, name));
        let Some(account) = account else { return Ok(()) };
        let enforced = account.text_at(&["metadata", "annotations", ENFORCE]);
        if !matches!(enforced.as_deref(), Some("1" | "t" | "T" | "true" | "TRUE" | "True")) {
            return Ok(());
        }
        let Ok(account) = account.to_value() else { return Ok(()) };
        unreferenced(pod, &account, request.subresource).map_or(Ok(()), |why| Err(request.forbidden(&why)))
    }
}

/// A pod that a node agent reads from a file has no rights.
fn mirror(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    if !spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let secret = !list(&spec["imagePullSecrets"]).is_empty()
        || list(&spec["volumes"]).iter().any(|volume| {
            let sources = list(&volume["projected"]["sources"]);
            volume["secret"].is_object() || sources.iter().any(|source| source["secret"].is_object())
        })
        || ["initContainers", "containers", "ephemeralContainers"].iter().any(|containers| {
            list(&spec[*containers]).iter().any(|container| {
                list(&container["envFrom"]).iter().any(|one| one["secretRef"].is_object())
                    || list(&container["env"]).iter().any(|one| one["valueFrom"]["secretKeyRef"].is_object())
            })
        });
    if secret {
        return Some("a mirror pod may not reference secrets");
    }
    let token = list(&spec["volumes"]).iter().any(|volume| {
        list(&volume["projected"]["sources"]).iter().any(|one| one["serviceAccountToken"].is_object())
    });
    token.then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

/// The first Secret of a pod that its account does not list, if accounts limit what is mounted.
fn unreferenced(pod: &Value, account: &Value, subresource: &str) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = account["metadata"]["name"].as_str().unwrap_or_default();
    let names =
        |field: &str| -> Vec<Value> { list(&account[field]).iter().map(|one| one["name"].clone()).collect() };
    let (mountable, pulling) = (names("secrets"), names("imagePullSecrets"));
    let why = |secret: &Value| {
        let secret = secret.as_str().unwrap_or_default();
        format!(
            "referencing secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
        )
    };
    for volume in list(&pod["spec"]["volumes"]) {
        let secret = &volume["secret"]["secretName"];
        if volume["secret"].is_object() && !mountable.contains(secret) {
            return Some(format!("volume with {}", why(secret).trim_start_matches("referencing ")));
        }
    }
    let kinds = match subresource {
        "ephemeralcontainers" => [("ephemeralContainers", "ephemeral container"); 1].to_vec(),
        _ => vec![("initContainers", "init container"), ("containers", "container")],
    };
    for (field, word) in kinds {
        for container in list(&pod["spec"][field]) {
            let own = container["name"].as_str().unwrap_or_default();
            for variable in list(&container["env"]) {
                let secret = &variable["valueFrom"]["secretKeyRef"];
                if secret.is_object() && !mountable.contains(&secret["name"]) {
                    let variable = variable["name"].as_str().unwrap_or_default();
                    return Some(format!("{word} {own} with envVar {variable} {}", why(&secret["name"])));
                }
            }
            for source in list(&container["envFrom"]) {
                let secret = &source["secretRef"];
                if secret.is_object() && !mountable.contains(&secret["name"]) {
                    return Some(format!("{word} {own} with envFrom {}", why(&secret["name"])));
                }
            }
        }
    }
    for (index, secret) in list(&pod["spec"]["imagePullSecrets"]).iter().enumerate() {
        if !pulling.contains(&secret["name"]) {
            let secret = secret["name"].as_str().unwrap_or_default();
            return Some(format!(
                "imagePullSecrets[{index}].name=\"{secret}\" is not allowed because service account {name} does not reference that imagePullSecret"
            ));
        }
    }
    None
}

fn mount_token(pod: &mut Value) {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let existing = volumes
        .filter_map(|volume| volume["name"].as_str())
        .find(|volume| volume.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let volume = existing.clone().unwrap_or_else(|| name::generate_random(VOLUME_PREFIX));
    let mut needed = false;
    for containers in ["initContainers", "containers"] {
        let list = pod["spec"].get_mut(containers).and_then(Value::as_array_mut);
        for container in list.into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array();
            if mounts.into_iter().flatten().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            let mount = json!({ "name": volume, "readOnly": true, "mountPath": MOUNT_PATH });
            match container["volumeMounts"].as_array_mut() {
                Some(mounts) => mounts.push(mount),
                None => container["volumeMounts"] = json!([mount]),
            }
            needed = true;
        }
    }
    if !needed || existing.is_some() {
        return;
    }
    let volume = json!({ "name": volume, "projected": { "defaultMode": 420, "sources": [
        { "serviceAccountToken": { "expirationSeconds": EXPIRATION_SECONDS, "path": "token" } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "namespace",
            "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
    ] } });
    match pod["spec"]["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => pod["spec"]["volumes"] = json!([volume]),
    }
}
