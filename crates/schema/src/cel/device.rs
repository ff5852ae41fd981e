//! Expressions that select devices: what they may name, and running one over a device.
//!
//! Invariant: a domain that an expression looks into is there, empty if the device says nothing of it, so that `has`
//! can be asked of what is in it. Answers to the `cel` package of upstream's dynamic-resource-allocation.

use super::environment::Environment;
use super::error::{Compilation, Error};
use super::functions::{quantity, semver};
use super::kind::Type;
use super::program::{Activation, Budget, Program};
use super::value::{Key, Map, Struct, Text, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The most that one evaluation may cost.
const COST_MAXIMUM: u64 = 1_000_000;
/// The name of a device's type.
const DEVICE: &str = "kubernetes.DRADevice";

/// Values by name, as they stand in a slice.
pub type Named = serde_json::Map<String, serde_json::Value>;

/// A device, as expressions see it.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Its driver, the domain of names without one.
    pub driver: &'a str,
    /// `attributes` of its slice: a value of a kind by name.
    pub attributes: &'a Named,
    /// `capacity` of its slice: a quantity under `value` by name.
    pub capacity: &'a Named,
    /// Whether several can have a share of it.
    pub multiple: bool,
}

/// What an expression about a device may name: the device.
pub fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let of_domains = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
        let quantity = Type::opaque("kubernetes.Quantity").unwrap_or(Type::Dyn);
        let fields = [
            ("driver", Type::String),
            ("attributes", of_domains(Type::Dyn)),
            ("capacity", of_domains(quantity)),
            ("allowMultipleAllocations", Type::Bool),
        ];
        Environment::new().variable("device", Type::object(DEVICE, fields))
    })
}

/// A compiled expression.
#[derive(Debug)]
pub struct Selector {
    program: Program,
    /// Domains that it looks into.
    domains: Vec<Arc<str>>,
}

impl Selector {
    /// Compiles an expression.
    ///
    /// # Errors
    /// As upstream's compiler words them.
    pub fn compile(expression: &str) -> Result<Self, Compilation> {
        let program = environment().compile(expression, &[])?;
        Ok(Self { program, domains: domains(expression) })
    }

    /// Whether it selects a device.
    ///
    /// # Errors
    /// What the expression does wrong, or that it costs too much.
    pub fn matches(&self, device: &Device<'_>) -> Result<bool, Error> {
        let mut activation = Activation::new(vec![self.value(device)?]);
        match self.program.evaluate(&mut activation, &mut Budget::new(COST_MAXIMUM))? {
            Value::Bool(selected) => Ok(selected),
            other => Err(Error::new(format!("CEL expression returned {}, not bool", other.type_name()))),
        }
    }

    fn value<'a>(&self, device: &Device<'a>) -> Result<Value<'a>, Error> {
        let by_domain = |named: &'a Named, read: fn(&'a serde_json::Value) -> Result<Value<'a>, Error>| {
            let mut domains: BTreeMap<&str, Map<'a>> = BTreeMap::new();
            for (name, value) in named {
                let (domain, name) = name.split_once('/').unwrap_or((device.driver, name));
                let key = Key::String(Text::Borrowed(name));
                domains.entry(domain).or_default().insert(key, read(value)?);
            }
            let mut all = Map::new();
            for domain in &self.domains {
                all.insert(Key::String(Text::Shared(domain.clone())), Value::Map(Arc::default()));
            }
            for (domain, values) in domains {
                all.insert(Key::String(Text::Shared(domain.into())), Value::Map(Arc::new(values)));
            }
            Ok::<_, Error>(Value::Map(Arc::new(all)))
        };
        let fields = [
            ("driver", Value::borrowed(device.driver)),
            ("attributes", by_domain(device.attributes, attribute)?),
            ("capacity", by_domain(device.capacity, capacity)?),
            ("allowMultipleAllocations", Value::Bool(device.multiple)),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Ok(Value::Struct(Arc::new(Struct { name: DEVICE.into(), fields })))
    }
}

fn attribute(value: &serde_json::Value) -> Result<Value<'_>, Error> {
    match value.as_object().and_then(|one| one.iter().next()) {
        Some((kind, version)) if kind == "version" => {
            let text = version.as_str().unwrap_or_default();
            let parsed =
                semver::parse(text).map_err(|why| Error::new(format!("parse semantic version: {why}")))?;
            Ok(Value::Semver(Arc::new(parsed)))
        }
        Some((_, value)) => Ok(Value::dynamic(value)),
        None => Err(Error::new("unsupported attribute value")),
    }
}

fn capacity(value: &serde_json::Value) -> Result<Value<'_>, Error> {
    quantity::parse(value["value"].as_str().unwrap_or_default())
}

/// The texts in brackets, but those of which it is also asked whether there are such domains.
fn domains(expression: &str) -> Vec<Arc<str>> {
    let (mut bracketed, mut asked): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for quote in ['"', '\''] {
        let mut parts = expression.split(quote);
        let mut before = parts.next().unwrap_or_default();
        while let (Some(text), Some(after)) = (parts.next(), parts.next()) {
            if after.trim_start().starts_with("in ") {
                asked.push(text);
            } else if before.trim_end().ends_with('[') && after.trim_start().starts_with(']') {
                bracketed.push(text);
            }
            before = after;
        }
    }
    bracketed.retain(|text| !asked.contains(text));
    bracketed.into_iter().map(Arc::from).collect()
}
