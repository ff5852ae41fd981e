//! A KubeSchedulerConfiguration, and what is wrong with one.
//!
//! Invariant: a configuration with any mistake gives no profiles; all its mistakes are told at once, each with its field.
//! Answers to upstream's `kubescheduler.config.k8s.io/v1`, its defaults and its validation.

use crate::extender::Extender;
use crate::plugins::PLUGINS;
use crate::profile::{Defaults, Fit, Profile, Strategy};
use crate::queue::{BACKOFF_BASE, BACKOFF_MAXIMUM};
use crate::terms::Constraint;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

mod affinity;
mod extenders;

/// Plugins of upstream's that do their work elsewhere here, and may be named all the same.
const ELSEWHERE: [&str; 2] = ["DefaultPreemption", "DefaultBinder"];
/// Points at which plugins take part, beside `multiPoint`, `filter`, `score` and `postFilter`.
const POINTS: [&str; 10] = [
    "preEnqueue",
    "queueSort",
    "preFilter",
    "preScore",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "placementGenerate",
];

/// What a configuration says.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The profiles; at least one.
    pub profiles: Vec<Profile>,
    /// Delay after a pod's first failure.
    pub initial_backoff: Duration,
    /// Longest delay after a failure.
    pub maximum_backoff: Duration,
    /// Others that have a say in where pods go.
    pub extenders: Vec<Arc<Extender>>,
}

impl Default for Configuration {
    fn default() -> Self {
        let profiles = vec![Profile::new(crate::NAME)];
        Self {
            profiles,
            initial_backoff: BACKOFF_BASE,
            maximum_backoff: BACKOFF_MAXIMUM,
            extenders: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[allow(dead_code, reason = "fields that mean nothing here are accepted as upstream accepts them")]
struct Whole {
    api_version: String,
    kind: String,
    #[serde(default)]
    profiles: Vec<Value>,
    parallelism: Option<i64>,
    leader_election: Option<Value>,
    client_connection: Option<Value>,
    health_z_bind_address: Option<String>,
    metrics_bind_address: Option<String>,
    enable_profiling: Option<bool>,
    enable_contention_profiling: Option<bool>,
    percentage_of_nodes_to_score: Option<i64>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    #[serde(default)]
    extenders: Vec<Value>,
    delay_cache_until_active: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OneProfile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i64>,
    plugins: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    plugin_config: Vec<PluginConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(default)]
    args: Value,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PluginSet {
    enabled: Vec<Named>,
    disabled: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    name: Box<str>,
    weight: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FitArgs {
    #[serde(default)]
    ignored_resources: Vec<Box<str>>,
    #[serde(default)]
    ignored_resource_groups: Vec<Box<str>>,
    scoring_strategy: Option<ScoringStrategy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ScoringStrategy {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    resources: Vec<Resource>,
    requested_to_capacity_ratio: Option<Ratio>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratio {
    #[serde(default)]
    shape: Vec<Point>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    utilization: i64,
    score: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalancedArgs {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InterPodAffinityArgs {
    hard_pod_affinity_weight: Option<i64>,
    #[serde(default)]
    ignore_preferred_terms_of_existing_pods: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SpreadArgs {
    #[serde(default)]
    default_constraints: Vec<Value>,
    defaulting_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NodeAffinityArgs {
    added_affinity: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PreemptionArgs {
    min_candidate_nodes_percentage: Option<i64>,
    min_candidate_nodes_absolute: Option<i64>,
}

/// Gathers what is wrong.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn invalid(&mut self, path: &str, value: impl std::fmt::Display, why: &str) {
        self.0.push(format!("{path}: Invalid value: {value}: {why}"));
    }

    fn required(&mut self, path: &str, why: &str) {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        self.0.push(format!("{path}: Required value{why}"));
    }

    fn decoded<T: DeserializeOwned>(&mut self, path: &str, value: Value) -> Option<T> {
        serde_json::from_value(value)
            .map_err(|error| self.0.push(format!("strict decoding error: {path}: {error}")))
            .ok()
    }

    fn percentage(&mut self, path: &str, percentage: Option<i64>) {
        if let Some(percentage) = percentage.filter(|one| !(0..=100).contains(one)) {
            self.invalid(path, percentage, "not in valid range [0-100]");
        }
    }
}

/// Reads a configuration.
///
/// # Errors
/// All that is wrong with it.
pub fn read(tree: &Value) -> Result<Configuration, Vec<String>> {
    let mut mistakes = Mistakes::default();
    let configuration = whole(tree, &mut mistakes);
    match configuration {
        Some(configuration) if mistakes.0.is_empty() => Ok(configuration),
        _ => Err(mistakes.0),
    }
}

fn whole(tree: &Value, mistakes: &mut Mistakes) -> Option<Configuration> {
    let (version, kind) = (&tree["apiVersion"], &tree["kind"]);
    if version != "kubescheduler.config.k8s.io/v1" || kind != "KubeSchedulerConfiguration" {
        mistakes.0.push(format!(
            "no kind {kind} is registered for version {version}: this must be a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"
        ));
        return None;
    }
    let whole: Whole = mistakes.decoded("KubeSchedulerConfiguration", tree.clone())?;
    mistakes.percentage("percentageOfNodesToScore", whole.percentage_of_nodes_to_score);
    if let Some(parallelism) = whole.parallelism.filter(|one| *one <= 0) {
        mistakes.invalid("parallelism", parallelism, "should be an integer value greater than zero");
    }
    let (extenders, ignored) = extenders::read(whole.extenders, mistakes);
    let initial = whole.pod_initial_backoff_seconds.unwrap_or(1);
    let maximum = whole.pod_max_backoff_seconds.unwrap_or(10);
    if initial <= 0 {
        mistakes.invalid("podInitialBackoffSeconds", initial, "must be greater than 0");
    }
    if maximum < initial {
        let why = "must be greater than or equal to PodInitialBackoffSeconds";
        mistakes.invalid("podMaxBackoffSeconds", maximum, why);
    }
    let mut profiles: Vec<Profile> = Vec::new();
    let several = whole.profiles.len() > 1;
    for (number, value) in whole.profiles.into_iter().enumerate() {
        let path = format!("profiles[{number}]");
        let Some(one) = mistakes.decoded::<OneProfile>(&path, value) else { continue };
        let Some(profile) = profile(one, several, &path, mistakes) else { continue };
        if let Some(earlier) = profiles.iter().position(|other| other.name == profile.name) {
            mistakes.0.push(format!(
                "{path}.schedulerName: Duplicate value: \"profiles[{earlier}].schedulerName\""
            ));
        }
        profiles.push(profile);
    }
    if profiles.is_empty() {
        profiles.push(Profile::new(crate::NAME));
    }
    let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    for profile in &mut profiles {
        profile.fit.ignored_resources.extend(ignored.iter().cloned());
    }
    let (initial_backoff, maximum_backoff) = (seconds(initial), seconds(maximum));
    Some(Configuration { profiles, initial_backoff, maximum_backoff, extenders })
}

fn profile(one: OneProfile, several: bool, path: &str, mistakes: &mut Mistakes) -> Option<Profile> {
    let name = match one.scheduler_name.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None if several => {
            mistakes.required(&format!("{path}.schedulerName"), "");
            return None;
        }
        None => crate::NAME.into(),
    };
    mistakes.percentage(&format!("{path}.percentageOfNodesToScore"), one.percentage_of_nodes_to_score);
    let mut profile = Profile::new(&name);
    let mut sets = one.plugins.unwrap_or_default();
    // What is said of all points comes first, so that single points can say otherwise.
    let order = ["multiPoint", "filter", "score", "postFilter"].into_iter().chain(POINTS);
    for point in order {
        let Some(value) = sets.remove(point) else { continue };
        let path = format!("{path}.plugins.{point}");
        if let Some(set) = mistakes.decoded::<PluginSet>(&path, value) {
            take_part(&mut profile, point, set, &path, mistakes);
        }
    }
    for unknown in sets.keys() {
        mistakes.0.push(format!("strict decoding error: unknown field \"{path}.plugins.{unknown}\""));
    }
    let mut seen = BTreeSet::new();
    for (number, config) in one.plugin_config.into_iter().enumerate() {
        let path = format!("{path}.pluginConfig[{number}]");
        if !seen.insert(config.name.clone()) {
            mistakes.0.push(format!("{path}: Duplicate value: {:?}", config.name));
        }
        arguments(&mut profile, config, &path, mistakes);
    }
    Some(profile)
}

/// Which plugins take part at a point.
fn take_part(profile: &mut Profile, point: &str, set: PluginSet, path: &str, mistakes: &mut Mistakes) {
    let (filters, scores) =
        (matches!(point, "multiPoint" | "filter"), matches!(point, "multiPoint" | "score"));
    let preempts = matches!(point, "multiPoint" | "postFilter");
    for one in &set.disabled {
        let all = one.name == "*";
        for (plugin, part) in PLUGINS.iter().zip(&mut profile.plugins) {
            if all || plugin.name == one.name {
                part.0 &= !filters;
                part.1 = if scores { 0 } else { part.1 };
            }
        }
        profile.preempts &= !(preempts && (all || one.name == "DefaultPreemption"));
    }
    for (number, one) in set.enabled.iter().enumerate() {
        let Some(at) = PLUGINS.iter().position(|plugin| plugin.name == one.name) else {
            if !ELSEWHERE.contains(&&*one.name) {
                let path = format!("{path}.enabled[{number}].name");
                mistakes.invalid(&path, format!("{:?}", one.name), "there is no such plugin");
            }
            profile.preempts |= preempts && one.name == "DefaultPreemption";
            continue;
        };
        let part = &mut profile.plugins[at];
        part.0 |= filters;
        if scores && PLUGINS[at].score.is_some() {
            part.1 = one.weight.filter(|weight| *weight != 0).unwrap_or(1);
        }
    }
}

fn arguments(profile: &mut Profile, config: PluginConfig, path: &str, mistakes: &mut Mistakes) {
    let path = format!("{path}.args");
    let mut args = config.args;
    if let Some(map) = args.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
    }
    if args.is_null() {
        args = Value::Object(serde_json::Map::new());
    }
    match &*config.name {
        "NodeResourcesFit" => {
            if let Some(args) = mistakes.decoded(&path, args) {
                profile.fit = fit(args, &path, mistakes);
            }
        }
        "NodeResourcesBalancedAllocation" => {
            if let Some(args) = mistakes.decoded(&path, args) {
                balanced(profile, args, &path, mistakes);
            }
        }
        "InterPodAffinity" => {
            let Some(args) = mistakes.decoded::<InterPodAffinityArgs>(&path, args) else { return };
            let weight = args.hard_pod_affinity_weight.unwrap_or(1);
            if !(0..=100).contains(&weight) {
                mistakes.invalid(
                    &format!("{path}.hardPodAffinityWeight"),
                    weight,
                    "not in valid range [0, 100]",
                );
            }
            profile.hard_pod_affinity_weight = weight;
            profile.ignore_preferred_terms_of_existing_pods = args.ignore_preferred_terms_of_existing_pods;
        }
        "PodTopologySpread" => {
            if let Some(args) = mistakes.decoded(&path, args) {
                profile.defaults = spread(args, &path, mistakes).unwrap_or_else(|| profile.defaults.clone());
            }
        }
        "NodeAffinity" => {
            let Some(args) = mistakes.decoded::<NodeAffinityArgs>(&path, args) else { return };
            let Some(added) = args.added_affinity else { return };
            affinity::judge(&added, &format!("{path}.addedAffinity"), mistakes);
            match serde_json::from_value(added) {
                Ok(added) => profile.added_affinity = added,
                Err(error) => {
                    mistakes.0.push(format!("strict decoding error: {path}.addedAffinity: {error}"))
                }
            }
        }
        "DefaultPreemption" => {
            if let Some(args) = mistakes.decoded(&path, args) {
                preemption(profile, &args, &path, mistakes);
            }
        }
        _ => {}
    }
}

fn preemption(profile: &mut Profile, args: &PreemptionArgs, path: &str, mistakes: &mut Mistakes) {
    let percentage = args.min_candidate_nodes_percentage.unwrap_or(10);
    let absolute = args.min_candidate_nodes_absolute.unwrap_or(100);
    let (one, other) =
        (format!("{path}.minCandidateNodesPercentage"), format!("{path}.minCandidateNodesAbsolute"));
    if !(0..=100).contains(&percentage) {
        mistakes.invalid(&one, percentage, "not in valid range [0, 100]");
    }
    if absolute < 0 {
        mistakes.invalid(&other, absolute, "not in valid range [0, inf)");
    }
    if percentage == 0 && absolute == 0 {
        mistakes.invalid(&one, 0, "cannot be zero at the same time as minCandidateNodesAbsolute");
        mistakes.invalid(&other, 0, "cannot be zero at the same time as minCandidateNodesPercentage");
    }
    let size = |number: i64| usize::try_from(number).unwrap_or_default();
    profile.candidates = (size(percentage), size(absolute));
}

fn resources(list: Vec<Resource>, path: &str, mistakes: &mut Mistakes) -> Vec<(Box<str>, i64)> {
    let mut resources = Vec::new();
    for (number, one) in list.into_iter().enumerate() {
        let weight = one.weight.filter(|weight| *weight != 0).unwrap_or(1);
        if !(1..=100).contains(&weight) {
            let why = format!("resource weight of {} not in valid range (0, 100]", one.name);
            mistakes.invalid(&format!("{path}[{number}].weight"), weight, &why);
        }
        resources.push((one.name, weight));
    }
    match resources.is_empty() {
        true => vec![("cpu".into(), 1), ("memory".into(), 1)],
        false => resources,
    }
}

fn balanced(profile: &mut Profile, args: BalancedArgs, path: &str, mistakes: &mut Mistakes) {
    let path = format!("{path}.resources");
    let mut seen = BTreeSet::new();
    for (number, one) in args.resources.iter().enumerate() {
        if !seen.insert(one.name.clone()) {
            mistakes.0.push(format!("{path}[{number}].name: Duplicate value: {:?}", one.name));
        }
        if let Some(weight) = one.weight.filter(|weight| !matches!(weight, 0 | 1)) {
            mistakes.invalid(&format!("{path}[{number}].weight"), weight, "must be 1");
        }
    }
    profile.balanced = resources(args.resources, &path, &mut Mistakes::default());
}

fn fit(args: FitArgs, path: &str, mistakes: &mut Mistakes) -> Fit {
    for (number, group) in
        args.ignored_resource_groups.iter().enumerate().filter(|(_, one)| one.contains('/'))
    {
        let path = format!("{path}.ignoredResourceGroups[{number}]");
        mistakes.invalid(&path, format!("{group:?}"), "resource group name can't contain '/'");
    }
    let mut fit = Fit {
        ignored_resources: args.ignored_resources,
        ignored_resource_groups: args.ignored_resource_groups,
        ..Fit::default()
    };
    let Some(strategy) = args.scoring_strategy else { return fit };
    let path = format!("{path}.scoringStrategy");
    fit.resources = resources(strategy.resources, &format!("{path}.resources"), mistakes);
    let of_ratio = strategy.r#type == "RequestedToCapacityRatio";
    fit.strategy = match &*strategy.r#type {
        "" | "LeastAllocated" => Strategy::LeastAllocated,
        "MostAllocated" => Strategy::MostAllocated,
        "RequestedToCapacityRatio" => {
            let path = format!("{path}.requestedToCapacityRatio");
            match &strategy.requested_to_capacity_ratio {
                None => {
                    mistakes.required(&path, "must be specified when type is RequestedToCapacityRatio");
                    Strategy::LeastAllocated
                }
                Some(ratio) => Strategy::Ratio(shape(&ratio.shape, &format!("{path}.shape"), mistakes)),
            }
        }
        other => {
            let supported = "\"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"";
            mistakes
                .0
                .push(format!("{path}.type: Unsupported value: {other:?}: supported values: {supported}"));
            Strategy::LeastAllocated
        }
    };
    if !of_ratio && strategy.requested_to_capacity_ratio.is_some() {
        let why = "must be nil when type is not RequestedToCapacityRatio";
        mistakes.0.push(format!("{path}.requestedToCapacityRatio: Forbidden: {why}"));
    }
    fit
}

/// Points of utilization in percent, and scores up to 100.
fn shape(points: &[Point], path: &str, mistakes: &mut Mistakes) -> Vec<(i64, i64)> {
    if points.is_empty() {
        mistakes.required(path, "at least one point must be specified");
    }
    if let Some(at) = points.windows(2).position(|pair| pair[0].utilization >= pair[1].utilization) {
        let path = format!("{path}[{}].utilization", at + 1);
        mistakes.invalid(&path, points[at + 1].utilization, "values must be sorted in increasing order");
    }
    for (number, point) in points.iter().enumerate() {
        if !(0..=100).contains(&point.utilization) {
            let path = format!("{path}[{number}].utilization");
            mistakes.invalid(&path, point.utilization, "not in valid range [0, 100]");
        }
        if !(0..=10).contains(&point.score) {
            mistakes.invalid(&format!("{path}[{number}].score"), point.score, "not in valid range [0, 10]");
        }
    }
    points.iter().map(|point| (point.utilization, point.score.saturating_mul(10))).collect()
}

fn spread(args: SpreadArgs, path: &str, mistakes: &mut Mistakes) -> Option<Defaults> {
    let kind = args.defaulting_type.unwrap_or_else(|| "System".into());
    let at = format!("{path}.defaultingType");
    match &*kind {
        "System" if args.default_constraints.is_empty() => return None,
        "System" => mistakes.invalid(&at, "\"System\"", "when .defaultConstraints are not empty"),
        "List" => {}
        other => mistakes
            .0
            .push(format!("{at}: Unsupported value: {other:?}: supported values: \"List\", \"System\"")),
    }
    let mut constraints = Vec::new();
    for (number, value) in args.default_constraints.into_iter().enumerate() {
        let path = format!("{path}.defaultConstraints[{number}]");
        if let Some(skew) = value["maxSkew"].as_i64().filter(|skew| *skew <= 0) {
            mistakes.invalid(&format!("{path}.maxSkew"), skew, "not in valid range (0, inf)");
        }
        if value["topologyKey"].as_str().is_none_or(str::is_empty) {
            mistakes.required(&format!("{path}.topologyKey"), "can not be empty");
        }
        let action = value["whenUnsatisfiable"].as_str().unwrap_or_default();
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let supported = "\"DoNotSchedule\", \"ScheduleAnyway\"";
            mistakes.0.push(match action {
                "" => format!("{path}.whenUnsatisfiable: Required value: can not be empty"),
                _ => format!(
                    "{path}.whenUnsatisfiable: Unsupported value: {action:?}: supported values: {supported}"
                ),
            });
        }
        if !value["labelSelector"].is_null() {
            let why = "constraint must not define a selector, as they deduced for each pod";
            mistakes.0.push(format!("{path}.labelSelector: Forbidden: {why}"));
        }
        constraints.extend(mistakes.decoded::<Constraint>(&path, value).map(Constraint::understood));
    }
    Some(Defaults { constraints, lenient: false })
}
