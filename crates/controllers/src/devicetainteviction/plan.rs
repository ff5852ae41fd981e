//! Until when a pod may keep the devices that it uses. Pure.

use gifee_base::clock;
use gifee_reconcile::pod::Toleration;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// When a pod has to go, and on whose account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// UIDs of the rules whose taints the pod does not bear, or not for ever.
    pub rules: BTreeSet<String>,
}

/// The effect that ends pods, as it stands in the bytes of whatever carries taints.
pub const NO_EXECUTE: &str = "NoExecute";

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The devices that a claim holds.
pub fn held(claim: &Value) -> impl Iterator<Item = &Value> {
    list(&claim["status"]["allocation"]["devices"]["results"])
}

/// Whether a rule selects a device, of which driver, pool and name are said.
pub fn selects(rule: &Value, [driver, pool, device]: [&Value; 3]) -> bool {
    let selector = &rule["spec"]["deviceSelector"];
    [("driver", driver), ("pool", pool), ("device", device)]
        .iter()
        .all(|(field, own)| selector[*field].is_null() || selector[*field] == **own)
}

/// The names of a device that a claim holds.
pub fn names(device: &Value) -> [&Value; 3] {
    ["driver", "pool", "device"].map(|field| &device[field])
}

fn pool(slice: &Value) -> [&str; 2] {
    [text(&slice["spec"]["driver"]), text(&slice["spec"]["pool"]["name"])]
}

fn generation(slice: &Value) -> i64 {
    slice["spec"]["pool"]["generation"].as_i64().unwrap_or_default()
}

/// The newest descriptions of pools among slices.
pub fn current(slices: &[Value]) -> impl Iterator<Item = &Value> {
    let mut newest = HashMap::new();
    for slice in slices {
        let known = newest.entry(pool(slice)).or_insert(i64::MIN);
        *known = generation(slice).max(*known);
    }
    slices.iter().filter(move |slice| newest[&pool(slice)] == generation(slice))
}

/// The taints that end pods, of one device: those in the slices of its pool, and those of the rules that select it,
/// with these rules' UIDs.
fn taints<'a>(device: &Value, slices: &'a [Value], rules: &'a [Value]) -> Vec<(&'a Value, Option<&'a str>)> {
    let of_pool = |slice: &&Value| {
        slice["spec"]["driver"] == device["driver"] && slice["spec"]["pool"]["name"] == device["pool"]
    };
    // Of a pool that is being described anew, the newest description counts.
    let own = current(slices)
        .filter(of_pool)
        .flat_map(|slice| list(&slice["spec"]["devices"]))
        .filter(|one| one["name"] == device["device"])
        .flat_map(|one| list(&one["taints"]));
    let selected = rules.iter().filter(|rule| selects(rule, names(device)));
    let ruled = selected.map(|rule| (&rule["spec"]["taint"], Some(text(&rule["metadata"]["uid"]))));
    own.map(|taint| (taint, None)).chain(ruled).filter(|(taint, _)| taint["effect"] == NO_EXECUTE).collect()
}

/// When a pod with these claims has to go; none: it may stay.
pub fn end(claims: &[Value], slices: &[Value], rules: &[Value]) -> Option<End> {
    let mut earliest: Option<End> = None;
    for device in claims.iter().flat_map(held) {
        let tolerations: Vec<Toleration> =
            serde_json::from_value(device["tolerations"].clone()).unwrap_or_default();
        for (taint, rule) in taints(device, slices, rules) {
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
            let found = earliest.get_or_insert_with(|| End { at, rules: BTreeSet::new() });
            found.at = found.at.min(at);
            found.rules.extend(rule.map(str::to_owned));
        }
    }
    earliest
}
