//! Cluster addresses of Services: an IPAddress object for each, so that none is given twice.
//!
//! Answers to upstream's `ipallocator` on IPAddress objects.

use super::family::invalid;
use super::{Range, Service, is_headless, needs_address};
use crate::kind::Context;
use crate::rule::SPEC;
use crate::value::{items, text};
use gifee_base::{FieldError, ObjectKey, Reason, Status};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const GROUP: &str = "networking.k8s.io";
const RESOURCE: &str = "ipaddresses";
/// How many addresses are tried blindly before the free ones are counted.
const BLIND_ATTEMPTS: u128 = 16;
/// The most addresses of a range that are used.
const SIZE_MAXIMUM: u128 = 1 << 20;
/// The lower part of a range is left to those who ask for addresses by number: a sixteenth, within these bounds.
const RESERVED_BOUNDS: (u128, u128) = (16, 256);

impl Range {
    fn base(&self) -> u128 {
        match self.network {
            IpAddr::V4(address) => {
                let shift = 32 - u32::from(self.bits);
                u128::from(u32::from(address).checked_shr(shift).map_or(0, |top| top.wrapping_shl(shift)))
            }
            IpAddr::V6(address) => {
                let shift = 128 - u32::from(self.bits);
                u128::from(address).checked_shr(shift).map_or(0, |top| top.wrapping_shl(shift))
            }
        }
    }

    /// How many addresses can be given: not the first, and of IPv4 not the last.
    fn size(&self) -> u128 {
        let (width, ends) = if self.network.is_ipv4() { (32, 2) } else { (128, 1) };
        let all = 1_u128.checked_shl(width - u32::from(self.bits)).unwrap_or(u128::MAX);
        all.saturating_sub(ends).min(SIZE_MAXIMUM)
    }

    fn at(&self, offset: u128) -> IpAddr {
        let number = self.base() + 1 + offset;
        match self.network {
            IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
            IpAddr::V6(_) => Ipv6Addr::from(number).into(),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let number = match (self.network, address) {
            (IpAddr::V4(_), IpAddr::V4(address)) => u128::from(u32::from(address)),
            (IpAddr::V6(_), IpAddr::V6(address)) => u128::from(address),
            _ => return false,
        };
        number.checked_sub(self.base() + 1).is_some_and(|offset| offset < self.size())
    }

    /// Offsets in the order in which they are tried: the upper part first, from a point that differs by Service.
    fn order(&self, seed: u128) -> impl Iterator<Item = u128> + use<> {
        let size = self.size();
        let reserved = if size < RESERVED_BOUNDS.0 {
            0
        } else {
            (size / 16).clamp(RESERVED_BOUNDS.0, RESERVED_BOUNDS.1).min(size)
        };
        let upper = size - reserved;
        let above = (0..upper).map(move |step| reserved + (seed + step) % upper);
        above.chain(0..reserved)
    }
}

/// FNV-1a: spreads the UIDs of Services over a range.
fn seed(service: &Value) -> u128 {
    let hash = text(&service["metadata"]["uid"]).bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u128::from(hash)
}

fn record(address: IpAddr, key: &ObjectKey) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": { "parentRef": {
            "group": "", "resource": "services", "namespace": &*key.namespace, "name": &*key.name,
        } },
    })
}

/// The addresses of a Service, none if it is headless.
fn given(service: &Value) -> Vec<&str> {
    if !needs_address(service) || is_headless(service) {
        return Vec::new();
    }
    items(&service["spec"]["clusterIPs"]).iter().map(text).filter(|one| !one.is_empty()).collect()
}

/// Which of its addresses a write takes: all of a new one, the second of one that had no second. Any other change of
/// addresses is for the rules to refuse.
fn open(service: &Value, old: Option<&Value>) -> std::ops::Range<usize> {
    let families = |service: &Value| items(&service["spec"]["ipFamilies"]).len();
    let now = families(service);
    if !needs_address(service) || is_headless(service) {
        return 0..0;
    }
    match old {
        Some(old) if is_headless(old) => 0..0,
        Some(old) if needs_address(old) => {
            if families(old) == 1 {
                1..now
            } else {
                0..0
            }
        }
        _ => 0..now,
    }
}

fn set(service: &mut Value, index: usize, address: &str) {
    let spec = &mut service["spec"];
    if index == 0 {
        spec["clusterIP"] = address.into();
    }
    let mut list = items(&spec["clusterIPs"]).to_vec();
    list.resize(list.len().max(index + 1), Value::Null);
    list[index] = address.into();
    spec["clusterIPs"] = list.into();
}

/// Whether an address is somebody else's: a change that was refused may have named it.
fn is_anothers(address: &str, context: &Context<'_>) -> bool {
    let key = ObjectKey::cluster(address);
    let record = context.cluster.get(GROUP, RESOURCE, &key).and_then(|record| record.to_tree().ok());
    record.is_some_and(|record| {
        let owner = &record["spec"]["parentRef"];
        text(&owner["namespace"]) != &*context.key.namespace || text(&owner["name"]) != &*context.key.name
    })
}

impl Service {
    /// Takes the addresses that the Service asks for, and finds those that it leaves open.
    pub(super) async fn allocate_addresses(
        &self,
        service: &mut Value,
        old: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        let families: Vec<String> =
            items(&service["spec"]["ipFamilies"]).iter().map(|one| text(one).to_owned()).collect();
        let mut taken: Vec<String> = Vec::new();
        for index in open(service, old) {
            let asked = text(&service["spec"]["clusterIPs"][index]).to_owned();
            let outcome = if asked.is_empty() {
                self.find(&families[index], seed(service), context).await
            } else {
                self.take(&asked, service, context).await.map(|()| asked)
            };
            match outcome {
                Ok(address) => {
                    set(service, index, &address);
                    taken.push(address);
                }
                Err(error) => {
                    for address in &taken {
                        context.cluster.delete(GROUP, RESOURCE, &ObjectKey::cluster(address)).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn claim(&self, address: IpAddr, context: &Context<'_>) -> Result<bool, Status> {
        match context.cluster.create(GROUP, RESOURCE, record(address, context.key)).await {
            Ok(()) => Ok(true),
            Err(status) if status.is(Reason::AlreadyExists) => Ok(false),
            Err(status) => Err(status),
        }
    }

    async fn take(&self, asked: &str, service: &Value, context: &Context<'_>) -> Result<(), Status> {
        let Ok(address) = asked.parse::<IpAddr>() else { return Ok(()) };
        let same_family = |range: &&Range| range.network.is_ipv4() == address.is_ipv4();
        let why = match self.ranges.iter().find(same_family) {
            Some(range) if range.contains(address) => {
                if self.claim(address, context).await? {
                    return Ok(());
                }
                "provided IP is already allocated".to_owned()
            }
            range => {
                let range = range.map_or("", |range| range.text.as_str());
                format!(
                    "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {range}"
                )
            }
        };
        let why = format!("failed to allocate IP {asked}: {why}");
        let given = service["spec"]["clusterIPs"].clone();
        Err(invalid(context, &[FieldError::invalid(&SPEC.child("clusterIPs"), given, &why)]))
    }

    async fn find(&self, family: &str, seed: u128, context: &Context<'_>) -> Result<String, Status> {
        let full = || Status::internal("failed to allocate a serviceIP: range is full");
        let range = self.ranges.iter().find(|range| range.family() == family).ok_or_else(full)?;
        let attempts = usize::try_from(BLIND_ATTEMPTS).unwrap_or_default();
        for offset in range.order(seed).take(attempts) {
            let address = range.at(offset);
            if self.claim(address, context).await? {
                return Ok(address.to_string());
            }
        }
        let all = context.cluster.list(GROUP, RESOURCE, "");
        let used: BTreeSet<&str> = all.iter().map(|one| one.name()).collect();
        for offset in range.order(seed).skip(attempts) {
            let address = range.at(offset);
            if !used.contains(address.to_string().as_str()) && self.claim(address, context).await? {
                return Ok(address.to_string());
            }
        }
        Err(full())
    }

    /// Gives back the addresses that `service` has and `stays` has not.
    pub(super) async fn release_addresses(
        &self,
        service: &Value,
        stays: Option<&Value>,
        context: &Context<'_>,
    ) -> Result<(), Status> {
        let kept = stays.map(given).unwrap_or_default();
        for address in given(service).into_iter().filter(|one| !kept.contains(one)) {
            if is_anothers(address, context) {
                continue;
            }
            context.cluster.delete(GROUP, RESOURCE, &ObjectKey::cluster(address)).await?;
        }
        Ok(())
    }
}
