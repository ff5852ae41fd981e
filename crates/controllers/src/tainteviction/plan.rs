//! Whether a pod may stay on its node, go at once, or go later. Pure.

use gifee_reconcile::nullable;
use gifee_reconcile::pod::Toleration;
use std::time::Duration;

/// A NoExecute taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value, or empty.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// Its effect.
    pub effect: String,
}

/// What to do with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It may stay.
    Stay,
    /// It has to go now.
    Evict,
    /// It has to go after this time.
    Wait(Duration),
}

/// Plans for a pod that has borne NoExecute taints for some time.
pub fn plan(taints: &[Taint], tolerations: &[Toleration], borne: Duration) -> Plan {
    // None is for ever.
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let bears = |toleration: &&Toleration| toleration.tolerates(&taint.key, &taint.value, &taint.effect);
        let Some(toleration) = tolerations.iter().find(bears) else { return Plan::Evict };
        if let Some(seconds) = toleration.toleration_seconds {
            let time = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
            shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
        }
    }
    match shortest.map(|time| time.checked_sub(borne).filter(|left| !left.is_zero())) {
        None => Plan::Stay,
        Some(None) => Plan::Evict,
        Some(Some(left)) => Plan::Wait(left),
    }
}
