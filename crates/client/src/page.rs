//! One page of a list.
//!
//! Each object gets an allocation of its own size, so that one object kept does not keep its whole page.

use crate::error::BoxError;
use bytes::Bytes;
use gifee_base::Object;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Resource version at which it was read.
    pub resource_version: String,
    /// How to get the next page; none at the end.
    pub continuation: Option<String>,
    /// How many objects follow, if the server says.
    pub remaining: Option<u64>,
    /// The objects; against some servers without `apiVersion` and `kind`.
    pub items: Vec<Object>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default)]
    metadata: Metadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
    #[serde(rename = "continue")]
    continuation: String,
    remaining_item_count: Option<u64>,
}

impl Page {
    pub(crate) fn decode(body: &Bytes) -> Result<Self, BoxError> {
        let raw: Raw<'_> = serde_json::from_slice(body)?;
        let items = raw.items.unwrap_or_default();
        let items = items
            .into_iter()
            .map(|item| Object::received(Bytes::copy_from_slice(item.get().as_bytes())))
            .collect::<Result<_, _>>()?;
        let token = raw.metadata.continuation;
        Ok(Self {
            resource_version: raw.metadata.resource_version,
            continuation: (!token.is_empty()).then_some(token),
            remaining: raw.metadata.remaining_item_count,
            items,
        })
    }
}
