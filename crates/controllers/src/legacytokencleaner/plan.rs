//! Whether a token in a Secret is kept, ended or deleted. Pure.

use gifee_base::clock;
use gifee_policy::authenticate::legacy::{INVALID_SINCE, LAST_USED};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

/// How long a token has to be unused.
const UNUSED_DAYS: i64 = 365;

/// A Secret with a token, and what concerns it.
pub struct View<'a> {
    /// The Secret.
    pub secret: &'a Value,
    /// The account that it is for, or null.
    pub account: Value,
    /// Whether a pod mounts it.
    pub mounted: bool,
    /// Since which day the use of tokens is written down.
    pub tracked_since: &'a str,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// Nothing.
    Keep,
    /// End it.
    Mark,
    /// Delete it.
    Delete,
}

/// Plans for a Secret.
pub fn plan(view: &View<'_>, now: Timestamp) -> Plan {
    let limit = now.to_zoned(TimeZone::UTC).date().saturating_sub(UNUSED_DAYS.days());
    // A day that cannot be read says nothing that would speak for deleting.
    let recent =
        |day: Option<&str>| day.is_some_and(|day| day.parse::<Date>().map_or(true, |day| day > limit));
    let metadata = &view.secret["metadata"];
    let label = |name: &str| metadata["labels"][name].as_str();
    let created = metadata["creationTimestamp"].as_str().and_then(clock::parse_time);
    let young = created.is_none_or(|created| created.to_zoned(TimeZone::UTC).date() > limit);
    if recent(Some(view.tracked_since)) || young || recent(label(LAST_USED)) || view.mounted {
        return Plan::Keep;
    }
    let uid = &metadata["annotations"]["kubernetes.io/service-account.uid"];
    let listed =
        view.account["secrets"].as_array().into_iter().flatten().any(|one| one["name"] == metadata["name"]);
    // What an account does not list was asked for by somebody.
    if view.account.is_null() || view.account["metadata"]["uid"] != *uid || !listed {
        return Plan::Keep;
    }
    match label(INVALID_SINCE) {
        None => Plan::Mark,
        since if recent(since) => Plan::Keep,
        Some(_) => Plan::Delete,
    }
}
