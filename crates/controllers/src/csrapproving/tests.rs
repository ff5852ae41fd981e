//! Who is approved by which way.

use super::*;
use base64::Engine;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

/// A request as a node agent makes one.
pub(crate) fn request(name: &str, organization: &str, names: &[&str]) -> String {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organization);
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    for name in names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        });
    }
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    base64::engine::general_purpose::STANDARD.encode(pem)
}

fn ways(spec: Value, status: Value) -> Vec<&'static str> {
    let request: Request = serde_json::from_value(json!({ "spec": spec, "status": status })).unwrap();
    let mut node = json!({ "metadata": { "name": "n" }, "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] } });
    let node = Object::stored(Object::encode(&mut node), 1).unwrap();
    plan(&request, &request.parse().unwrap(), Some(&node)).into_iter().map(|way| way.part).collect()
}

#[test]
fn requests_of_node_agents_for_themselves_may_be_approved() {
    let client = |name: &str, user: &str| {
        json!({ "request": request(name, "system:nodes", &[]), "signerName": KUBELET_CLIENT,
            "usages": ["digital signature", "client auth"], "username": user })
    };
    assert_eq!(ways(client("system:node:n", "system:node:n"), json!({})), ["selfnodeclient", "nodeclient"]);
    assert_eq!(ways(client("system:node:n", "system:bootstrap:abcdef"), json!({})), ["nodeclient"]);
    assert!(ways(client("root", "root"), json!({})).is_empty());
    let decided = json!({ "conditions": [{ "type": "Denied", "status": "True" }] });
    assert!(ways(client("system:node:n", "system:node:n"), decided).is_empty());
    let mut other = client("system:node:n", "system:node:n");
    other["usages"] = json!(["digital signature", "client auth", "server auth"]);
    assert!(ways(other, json!({})).is_empty());
    let serving = |names: &[&str], user: &str| {
        json!({ "request": request("system:node:n", "system:nodes", names), "signerName": KUBELET_SERVING,
            "usages": ["digital signature", "server auth"], "username": user })
    };
    assert_eq!(ways(serving(&["n", "10.0.0.1"], "system:node:n"), json!({})), ["selfnodeserver"]);
    assert!(ways(serving(&["n", "10.0.0.2"], "system:node:n"), json!({})).is_empty());
    assert!(ways(serving(&["n"], "system:node:m"), json!({})).is_empty());
}
