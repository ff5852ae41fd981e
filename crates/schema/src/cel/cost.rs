//! What a call costs when it runs.
//!
//! Invariant: the numbers are upstream's; only where upstream would first make a large value and then find it too
//! dear, it is refused ahead ([`ahead`]). Answers to cel-go's `runtimecost.go`, the cost trackers of its
//! extensions and the apiserver's `library/cost.go`.

use super::value::Value;

/// How the cost of a call is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Price {
    /// 1.
    One,
    /// Adding lists: 1, and the accumulator can be moved.
    AddList,
    /// `cel.@mapInsert`: 1, and the accumulator can be moved.
    Insert,
    /// An authorization check.
    Check,
    /// A field or label selector.
    Selector,
    /// One walk over the whole first argument.
    Walk,
    /// A tenth of the length of an argument, times a factor.
    Scan { argument: u8, factor: u8 },
    /// A fifth of the length of the result.
    Join,
    /// A regular expression over a text.
    Regex,
    /// A named format over a text.
    Format,
    /// A range of addresses and an address; whether that is a text.
    Contains(bool),
    /// Two ranges of addresses; whether the second is a text.
    ContainsRange(bool),
    /// The length of the second argument.
    InList,
    /// A tenth of the shorter one.
    Shorter,
    /// As `Shorter`, but 1 for the libraries' own types.
    Equal,
    /// A tenth of both.
    Both,
    /// A text in a text.
    Substring,
    /// The length of the resulting list, and its making.
    Output,
    /// The length of the list times the depth, and making a list.
    Flatten,
    /// Every item of the argument with every other one.
    Pairs(u8),
    /// Every item of one list with every one of the other, times a factor.
    Sets(u8),
}

impl Price {
    /// Whether its first argument, an accumulator, can be moved into the result.
    pub fn gathers(self) -> bool {
        matches!(self, Price::AddList | Price::Insert)
    }

    /// Whether it is the insertion of an entry.
    pub fn inserts(self) -> bool {
        self == Price::Insert
    }
}

/// The price of an overload; empty if only the run will tell which it is.
pub(super) fn price(function: &str, overload: &str) -> Price {
    let scan = |argument, factor| Price::Scan { argument, factor };
    match (function, overload) {
        ("check", _) => Price::Check,
        ("fieldSelector" | "labelSelector", _) => Price::Selector,
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes", _) => Price::Walk,
        ("url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey", _) => scan(0, 1),
        ("replace" | "split" | "ip.isCanonical", _) => scan(0, 2),
        ("join", _) => Price::Join,
        ("find" | "findAll" | "matches", _) => Price::Regex,
        ("ip", "cidr_ip") => Price::One,
        ("cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver", _) => {
            scan(0, 1)
        }
        ("containsIP", overload) => Price::Contains(overload == "cidr_contains_ip_string"),
        ("containsCIDR", overload) => Price::ContainsRange(overload == "cidr_contains_cidr_string"),
        ("validate", _) => Price::Format,
        ("_==_", _) => Price::Equal,
        ("_!=_", _) => Price::Shorter,
        (_, "starts_with_string" | "ends_with_string") => scan(1, 1),
        (_, "string_to_bytes" | "bytes_to_string" | "strings_quote" | "string_format") => scan(0, 1),
        (_, "in_list") => Price::InList,
        (_, "add_string" | "add_bytes") => Price::Both,
        (_, "add_list") => Price::AddList,
        ("cel.@mapInsert", _) => Price::Insert,
        (_, "contains_string") => Price::Substring,
        (_, "list_slice" | "lists_range" | "list_reverse") => Price::Output,
        ("flatten", _) => Price::Flatten,
        ("distinct" | "sort", _) => Price::Pairs(0),
        ("@sortByAssociatedKeys", _) => Price::Pairs(1),
        ("sets.contains" | "sets.intersects", _) => Price::Sets(1),
        ("sets.equivalent", _) => Price::Sets(2),
        ("_<_" | "_>_" | "_<=_" | "_>=_", overload)
            if overload.ends_with("_string") || overload.ends_with("_bytes") =>
        {
            Price::Shorter
        }
        _ => Price::One,
    }
}

/// What a call is charged ahead because its result can be far larger than its arguments: the charge of the
/// result comes on top in [`actual`], which leaves this out again.
pub(super) fn ahead(price: Price, arguments: &[Value<'_>]) -> u64 {
    match (price, arguments) {
        (Price::Output, [Value::Int(count)]) => u64::try_from(*count).unwrap_or(0),
        (Price::Pairs(_) | Price::Sets(_), arguments) => actual(price, arguments, None),
        _ => 0,
    }
}

/// What a call costs beyond [`ahead`].
pub(super) fn actual(price: Price, arguments: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
    let size = |index: usize| arguments.get(index).map_or(1, length);
    match price {
        Price::One | Price::AddList | Price::Insert => 1,
        Price::Check => 350_000,
        Price::Selector => {
            let length = size(1);
            10 + scanned(length, 1) + ((length as f64 * 0.5).ceil() * 50.0).ceil() as u64
        }
        Price::Walk => arguments.first().map_or(0, walk),
        Price::Scan { argument, factor } => scanned(size(argument.into()), factor.into()),
        Price::Join => scanned(result.map_or(1, length), 2),
        Price::Regex => {
            let text = ((1.0 + size(0) as f64) * 0.1).ceil() as u64;
            text * ((size(1) as f64) * 0.25).ceil() as u64
        }
        Price::Format => {
            let text = ((1.0 + size(1) as f64) * 0.1).ceil() as u64;
            let regex = match arguments.first() {
                Some(Value::Format(format)) => format.regex_size(),
                _ => 0,
            };
            text * (regex as f64 * 0.25).ceil() as u64
        }
        Price::Contains(parses) => scanned(size(0) * 2, 1) + if parses { scanned(size(1), 1) } else { 0 },
        Price::ContainsRange(parses) => {
            let own = scanned(size(0) * 2, 1) + scanned(size(0), 1) + 1;
            own + if parses { scanned(size(1), 1) } else { 0 }
        }
        Price::InList => size(1),
        Price::Equal if arguments.first().is_some_and(is_library) => 1,
        Price::Shorter | Price::Equal => scanned(size(0).min(size(1)), 1),
        Price::Both => scanned(size(0) + size(1), 1),
        Price::Substring => scanned(size(0), 1) * scanned(size(1), 1),
        Price::Output => {
            let made = if let [Value::Int(_)] = arguments { 0 } else { result.map_or(1, length) };
            made + 11
        }
        Price::Flatten => {
            let depth = match arguments.get(1) {
                Some(Value::Int(depth)) if *depth >= 0 => *depth as f64,
                _ => 1.0,
            };
            (size(0) as f64 * depth) as u64 + 11
        }
        Price::Pairs(index) if result.is_none() => pairs(arguments.get(usize::from(index))),
        Price::Sets(factor) if result.is_none() => {
            size(0).saturating_mul(size(1)).saturating_mul(factor.into()).saturating_add(1)
        }
        Price::Pairs(_) | Price::Sets(_) => 0,
    }
}

fn pairs(list: Option<&Value<'_>>) -> u64 {
    let Some(list) = list else { return 11 };
    let count = length(list);
    let first = list.items().and_then(|items| items.get(0)).and_then(Result::ok);
    let factor = match first {
        Some(Value::String(_) | Value::Bytes(_)) => 2.1,
        _ => 2.0,
    };
    let square = if list.size() == Some(0) { 0 } else { count.saturating_mul(count) };
    ((square as f64 * factor) as u64).saturating_add(11)
}

/// A tenth of a length, rounded up, times a factor.
fn scanned(length: u64, factor: u64) -> u64 {
    (length as f64 * factor as f64 * 0.1).ceil() as u64
}

/// The size that upstream's sizers report: 1 for what has none.
pub(super) fn length(value: &Value<'_>) -> u64 {
    match value {
        Value::Optional(Some(value)) => length(value),
        Value::Ip(ip) => {
            if ip.is_ipv4() {
                4
            } else {
                16
            }
        }
        Value::Cidr(cidr) => cidr.size(),
        other => other.size().unwrap_or(1) as u64,
    }
}

fn is_library(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Quantity(_)
            | Value::Ip(_)
            | Value::Cidr(_)
            | Value::Format(_)
            | Value::Url(_)
            | Value::Semver(_)
            | Value::Check(_)
            | Value::Decision(_)
    )
}

/// One walk over a value; of lists and maps only as deep as they are written, so values that share parts are
/// bounded by the caller's count of work.
fn walk(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * 0.1) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * 0.1) as u64,
        value if value.is_map() => {
            let keys = value.keys().unwrap_or_default();
            keys.iter()
                .map(|key| {
                    let inner = super::value::Key::of(key).and_then(|key| value.entry(&key));
                    walk(key) + inner.and_then(Result::ok).map_or(1, |inner| shallow(&inner))
                })
                .sum()
        }
        value => match value.items() {
            Some(items) => items.iter().map(|item| item.map_or(1, |item| shallow(&item))).sum(),
            None => 1,
        },
    }
}

/// A walk that counts lists and maps below by their size only.
fn shallow(value: &Value<'_>) -> u64 {
    match value {
        Value::String(_) | Value::Bytes(_) => walk(value),
        value => value.size().unwrap_or(1) as u64,
    }
}
