//! The fields that a new object gives a value, written as `FieldsV1` in one walk and without a tree between.
//!
//! Invariant: the text is that of the set which a comparison with an empty object gives. This is on the way of
//! every create, which is why it is not that comparison.

use serde_json::{Map, Value};

use super::element::{Element, equal};
use super::managers::STRIPPED;
use super::set::{Filter, Set};
use super::typing::{Atom, Beside, Fields, List, Type};
use super::wire::{OWN, write_escaped, write_string};
use super::{compare, managers};
use crate::Schema;
use crate::shape::ListKind;

/// Appends the `FieldsV1` of a new object; false, and nothing appended, if nobody owns anything of it.
pub fn created(schema: Option<&Schema>, object: &Value, filter: &Filter, out: &mut String) -> bool {
    let Some(skipped) = top_level(filter) else { return compared(schema, object, filter, out) };
    let Value::Object(map) = object else { return false };
    let Atom::Map(fields) = Type::of(schema).atom(Some(object)) else { return false };
    let start = out.len();
    let mut writer = Writer { out, scratch: String::new() };
    let wrote = writer.object(&fields, map, Before::Root, |name| {
        matches!(name, "apiVersion" | "kind") || skipped.contains(&name)
    });
    if !wrote {
        writer.out.truncate(start);
    }
    wrote
}

/// The names of the fields that a filter takes away, if these are whole fields of the object.
fn top_level(filter: &Filter) -> Option<Vec<&str>> {
    match filter {
        Filter::All => Some(Vec::new()),
        Filter::Except(set) => set
            .nodes
            .iter()
            .map(|node| match &node.element {
                Element::Field(name) if node.member && node.below.is_empty() => Some(&**name),
                _ => None,
            })
            .collect(),
        Filter::Only(_) => None,
    }
}

fn compared(schema: Option<&Schema>, object: &Value, filter: &Filter, out: &mut String) -> bool {
    let empty = Value::Object(Map::new());
    let changed = compare(schema, &empty, object).filtered(filter).changed();
    let owned: Set = managers::stripped(&changed);
    if owned.is_empty() {
        return false;
    }
    owned.write(out);
    true
}

/// What an empty object has in the place of a map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It is the object itself.
    Root,
    /// A struct without values.
    Object,
    /// Null.
    Null,
    /// Nothing, so that the map is owned, too.
    Nothing,
}

struct Writer<'a> {
    out: &'a mut String,
    scratch: String,
}

impl Writer<'_> {
    /// Writes what is at and below a value; false, and perhaps something written, if there is nothing. `zero` is
    /// what an empty object has there.
    fn node(&mut self, kind: Type<'_>, value: &Value, zero: Option<&Value>) -> bool {
        match (kind.atom(Some(value)), value) {
            (Atom::List(list), Value::Array(items)) if list.kind != ListKind::Atomic && !items.is_empty() => {
                self.items(&list, items, zero.is_none())
            }
            (Atom::Map(fields), Value::Object(map)) if !fields.atomic && !map.is_empty() => {
                let before = match zero {
                    None => Before::Nothing,
                    Some(Value::Object(_)) => Before::Object,
                    Some(_) => Before::Null,
                };
                self.object(&fields, map, before, |_| false)
            }
            _ => {
                let changed = zero.is_none_or(|zero| !equal(zero, value));
                if changed {
                    self.out.push_str("{}");
                }
                changed
            }
        }
    }

    fn object(
        &mut self,
        fields: &Fields<'_>,
        map: &Map<String, Value>,
        before: Before,
        skip: impl Fn(&str) -> bool,
    ) -> bool {
        let own = before == Before::Nothing;
        let start = self.open(own);
        let mut count = usize::from(own);
        let given = matches!(before, Before::Root | Before::Object);
        let mut beside = fields.beside();
        for (name, value) in map {
            self.nulls(&mut beside, Some(name), given, &mut count);
            let field = beside.take(name);
            if skip(name) {
                continue;
            }
            let (length, before_it) = (self.out.len(), count);
            self.key(name, &mut count);
            let kind = field.map_or_else(|| fields.rest(), |field| field.kind());
            let wrote = if before == Before::Root && name == "metadata" {
                self.metadata(kind, value)
            } else {
                let zero = field.filter(|_| given).and_then(|field| field.zero());
                self.node(kind, value, zero)
            };
            if !wrote {
                self.out.truncate(length);
                count = before_it;
            }
        }
        self.nulls(&mut beside, None, given, &mut count);
        self.close(start, own, count)
    }

    /// Writes the fields that are null in a typed object, of those that come before another one.
    fn nulls(&mut self, beside: &mut Beside<'_>, before: Option<&str>, given: bool, count: &mut usize) {
        while let Some(field) = beside.before(before) {
            if !given && field.shows_null() {
                self.key(field.name(), count);
                self.out.push_str("{}");
            }
        }
    }

    fn key(&mut self, name: &str, count: &mut usize) {
        if *count > 0 {
            self.out.push(',');
        }
        *count += 1;
        self.out.push_str("\"f:");
        write_escaped(name, self.out);
        self.out.push_str("\":");
    }

    /// Metadata has fields that nobody owns.
    fn metadata(&mut self, kind: Type<'_>, value: &Value) -> bool {
        let (Atom::Map(fields), Value::Object(map)) = (kind.atom(Some(value)), value) else { return false };
        self.object(&fields, map, Before::Object, |name| STRIPPED.contains(&name))
    }

    fn items(&mut self, list: &List<'_>, items: &[Value], own: bool) -> bool {
        let mut told: Vec<_> = items.iter().filter_map(|item| Some((list.told(item).ok()?, item))).collect();
        told.sort_by(|left, right| left.0.cmp(&right.0));
        let start = self.open(own);
        let mut count = usize::from(own);
        let mut rest = &told[..];
        while let Some((by, item)) = rest.first() {
            let same = rest.iter().take_while(|other| other.0.cmp(by).is_eq()).count();
            rest = &rest[same..];
            if count > 0 {
                self.out.push(',');
            }
            count += 1;
            self.scratch.clear();
            by.write(&mut self.scratch);
            write_string(&self.scratch, self.out);
            self.out.push(':');
            // Items that cannot be told apart are one field together.
            if same > 1 {
                self.out.push_str("{}");
            } else {
                self.node(list.item, item, None);
            }
        }
        self.close(start, own, count)
    }

    fn open(&mut self, own: bool) -> usize {
        let start = self.out.len();
        self.out.push('{');
        if own {
            self.out.push_str(OWN);
        }
        start
    }

    fn close(&mut self, start: usize, own: bool, count: usize) -> bool {
        if count == usize::from(own) {
            self.out.truncate(start + 1);
        }
        self.out.push('}');
        count > 0
    }
}
