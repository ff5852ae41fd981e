//! Documents made from the index of kinds, kept until the index changes.

/// Cached documents.
#[derive(Default)]
pub struct Documents {}
