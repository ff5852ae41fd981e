//! What of the stored objects a selection wants, as a version shows them.
//!
//! Invariant: labels and fields are asked of the object in the version that was asked for, since a webhook may change
//! both; place and name, which none may change, are asked before it is called. Answers to how
//! apiextensions-apiserver's storages decode before they match.

use super::Converter;
use crate::cache::{Entry, Event, Filter, Snapshot, Transition, fields::Fields};
use crate::outbound::Outbound;
use gifee_base::{Object, Status};
use std::sync::Arc;

/// Entries as a version shows them, of which `fields` may be selected by.
///
/// # Errors
/// If the webhook fails.
pub async fn entries(
    converter: &Converter,
    outbound: &Outbound,
    entries: Vec<Arc<Entry>>,
    (api_version, fields): (&str, &Fields),
) -> Result<Vec<Arc<Entry>>, Status> {
    let objects = entries.iter().map(|entry| entry.object.clone()).collect();
    let objects = converter.objects(outbound, objects, api_version).await?;
    Ok(objects.into_iter().map(|object| Arc::new(Entry::new(object, fields))).collect())
}

/// The first entries that a filter lets through as a version shows them; those after `limit` only count.
///
/// # Errors
/// If the webhook fails.
pub async fn select(
    (converter, outbound): (&Converter, &Outbound),
    found: Vec<Arc<Entry>>,
    (filter, limit): (&Filter, usize),
    shown: (&str, &Fields),
) -> Result<Vec<Arc<Entry>>, Status> {
    let mut wanted = Vec::new();
    for some in found.chunks(super::BATCH_OBJECTS) {
        let converted = entries(converter, outbound, some.to_vec(), shown).await?;
        wanted.extend(converted.into_iter().filter(|entry| filter.matches(entry)));
        if wanted.len() > limit {
            break;
        }
    }
    Ok(wanted)
}

/// A state with what a filter lets through, as a version shows it.
///
/// # Errors
/// If the webhook fails.
pub async fn snapshot(
    (converter, outbound): (&Converter, &Outbound),
    snapshot: &Snapshot,
    filter: &Filter,
    shown: (&str, &Fields),
) -> Result<Snapshot, Status> {
    let placed = filter.placed();
    let wanted = snapshot.objects.iter().filter(|(_, entry)| placed.matches(entry));
    let (keys, found): (Vec<_>, Vec<_>) = wanted.map(|(key, entry)| (key.clone(), entry.clone())).unzip();
    let shown = entries(converter, outbound, found, shown).await?;
    let objects = keys.into_iter().zip(shown).filter(|(_, entry)| filter.matches(entry)).collect();
    Ok(Snapshot { objects, revision: snapshot.revision })
}

/// An event as a version shows it, and what it is to who watches with `filter`; None: nothing.
///
/// # Errors
/// If the webhook fails.
pub async fn event(
    (converter, outbound): (&Converter, &Outbound),
    event: &Event,
    (filter, transition): (&Filter, Transition),
    (api_version, fields): (&str, &Fields),
) -> Result<Option<(Event, Transition)>, Status> {
    let show = async |object: Arc<Object>| {
        let shown = converter.object(outbound, object, api_version).await?;
        Ok::<_, Status>(Arc::new(Entry::new(shown, fields)))
    };
    // What it was is only asked if that decides what becomes of it.
    let selects = filter.selects_shown();
    let previous = match &event.previous {
        Some(previous) if selects || event.deleted => Some(show(previous.object.clone()).await?),
        _ => None,
    };
    // An object that is gone is the one that was, at another revision.
    let entry = match &previous {
        Some(previous) if event.deleted => {
            let object = Arc::new(previous.object.at(event.entry.object.revision()));
            Arc::new(Entry::new(object, fields))
        }
        _ => show(event.entry.object.clone()).await?,
    };
    let (revision, key) = (event.revision, event.key.clone());
    let shown = Event { revision, key, entry, previous, deleted: event.deleted };
    let transition = if selects { shown.seen_by(filter) } else { Some(transition) };
    Ok(transition.map(|transition| (shown, transition)))
}
