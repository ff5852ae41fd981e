//! What calls can cost at most, by function and overload.

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::range::{Range, quotient};
use super::{Coster, LIST, Node, STRUCT};
use crate::cel::kind::Type;

/// A walk over a text, per letter.
const WALK: f64 = 0.1;
/// A regular expression, per letter.
const REGEX: f64 = 0.25;
/// An authorization check: two of them fit into one expression.
const CHECK: u64 = 350_000;
/// The longest regular expression of a named format, and the longest format.
const FORMAT_REGEX: f64 = 128.0;
const FORMAT: u64 = 64;

/// Functions that only look at what is there.
const NOMINAL: &[&str] = &[
    "serviceAccount",
    "path",
    "group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "allowed",
    "reason",
    "error",
    "errored",
    "masked",
    "prefixLength",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "format.named",
    "sign",
    "asInteger",
    "isInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "major",
    "minor",
    "patch",
    "getScheme",
    "getHostname",
    "getHost",
    "getPort",
    "getEscapedPath",
    "getQuery",
];

/// The cost without that of the arguments, and the size of the result.
type Estimate = (Range, Option<Range>);

const ONE: Option<Estimate> = Some((Range { least: 1, most: 1 }, None));

impl Coster<'_> {
    fn size_of(&self, node: &Node<'_>) -> Range {
        node.size.or_else(|| self.at(&node.path)).unwrap_or(Range::UNKNOWN)
    }

    fn at(&self, path: &[String]) -> Option<Range> {
        if path.is_empty() { None } else { self.sizes.at(path) }
    }

    pub(super) fn overload(
        &mut self,
        expr: &IdedExpr,
        (function, overload): (&str, &str),
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
        costs: &[Range],
    ) -> Estimate {
        let sum = costs.iter().fold(Range::ZERO, |sum, cost| sum.plus(*cost));
        let own =
            self.listed(overload, target, args).or_else(|| self.library(function, overload, target, args));
        if let Some((cost, size)) = own {
            return (cost.plus(sum), size);
        }
        self.standard(expr, overload, target, args, costs, sum)
    }

    /// Functions of lists and sets.
    fn listed(&self, overload: &str, target: Option<&Node<'_>>, args: &[Node<'_>]) -> Option<Estimate> {
        let made = |factor: f64, size: Range| {
            Some((size.scaled(factor).plus(Range::of(1)).plus(Range::of(LIST)), Some(size)))
        };
        let sorted = |factor: f64, size: Range| made(factor, size.times(size));
        match (overload, target, args) {
            ("list_slice", Some(target), [start, end]) => {
                let size = self.size_of(target);
                let (start, end) = (literal(start, 0), literal(end, size.most));
                made(1.0, Range::of(end.wrapping_sub(start)))
            }
            ("list_flatten", Some(target), []) => made(1.0, self.size_of(target)),
            #[allow(clippy::cast_precision_loss)]
            ("list_flatten_int", Some(target), [depth]) => {
                made(literal(depth, u64::MAX) as f64, self.size_of(target))
            }
            ("lists_range", None, [count]) => made(1.0, Range::of(literal(count, u64::MAX))),
            ("list_reverse", Some(target), []) => made(1.0, self.size_of(target)),
            ("list_distinct", Some(target), []) => sorted(2.0, self.size_of(target)),
            (name, Some(target), []) if name.ends_with("_sort") => {
                let text = matches!(name, "list_string_sort" | "list_bytes_sort");
                sorted(if text { 2.0 + WALK } else { 2.0 }, self.size_of(target))
            }
            (name, Some(_), [keys]) if name.ends_with("_sortByAssociatedKeys") => {
                let text = name.starts_with("list_string_") || name.starts_with("list_bytes_");
                sorted(if text { 2.0 + WALK } else { 2.0 }, self.size_of(keys))
            }
            ("list_sets_contains_list" | "list_sets_intersects_list", _, [one, other]) => {
                let cost = self.size_of(one).times(self.size_of(other));
                Some((cost.plus(Range::of(1)), None))
            }
            ("list_sets_equivalent_list", _, [one, other]) => {
                let cost = self.size_of(one).times(self.size_of(other)).scaled(2.0);
                Some((cost.plus(Range::of(1)), None))
            }
            _ => None,
        }
    }

    /// Functions of Kubernetes' libraries.
    fn library(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
    ) -> Option<Estimate> {
        match (function, target, args) {
            ("check", ..) => Some((Range::of(CHECK), None)),
            (name, ..) if NOMINAL.contains(&name) => ONE,
            ("fieldSelector" | "labelSelector", _, [selector]) => Some((self.selector(selector), None)),
            (
                "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes",
                Some(target),
                _,
            ) => Some((self.walked(function, target), None)),
            ("url" | "jsonpatch.escapeKey", _, [text]) => {
                Some((self.size_of(text).scaled(WALK), Some(self.size_of(text))))
            }
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
                Some((self.size_of(target).scaled(WALK), Some(self.size_of(target))))
            }
            ("replace", Some(target), [from, to, ..]) => Some(self.replaced(target, from, to)),
            ("split", Some(target), args) => {
                let size = self.size_of(target);
                let limit = args.get(1).and_then(|limit| integer(limit.expr));
                // As upstream casts it.
                let most = limit.map_or(size.most, i64::cast_unsigned);
                Some((size.scaled(2.0 * WALK), Some(Range::up_to(most))))
            }
            ("join", Some(target), args) => Some(self.joined(target, args.first())),
            ("find" | "findAll", Some(target), [regex, ..]) => {
                let size = self.size_of(target);
                let cost = size.plus(Range::of(1)).scaled(WALK).times(self.size_of(regex).scaled(REGEX));
                Some((cost, Some(Range::up_to(size.most))))
            }
            ("containsIP" | "containsCIDR", _, [other, ..]) => Some((self.contained(overload, other), None)),
            ("validate", _, [text, ..]) => {
                Some((self.size_of(text).scaled(WALK).scaled(FORMAT_REGEX * REGEX), None))
            }
            ("_==_", _, [left, right]) => self.equal(left, right),
            _ => self.read(function, overload, args),
        }
    }

    /// Functions that read a text.
    fn read(&self, function: &str, overload: &str, args: &[Node<'_>]) -> Option<Estimate> {
        let walk = |node: &Node<'_>, times: f64| Some((self.size_of(node).scaled(times * WALK), None));
        match (function, args) {
            ("ip", _) if overload == "cidr_ip" => ONE,
            (
                "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver",
                [text, ..],
            ) => walk(text, 1.0),
            ("ip.isCanonical", [text, ..]) => walk(text, 2.0),
            _ => None,
        }
    }

    fn selector(&self, selector: &Node<'_>) -> Range {
        let size = self.size_of(selector);
        #[allow(clippy::cast_precision_loss)]
        let each = (LIST + STRUCT) as f64;
        Range::of(LIST).plus(size.scaled(WALK)).plus(size.scaled(0.5).scaled(each))
    }

    /// The type and the size of the items of a list, as far as they are known.
    fn item(&self, list: &Node<'_>) -> Option<(Type, Range)> {
        let kind = match &list.kind {
            Type::List(list) => list.item.clone(),
            Type::Map(map) => map.0.clone(),
            Type::Opaque(_, inner) => inner.first()?.clone(),
            _ => return None,
        };
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push("@items".to_owned());
        }
        Some((kind, self.at(&path).unwrap_or(Range::UNKNOWN)))
    }

    fn walked(&self, function: &str, target: &Node<'_>) -> Range {
        let size = self.size_of(target);
        match self.item(target) {
            Some((Type::String | Type::Bytes, item)) => size.times(Range::of(1).plus(item.scaled(WALK))),
            Some(_) => size,
            None if function == "includes" => size,
            None => size.scaled(WALK),
        }
    }

    fn replaced(&self, target: &Node<'_>, from: &Node<'_>, to: &Node<'_>) -> Estimate {
        let (size, from, to) = (self.size_of(target), self.size_of(from), self.size_of(to));
        let (mut count, mut kept) = (Range::ZERO, Range::ZERO);
        // The longest replacement, then the shortest.
        if from.least == 0 {
            (count.most, kept.most) = (size.most.saturating_add(1), size.most);
        } else if to.most <= from.least {
            kept.most = size.most;
        } else {
            count.most = quotient(size.most, from.least);
        }
        if from.most == 0 {
            (count.least, kept.least) = (size.least.saturating_add(1), size.least);
        } else if from.most <= to.least {
            kept.least = size.least;
        } else {
            count.least = quotient(size.least, from.most);
        }
        (size.scaled(2.0 * WALK), Some(count.times(to).plus(kept)))
    }

    fn joined(&self, target: &Node<'_>, separator: Option<&Node<'_>>) -> Estimate {
        let list = self.size_of(target);
        let mut size = self.item(target).map_or(Range::ZERO, |(_, item)| list.times(item));
        if let Some(separator) = separator {
            let gaps = Range { least: list.least.saturating_sub(1), most: list.most.saturating_sub(1) };
            size = size.plus(self.size_of(separator).times(gaps));
        }
        (size.scaled(WALK), Some(size))
    }

    /// Addresses are compared byte by byte; a text is read first.
    fn contained(&self, overload: &str, other: &Node<'_>) -> Range {
        let size = Range { least: 4, most: 16 };
        let mut cost = size.plus(size).scaled(WALK);
        if overload.starts_with("cidr_contains_cidr") {
            cost = cost.plus(size.scaled(WALK)).plus(Range::of(1));
        }
        if overload.ends_with("_string") {
            cost = cost.plus(self.size_of(other).scaled(WALK));
        }
        cost
    }

    /// Values of the libraries' own types.
    fn equal(&self, left: &Node<'_>, right: &Node<'_>) -> Option<Estimate> {
        let Type::Opaque(name, _) = &left.kind else { return None };
        if !left.kind.same(&right.kind) {
            return None;
        }
        match *name {
            "kubernetes.NamedFormat" => Some((Range { least: 1, most: FORMAT }.scaled(WALK), None)),
            "kubernetes.URL" => {
                let most = right.size.map_or(1, |size| size.most);
                Some((Range { least: 1, most }.scaled(WALK), None))
            }
            name if name.starts_with("kubernetes.") || name.starts_with("net.") => ONE,
            _ => None,
        }
    }

    /// Functions of the language.
    fn standard(
        &mut self,
        expr: &IdedExpr,
        overload: &str,
        target: Option<&Node<'_>>,
        args: &[Node<'_>],
        costs: &[Range],
        sum: Range,
    ) -> Estimate {
        let known = |node: &Node<'_>| node.size.unwrap_or(Range::UNKNOWN);
        let walk = |node: &Node<'_>| known(node).scaled(WALK);
        match (overload, target, args) {
            ("string_format", Some(target), _) => (walk(target).plus(sum), None),
            ("string_to_bytes", _, [text]) => {
                let size = known(text);
                let made = Range { least: size.least, most: size.most.wrapping_mul(4) };
                (walk(text).plus(sum), Some(made))
            }
            ("bytes_to_string", _, [bytes]) => {
                let size = known(bytes);
                (walk(bytes).plus(sum), Some(Range { least: size.least / 4, most: size.most }))
            }
            ("strings_quote", _, [text]) => {
                let size = known(text);
                let made = Range {
                    least: size.least.wrapping_add(2),
                    most: size.most.wrapping_mul(2).wrapping_add(2),
                };
                (walk(text).plus(sum), Some(made))
            }
            ("starts_with_string" | "ends_with_string", _, [part]) => (walk(part).plus(sum), None),
            ("in_list", _, [_, list]) => (known(list).plus(sum), None),
            ("matches_string", Some(text), [regex]) | ("matches", None, [text, regex]) => {
                let text = known(text).plus(Range::of(1)).scaled(WALK);
                (text.times(known(regex).scaled(REGEX)).plus(sum), None)
            }
            ("contains_string", Some(target), [part]) => (walk(target).times(walk(part)).plus(sum), None),
            ("logical_or" | "logical_and", ..) if costs.len() == 2 => {
                (Range { least: costs[0].least, most: costs[0].plus(costs[1]).most }, None)
            }
            ("conditional", _, [_, yes, no]) => {
                let size = known(yes).or(known(no));
                let entries = self.entries_of(yes.expr).and_then(|yes| yes.or(self.entries_of(no.expr)));
                if let Some(entries) = entries {
                    self.entries.insert(expr.id, entries);
                }
                (costs[0].plus(costs[1].or(costs[2])), Some(size))
            }
            ("add_string" | "add_bytes" | "add_list", _, [left, right]) => {
                let size = known(left).plus(known(right));
                let entries = self.entries_of(left.expr).and_then(|one| one.or(self.entries_of(right.expr)));
                if let Some(entries) = entries {
                    self.entries.insert(expr.id, entries);
                }
                let cost = if overload == "add_list" { Range::of(1) } else { size.scaled(WALK) };
                (cost.plus(sum), Some(size))
            }
            (name, _, [left, right]) if compares(name) => {
                let most = known(left).most.min(known(right).most);
                let cost = Range { least: u64::from(most > 0), most };
                (cost.scaled(WALK).plus(sum), None)
            }
            _ => (Range::of(1).plus(sum), None),
        }
    }
}

/// Whether an overload compares by walking.
fn compares(overload: &str) -> bool {
    matches!(overload, "equals" | "not_equals")
        || ["less_", "greater_", "less_equals_", "greater_equals_"]
            .iter()
            .any(|name| matches!(overload.strip_prefix(name), Some("string" | "bytes")))
}

fn integer(expr: &IdedExpr) -> Option<i64> {
    match &expr.expr {
        Expr::Literal(LiteralValue::Int(number)) => Some(*number.inner()),
        _ => None,
    }
}

/// A number that stands in the source.
fn literal(node: &Node<'_>, otherwise: u64) -> u64 {
    match &node.expr.expr {
        Expr::Literal(LiteralValue::Int(number)) => u64::try_from(*number.inner()).unwrap_or(otherwise),
        Expr::Literal(LiteralValue::UInt(number)) => *number.inner(),
        _ => otherwise,
    }
}
