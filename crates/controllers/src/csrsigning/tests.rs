//! What is signed, for how long, and what is refused.

use super::*;
use crate::csrapproving::tests::request;

fn planned(signer: &str, request: &str, usages: Value, seconds: Option<i64>, conditions: Value) -> Plan {
    let spec =
        json!({ "request": request, "signerName": signer, "usages": usages, "expirationSeconds": seconds });
    plan(&serde_json::from_value(json!({ "spec": spec, "status": { "conditions": conditions } })).unwrap())
        .unwrap()
}

#[test]
fn signers_hold_requests_to_their_rules() {
    let approved = json!([{ "type": "Approved", "status": "True" }]);
    let node = request("system:node:n", "system:nodes", &[]);
    let any = request("ann", "team", &["example.org"]);
    let client = json!(["digital signature", "key encipherment", "client auth"]);
    for (signer, request, usages, conditions, expect) in [
        (CLIENT, &any, &client, &approved, "sign"),
        (
            CLIENT,
            &any,
            &json!(["server auth"]),
            &approved,
            "invalid usage for client certificate: server auth",
        ),
        (
            CLIENT,
            &any,
            &json!(["digital signature"]),
            &approved,
            "missing required usage for client certificate: client auth",
        ),
        (KUBELET_CLIENT, &node, &client, &approved, "sign"),
        (KUBELET_CLIENT, &any, &client, &approved, "subject organization is not system:nodes"),
        (KUBELET_SERVING, &node, &json!(["server auth"]), &approved, "DNS or IP subjectAltName is required"),
        (LEGACY, &any, &json!(["any"]), &approved, "sign"),
        ("example.org/other", &any, &client, &approved, "nothing"),
        (CLIENT, &any, &client, &json!([]), "nothing"),
        (
            CLIENT,
            &any,
            &client,
            &json!([{ "type": "Approved", "status": "True" }, { "type": "Failed", "status": "True" }]),
            "nothing",
        ),
    ] {
        let found = match planned(signer, request, usages.clone(), None, conditions.clone()) {
            Plan::Nothing => "nothing".to_owned(),
            Plan::Fail(why) => why,
            Plan::Sign(..) => "sign".to_owned(),
        };
        assert_eq!(found, expect, "{signer} {usages} {conditions}");
    }
}

#[test]
fn a_life_is_between_ten_minutes_and_a_year() {
    for (asked, expect) in
        [(None, 365 * 86_400), (Some(1), 600), (Some(7_200), 7_200), (Some(1 << 40), 365 * 86_400)]
    {
        assert_eq!(life(asked).as_secs(), expect);
    }
}
