//! A KubeletConfiguration, and what is wrong with one.
//!
//! Invariant: a configuration with any mistake changes nothing; all its mistakes are told at once, each with its field. A
//! field of upstream's that means nothing here is told of, not passed over. Answers to upstream's
//! `kubelet.config.k8s.io/v1beta1`, its defaults and its validation.

#[cfg(test)]
mod tests;

use crate::config::{Config, ImageCollection};
use crate::eviction::thresholds::{Amount, Thresholds};
use gifee_base::Quantity;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Taint;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The only version there is.
const VERSION: &str = "kubelet.config.k8s.io/v1beta1";

/// Upstream's fields that mean nothing here.
const ELSEWHERE: &[&str] = &[
    "address",
    "allowedUnsafeSysctls",
    "authentication",
    "authorization",
    "cgroupDriver",
    "cgroupRoot",
    "cgroupsPerQOS",
    "configMapAndSecretChangeDetectionStrategy",
    "containerLogMaxWorkers",
    "containerLogMonitorInterval",
    "containerRuntimeEndpoint",
    "contentType",
    "cpuCFSQuota",
    "cpuCFSQuotaPeriod",
    "cpuManagerPolicy",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "crashLoopBackOff",
    "defaultPodSysctls",
    "enableContentionProfiling",
    "enableControllerAttachDetach",
    "enableDebugFlagsHandler",
    "enableDebuggingHandlers",
    "enableProfilingHandler",
    "enableServer",
    "enableSystemLogHandler",
    "enableSystemLogQuery",
    "enforceNodeAllocatable",
    "eventBurst",
    "eventRecordQPS",
    "evictionMaxPodGracePeriod",
    "evictionMinimumReclaim",
    "evictionPressureTransitionPeriod",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "failSwapOn",
    "featureGates",
    "fileCheckFrequency",
    "hairpinMode",
    "healthzBindAddress",
    "healthzPort",
    "httpCheckFrequency",
    "imageMaximumGCAge",
    "imagePullCredentialsVerificationPolicy",
    "imageServiceEndpoint",
    "iptablesDropBit",
    "iptablesMasqueradeBit",
    "kernelMemcgNotification",
    "kubeAPIBurst",
    "kubeAPIQPS",
    "kubeReservedCgroup",
    "kubeletCgroups",
    "localStorageCapacityIsolation",
    "logging",
    "makeIPTablesUtilChains",
    "maxOpenFiles",
    "maxParallelImagePulls",
    "memoryManagerPolicy",
    "memoryReservationPolicy",
    "memorySwap",
    "memoryThrottlingFactor",
    "nodeLeaseDurationSeconds",
    "nodeStatusMaxImages",
    "nodeStatusReportFrequency",
    "nodeStatusUpdateFrequency",
    "oomScoreAdj",
    "podCIDR",
    "podLogsDir",
    "podsPerCore",
    "port",
    "preloadedImagesVerificationAllowlist",
    "protectKernelDefaults",
    "providerID",
    "qosReserved",
    "readOnlyPort",
    "registerNode",
    "registryBurst",
    "registryPullQPS",
    "reservedMemory",
    "reservedSystemCPUs",
    "rotateCertificates",
    "runOnce",
    "runtimeRequestTimeout",
    "serializeImagePulls",
    "serverTLSBootstrap",
    "showHiddenMetricsForVersion",
    "shutdownGracePeriod",
    "shutdownGracePeriodByPodPriority",
    "shutdownGracePeriodCriticalPods",
    "singleProcessOOMKill",
    "staticPodPath",
    "staticPodURL",
    "staticPodURLHeader",
    "streamingConnectionIdleTimeout",
    "syncFrequency",
    "systemCgroups",
    "systemReservedCgroup",
    "tlsCertFile",
    "tlsCipherSuites",
    "tlsCurvePreferences",
    "tlsMinVersion",
    "tlsPrivateKeyFile",
    "topologyManagerPolicy",
    "topologyManagerPolicyOptions",
    "topologyManagerScope",
    "tracing",
    "userNamespaces",
    "volumePluginDir",
    "volumeStatsAggPeriod",
];

/// The fields that count here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Whole {
    max_pods: Option<i32>,
    pod_pids_limit: Option<i64>,
    seccomp_default: Option<bool>,
    resolv_conf: Option<PathBuf>,
    cluster_domain: Option<String>,
    #[serde(rename = "clusterDNS")]
    cluster_dns: Option<Vec<String>>,
    register_with_taints: Option<Vec<Taint>>,
    eviction_hard: Option<BTreeMap<String, String>>,
    merge_default_eviction_settings: Option<bool>,
    #[serde(rename = "imageMinimumGCAge")]
    image_minimum_age: Option<String>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    image_high: Option<u64>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    image_low: Option<u64>,
    container_log_max_size: Option<String>,
    container_log_max_files: Option<u32>,
    system_reserved: BTreeMap<String, String>,
    kube_reserved: BTreeMap<String, String>,
}

/// Their names.
const OWN: &[&str] = &[
    "apiVersion",
    "clusterDNS",
    "clusterDomain",
    "containerLogMaxFiles",
    "containerLogMaxSize",
    "evictionHard",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "imageMinimumGCAge",
    "kind",
    "kubeReserved",
    "maxPods",
    "mergeDefaultEvictionSettings",
    "podPidsLimit",
    "registerWithTaints",
    "resolvConf",
    "seccompDefault",
    "systemReserved",
];

/// Applies a configuration to the settings of a node; what it gives are warnings.
///
/// # Errors
/// All mistakes.
pub fn apply(tree: &Value, config: &mut Config) -> Result<Vec<String>, Vec<String>> {
    let none = Map::new();
    let fields = tree.as_object().unwrap_or(&none);
    let mut mistakes = Vec::new();
    if tree["apiVersion"] != VERSION || tree["kind"] != "KubeletConfiguration" {
        mistakes.push(format!("apiVersion, kind: must be {VERSION} and KubeletConfiguration"));
    }
    let unknown = fields.keys().filter(|name| !OWN.contains(&&***name) && !ELSEWHERE.contains(&&***name));
    mistakes.extend(unknown.map(|name| format!("{name}: unknown field")));
    let whole = match Whole::deserialize(tree) {
        Ok(whole) if mistakes.is_empty() => whole,
        Ok(_) => return Err(mistakes),
        Err(error) => {
            mistakes.push(error.to_string());
            return Err(mistakes);
        }
    };
    let mut changed = config.clone();
    change(whole, &mut changed, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    *config = changed;
    let silent = fields.keys().filter(|name| ELSEWHERE.contains(&&***name));
    Ok(silent.map(|name| format!("{name} has no effect here")).collect())
}

fn change(whole: Whole, config: &mut Config, mistakes: &mut Vec<String>) {
    if let Some(pods) = whole.max_pods {
        match usize::try_from(pods) {
            Ok(pods) => config.max_pods = pods,
            Err(_) => mistakes.push(format!("maxPods: {pods}: must not be a negative number")),
        }
    }
    // As upstream, -1 is no limit.
    if let Some(limit) = whole.pod_pids_limit {
        config.pod_pids_limit = Some(limit).filter(|limit| *limit > 0);
    }
    config.seccomp_default = whole.seccomp_default.unwrap_or(config.seccomp_default);
    if let Some(file) = whole.resolv_conf {
        config.resolv_conf = file;
    }
    if let Some(domain) = whole.cluster_domain.filter(|domain| !domain.is_empty()) {
        config.cluster_domain = domain;
    }
    if let Some(addresses) = whole.cluster_dns {
        config.cluster_dns.clear();
        for address in addresses {
            match address.parse() {
                Ok(address) => config.cluster_dns.push(address),
                Err(_) => mistakes.push(format!("clusterDNS: {address:?} is no address")),
            }
        }
    }
    config.taints.extend(whole.register_with_taints.unwrap_or_default());
    let merge = whole.merge_default_eviction_settings.unwrap_or_default();
    if let Some(hard) = whole.eviction_hard {
        config.thresholds = thresholds(&hard, merge, mistakes);
    }
    let images = &mut config.images;
    images.high_percent = whole.image_high.unwrap_or(images.high_percent);
    images.low_percent = whole.image_low.unwrap_or(images.low_percent);
    if let Some(age) = whole.image_minimum_age {
        match age.parse::<SignedDuration>() {
            Ok(age) if !age.is_negative() => images.minimum_age = age,
            _ => mistakes.push(format!("imageMinimumGCAge: {age:?} is no time such as 2m0s")),
        }
    }
    judge(images, mistakes);
    if let Some(size) = whole.container_log_max_size {
        match size.parse::<Quantity>().ok().and_then(|size| u64::try_from(size.value()).ok()) {
            Some(bytes) if bytes > 0 => config.log_rotation.max_bytes = bytes,
            _ => mistakes.push(format!("containerLogMaxSize: {size:?} is no size such as 10Mi")),
        }
    }
    match whole.container_log_max_files {
        Some(files) if files < 2 => mistakes.push("containerLogMaxFiles: must be 2 or more".to_owned()),
        Some(files) => config.log_rotation.max_files = files,
        None => {}
    }
    for (field, reserved) in
        [("systemReserved", whole.system_reserved), ("kubeReserved", whole.kube_reserved)]
    {
        reserve(field, reserved, config, mistakes);
    }
}

fn judge(images: &ImageCollection, mistakes: &mut Vec<String>) {
    let (high, low) = (images.high_percent, images.low_percent);
    if high > 100 {
        mistakes.push(format!("imageGCHighThresholdPercent: {high}: must be between 0 and 100"));
    }
    if low >= high {
        mistakes.push(format!(
            "imageGCLowThresholdPercent: {low}: must be less than imageGCHighThresholdPercent, {high}"
        ));
    }
}

/// Thresholds by signal. As upstream: once one is named, those that are not named are off, unless they are to be merged.
fn thresholds(hard: &BTreeMap<String, String>, merge: bool, mistakes: &mut Vec<String>) -> Thresholds {
    let mut found = if merge { Thresholds::default() } else { Thresholds::none() };
    for (signal, text) in hard {
        let Some(place) = found.of(signal) else {
            mistakes.push(format!("evictionHard: unknown signal {signal:?}"));
            continue;
        };
        match Amount::read(text) {
            Some(amount) => *place = amount,
            None => {
                mistakes.push(format!("evictionHard: {signal}: {text:?} is no quantity and no share of 100%"))
            }
        }
    }
    found
}

fn reserve(field: &str, reserved: BTreeMap<String, String>, config: &mut Config, mistakes: &mut Vec<String>) {
    for (resource, text) in reserved {
        if !matches!(&*resource, "cpu" | "memory" | "ephemeral-storage" | "pid") {
            mistakes.push(format!("{field}: cannot reserve {resource:?}"));
            continue;
        }
        match text.parse::<Quantity>() {
            Ok(amount) if amount.sign() < 0 => {
                mistakes.push(format!("{field}: {resource}: {text} must not be negative"));
            }
            Ok(amount) => {
                let all = config.reserved.entry(resource).or_insert(Quantity::ZERO);
                *all = all.plus(amount);
            }
            Err(_) => mistakes.push(format!("{field}: {resource}: {text:?} is no quantity")),
        }
    }
}
