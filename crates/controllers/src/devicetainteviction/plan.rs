//! Until when a pod may keep the devices that it uses. Pure.

use gifee_base::clock;
use gifee_reconcile::pod::Toleration;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The effect that ends pods, as it stands in the bytes of whatever carries taints.
pub const NO_EXECUTE: &str = "NoExecute";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The devices that a claim holds.
pub fn held(claim: &Value) -> impl Iterator<Item = &Value> {
    list(&claim["status"]["allocation"]["devices"]["results"])
}

/// The taints that end pods, of one device: those in the slices of its pool, and those of the rules that select it.
fn taints<'a>(device: &Value, slices: &'a [Value], rules: &'a [Value]) -> Vec<&'a Value> {
    let of_pool = |slice: &&Value| {
        slice["spec"]["driver"] == device["driver"] && slice["spec"]["pool"]["name"] == device["pool"]
    };
    // Of a pool that is being described anew, the newest description counts.
    let generation = |slice: &Value| slice["spec"]["pool"]["generation"].as_i64().unwrap_or_default();
    let newest = slices.iter().filter(of_pool).map(generation).max();
    let own = slices
        .iter()
        .filter(of_pool)
        .filter(|slice| Some(generation(slice)) == newest)
        .flat_map(|slice| list(&slice["spec"]["devices"]))
        .filter(|one| one["name"] == device["device"])
        .flat_map(|one| list(&one["taints"]));
    let selected = |rule: &&Value| {
        let selector = &rule["spec"]["deviceSelector"];
        ["driver", "pool", "device"]
            .iter()
            .all(|field| selector[*field].is_null() || selector[*field] == device[*field])
    };
    let ruled = rules.iter().filter(selected).map(|rule| &rule["spec"]["taint"]);
    own.chain(ruled).filter(|taint| taint["effect"] == NO_EXECUTE).collect()
}

/// When a pod with these claims has to go; none: it may stay.
pub fn end(claims: &[Value], slices: &[Value], rules: &[Value]) -> Option<Timestamp> {
    let mut earliest = None;
    for device in claims.iter().flat_map(held) {
        let tolerations: Vec<Toleration> =
            serde_json::from_value(device["tolerations"].clone()).unwrap_or_default();
        for taint in taints(device, slices, rules) {
            let since = clock::parse_time(text(&taint["timeAdded"])).unwrap_or(Timestamp::UNIX_EPOCH);
            let bears = |one: &&Toleration| {
                one.tolerates(text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]))
            };
            let borne: Vec<Option<i64>> =
                tolerations.iter().filter(bears).map(|one| one.toleration_seconds).collect();
            if borne.contains(&None) {
                continue;
            }
            let seconds = borne.into_iter().flatten().min().unwrap_or(0).max(0);
            let at = since.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
            earliest = Some(earliest.map_or(at, |earliest: Timestamp| earliest.min(at)));
        }
    }
    earliest
}
