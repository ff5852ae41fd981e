//! Content negotiation: which form the client wants, and which form it sent.
//!
//! Answers to apiserver's `negotiation` package. Clauses that are not understood (CBOR, protobuf) are passed
//! over, so that lists which end in JSON get JSON.

use crate::info::Query;
use gifee_base::{Reason, Status};
use gifee_schema::protobuf;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};

/// An encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
}

impl Media {
    /// The content type of a response.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// What stands for an object in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The object.
    Object,
    /// A row of a `Table`; whether of `meta.k8s.io/v1`, else `v1beta1`.
    Table(bool),
    /// Its metadata alone; whether of `meta.k8s.io/v1`, else `v1beta1`.
    Metadata(bool),
}

impl Shape {
    /// `apiVersion` of the shape; empty for the object itself.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Object => "",
            Self::Table(true) | Self::Metadata(true) => "meta.k8s.io/v1",
            Self::Table(false) | Self::Metadata(false) => "meta.k8s.io/v1beta1",
        }
    }
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Encoding.
    pub media: Media,
    /// Shape.
    pub shape: Shape,
    /// Whether JSON is indented for a person.
    pub pretty: bool,
}

impl Accept {
    /// JSON as machines read it.
    pub const JSON: Self = Self { media: Media::Json, shape: Shape::Object, pretty: false };
}

/// Which shapes an endpoint can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Objects only.
    Objects,
    /// Also tables and metadata.
    Shapes,
    /// Shapes, one by one as they happen: JSON only.
    Watch,
}

/// One clause of an Accept header.
struct Clause<'a> {
    media: &'a str,
    parameters: &'a str,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut clause = Self { media: media.trim(), parameters, quality: 1.0 };
        if let Some(quality) = clause.parameter("q") {
            clause.quality = quality.parse().unwrap_or(1.0);
        }
        clause
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|one| {
            let (key, value) = one.split_once('=')?;
            (key.trim() == name).then_some(value.trim().trim_matches('"'))
        })
    }

    fn media(&self) -> Option<Media> {
        match self.media {
            "application/json" | "application/*" | "*/*" | "*" | "" => Some(Media::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Some(Media::Yaml),
            _ => None,
        }
    }

    fn shape(&self) -> Option<Shape> {
        let Some(kind) = self.parameter("as") else { return Some(Shape::Object) };
        if self.parameter("g") != Some("meta.k8s.io") {
            return None;
        }
        let v1 = match self.parameter("v") {
            Some("v1") => true,
            Some("v1beta1") => false,
            _ => return None,
        };
        match kind {
            "Table" => Some(Shape::Table(v1)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Metadata(v1)),
            _ => None,
        }
    }
}

/// Whether a person is looking.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.has("pretty") {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|one| agent.starts_with(one))
}

/// Finds the form of the response.
///
/// # Errors
/// 406 in upstream's words.
pub fn accept(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Accept, Status> {
    let pretty = pretty(headers, query);
    let Some(header) = headers.get(ACCEPT).filter(|header| !header.is_empty()) else {
        return Ok(Accept { pretty, ..Accept::JSON });
    };
    let text = header.to_str().unwrap_or_default();
    if text == "application/json" {
        return Ok(Accept { pretty, ..Accept::JSON });
    }
    let mut clauses: Vec<_> = text.split(',').map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    for clause in &clauses {
        let (Some(media), Some(shape)) = (clause.media(), clause.shape()) else { continue };
        let possible = match offer {
            Offer::Objects => shape == Shape::Object,
            Offer::Shapes => true,
            Offer::Watch => media == Media::Json,
        };
        if possible {
            return Ok(Accept { media, shape, pretty: pretty && offer != Offer::Watch });
        }
    }
    Err(not_acceptable(offer))
}

fn not_acceptable(offer: Offer) -> Status {
    let accepted = match offer {
        Offer::Watch => "application/json;stream=watch",
        _ => "application/json, application/yaml",
    };
    Status::new(Reason::NotAcceptable, format!("only the following media types are accepted: {accepted}"))
}

/// The media type of the request body, without parameters; empty if the client names none.
pub fn content_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// 415 in upstream's words.
pub fn unsupported_media(accepted: &[&str]) -> Status {
    Status::new(
        Reason::UnsupportedMediaType,
        format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        ),
    )
}

/// How a request body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`, of the built-in kinds.
    Protobuf,
}

/// The encoding of the request body.
///
/// # Errors
/// 415 in upstream's words.
pub fn body_encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    match content_type(headers) {
        "" | "application/json" | "*/*" => Ok(Encoding::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Encoding::Yaml),
        protobuf::MEDIA_TYPE => Ok(Encoding::Protobuf),
        _ => Err(unsupported_media(&["application/json", "application/yaml", protobuf::MEDIA_TYPE])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, offer: Offer, expect: Option<(Media, Shape)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        let found = accept(&headers, &Query::default(), offer).ok().map(|one| (one.media, one.shape));
        assert_eq!(found, expect, "{header}");
    }

    #[test]
    fn clauses_fall_back_in_order() {
        use {Media::*, Offer::*, Shape::*};
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(kubectl, Shapes, Some((Json, Table(true))));
        check(kubectl, Objects, Some((Json, Object)));
        check(kubectl, Watch, Some((Json, Table(true))));
        check("application/vnd.kubernetes.protobuf,application/json", Shapes, Some((Json, Object)));
        check("application/cbor, application/json;q=0.5", Shapes, Some((Json, Object)));
        check("application/cbor", Shapes, None);
        check("application/json;as=Table;v=v2;g=meta.k8s.io", Shapes, None);
        check("*/*", Objects, Some((Json, Object)));
        check("application/yaml", Shapes, Some((Yaml, Object)));
        check("application/yaml", Watch, None);
        check("application/json;q=0.1,application/yaml", Shapes, Some((Yaml, Object)));
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            Shapes,
            Some((Json, Metadata(true))),
        );
        check(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            Objects,
            Some((Json, Object)),
        );
    }
}
