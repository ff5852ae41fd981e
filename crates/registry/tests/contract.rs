//! What holds for every row of KINDS.

use gifee_registry::kind::{ALL, Kind, Scope, Verb};
use gifee_registry::{Settings, kinds};

fn rows() -> Vec<Kind> {
    kinds(&Settings::default())
}

fn words<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() {
        return "-".into();
    }
    words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",")
}

fn verbs(verbs: &[Verb]) -> String {
    words(&verbs.iter().map(|verb| format!("{verb:?}").to_lowercase()).collect::<Vec<_>>())
}

/// A row as discovery shows it, in one line.
fn shown(kind: &Kind) -> String {
    let scope = if kind.scope == Scope::Cluster { "cluster" } else { "namespaced" };
    let all = if kind.verbs == ALL { "all".into() } else { verbs(kind.verbs) };
    let mut line = format!(
        "{} {} {} {} {scope} {} {} {all}",
        kind.gvk.api_version(),
        kind.gvk.kind,
        kind.resource,
        kind.singular,
        words(&kind.short_names),
        words(&kind.categories),
    );
    for one in &kind.subresources {
        let gvk =
            one.gvk.as_ref().map_or_else(String::new, |gvk| format!("={}.{}", gvk.api_version(), gvk.kind));
        line.push_str(&format!(" {}{gvk}({})", one.name, verbs(one.verbs)));
    }
    line
}

#[test]
fn discovery_shows_what_upstream_shows() {
    let lines: Vec<String> = rows().iter().map(shown).collect();
    let expect: Vec<&str> = include_str!("discovery.txt").lines().collect();
    let (mut sorted, mut wanted) =
        (lines.clone(), expect.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    sorted.sort();
    wanted.sort();
    assert_eq!(sorted, wanted);
    // Groups come in upstream's order; within the core group the order is ours.
    assert_eq!(lines[17..], expect[17..]);
}

#[test]
fn kinds_with_two_versions_are_stored_once() {
    for kind in rows() {
        let own = (&*kind.storage.0, &*kind.storage.1) == (&*kind.gvk.group, &*kind.resource);
        assert_eq!(
            kind.conversion.is_none(),
            own && &*kind.gvk.api_version() != "autoscaling/v1",
            "{:?}",
            kind.gvk
        );
    }
}

#[test]
fn tables_have_a_cell_for_each_column() {
    for kind in rows() {
        let cells = (kind.table.row)(&serde_json::Value::Null, 0);
        assert_eq!(cells.len(), kind.table.columns.len(), "{:?}", kind.gvk);
    }
}
