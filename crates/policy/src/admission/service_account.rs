//! Every pod runs as a service account that exists, with its token mounted unless it is opted out.
//!
//! Answers to upstream's `ServiceAccount`.

use super::{Operation, Request, Rule, decoded};
use crate::Lookup;
use gifee_base::{ObjectKey, Status, name};
use serde_json::{Value, json};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const EXPIRATION_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The rule.
pub struct ServiceAccount;

impl Rule for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutate(&self, request: &Request<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "pods") || request.operation != Operation::Create {
            return Ok(());
        }
        if !pod["metadata"]["annotations"][MIRROR].is_null() {
            return self.refuse_for_mirror(request, pod);
        }
        if pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
            pod["spec"]["serviceAccountName"] = "default".into();
        }
        let account_name = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().to_owned();
        pod["spec"]["serviceAccount"] = account_name.as_str().into();
        let key = ObjectKey::new(request.namespace, &account_name);
        let Some(account) = decoded(lookup.get("", "serviceaccounts", &key)) else {
            let why = format!(
                "error looking up service account {}/{account_name}: serviceaccount {account_name:?} not found",
                request.namespace
            );
            return Err(request.forbidden(&why));
        };
        if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
            && account["imagePullSecrets"].as_array().is_some_and(|secrets| !secrets.is_empty())
        {
            pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        let asked = &pod["spec"]["automountServiceAccountToken"];
        let mount = asked.as_bool().or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true);
        if mount {
            mount_token(pod);
        }
        Ok(())
    }
}

impl ServiceAccount {
    fn refuse_for_mirror(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        if !pod["spec"]["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
            return Err(request.forbidden("a mirror pod may not reference service accounts"));
        }
        Ok(())
    }
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
        for container in pod["spec"][containers].as_array_mut().into_iter().flatten() {
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
