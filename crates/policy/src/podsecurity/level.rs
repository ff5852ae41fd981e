//! Levels and versions, and the labels of a namespace that say them.

use gifee_base::{FieldError, Path};
use serde_json::Value;
use std::fmt;

/// How much pods are restricted, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not at all.
    Privileged,
    /// No known way to more rights.
    Baseline,
    /// Hardened.
    Restricted,
}

/// A minor version of 1.x; the highest number is `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

/// `latest`
pub const VERSION_LATEST: Version = Version(u32::MAX);

/// A level of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            VERSION_LATEST => write!(f, "{level}:latest"),
            Version(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// Allows everything.
pub const NONE: LevelVersion = LevelVersion { level: Level::Privileged, version: VERSION_LATEST };

/// What a namespace does about pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Refuses what is not at this level.
    pub enforce: LevelVersion,
    /// Notes it in the audit log.
    pub audit: LevelVersion,
    /// Tells the client.
    pub warn: LevelVersion,
}

impl Default for Policy {
    fn default() -> Self {
        Self { enforce: NONE, audit: NONE, warn: NONE }
    }
}

const PREFIX: &str = "pod-security.kubernetes.io/";

impl Policy {
    /// From the labels of a namespace. There is always a policy: where a label makes no sense, `enforce` is strict
    /// and the others say nothing.
    pub fn of(labels: &Value) -> (Self, Vec<FieldError>) {
        let mut policy = Self::default();
        let mut errors = Vec::new();
        if labels.as_object().is_none_or(serde_json::Map::is_empty) {
            return (policy, errors);
        }
        let root = Path::root("metadata");
        let path = root.child("labels");
        let mut read = |mode: &str, slot: &mut LevelVersion, otherwise: Level| {
            let mut level_said = false;
            let key = format!("{PREFIX}{mode}");
            if let Some(text) = labels[&key].as_str() {
                let level = level(text);
                level_said = level.is_some() || otherwise == Level::Privileged;
                slot.level = level.unwrap_or(otherwise);
                if level.is_none() {
                    let why = "must be one of privileged, baseline, restricted";
                    errors.push(FieldError::invalid(&path.key(&key), text, why));
                }
            }
            let key = format!("{PREFIX}{mode}-version");
            let text = labels[&key].as_str();
            if let Some(text) = text {
                let version = version(text);
                slot.version = version.unwrap_or(VERSION_LATEST);
                if version.is_none() {
                    let why = "must be \"latest\" or \"v1.x\"";
                    errors.push(FieldError::invalid(&path.key(&key), text, why));
                }
            }
            (level_said, text.is_some())
        };
        let (enforces, _) = read("enforce", &mut policy.enforce, Level::Restricted);
        read("audit", &mut policy.audit, Level::Privileged);
        let (warns, warns_version) = read("warn", &mut policy.warn, Level::Privileged);
        if !warns && enforces && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warns_version {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether it does nothing at all.
    pub fn privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|one| one.level == Level::Privileged)
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(VERSION_LATEST);
    }
    let digits = text.strip_prefix("v1.")?;
    let plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    if plain { digits.parse().ok().map(Version) } else { None }
}
