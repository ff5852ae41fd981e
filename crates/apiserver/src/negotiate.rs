//! Content negotiation: which form the client wants, and which form it sent.
//!
//! Answers to apiserver's `negotiation` package. Clauses that are not understood (CBOR, which is behind a gate
//! that is off) are passed over, so that lists which end in JSON get JSON.

use crate::info::Query;
use gifee_base::{Reason, Status};
use gifee_registry::Kind;
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
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// All encodings, in the order in which wildcards are tried and refusals name them.
const MEDIAS: [Media; 3] = [Media::Json, Media::Yaml, Media::Protobuf];

impl Media {
    /// The content type of a response.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => protobuf::MEDIA_TYPE,
        }
    }

    /// The content type of a watch.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            other => other.content_type(),
        }
    }

    fn subtype(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Protobuf => "vnd.kubernetes.protobuf",
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
    /// Whether metadata was asked for in the form of lists.
    pub list: bool,
}

impl Accept {
    /// JSON as machines read it.
    pub const JSON: Self = Self { media: Media::Json, shape: Shape::Object, pretty: false, list: false };

    /// Refuses metadata of one object for a list, and of a list for one object.
    ///
    /// # Errors
    /// 406 in upstream's words.
    pub fn fits(&self, list: bool, kind: &Kind) -> Result<(), Status> {
        if !matches!(self.shape, Shape::Metadata(_)) || self.list == list {
            return Ok(());
        }
        let go = go_type(kind, list);
        Err(not_acceptable(if list {
            format!("you requested PartialObjectMetadata, but the requested object is a list ({go})")
        } else {
            format!("you requested PartialObjectMetadataList, but the requested object is not a list ({go})")
        }))
    }
}

/// The Go type that stands for a kind inside upstream's server, as its errors print it.
fn go_type(kind: &Kind, list: bool) -> String {
    let name = if list { &kind.list_kind } else { &kind.gvk.kind };
    let package = match &*kind.gvk.group {
        "" | "events.k8s.io" => "core",
        "rbac.authorization.k8s.io" => "rbac",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("*{package}.{name}")
}

/// Which shapes an endpoint can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Objects only.
    Objects,
    /// Also tables and metadata.
    Shapes,
    /// Shapes, one by one as they happen: not YAML.
    Watch,
}

/// One clause of an Accept header.
pub(crate) struct Clause<'a> {
    media: &'a str,
    subtype: &'a str,
    parameters: &'a str,
    quality: f32,
}

impl<'a> Clause<'a> {
    /// None for what is no media type: it is passed over.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let (media, subtype) = match media.trim().split_once('/') {
            Some((media, subtype)) => (media.trim(), subtype.trim()),
            None if media.trim() == "*" => ("*", "*"),
            None => return None,
        };
        let mut clause = Self { media, subtype, parameters, quality: 1.0 };
        if let Some(quality) = clause.parameter("q") {
            clause.quality = quality.parse().unwrap_or(0.0);
        }
        Some(clause)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.split(';').find_map(|one| {
            let (key, value) = one.split_once('=')?;
            (key.trim() == name).then_some(value.trim().trim_matches('"'))
        })
    }

    /// What clauses are tried by: quality, and then how much they say.
    pub(crate) fn rank(&self) -> (f32, bool, bool) {
        (self.quality, self.media != "*", self.subtype != "*")
    }

    /// Whether it takes plain text.
    pub(crate) fn names_text(&self) -> bool {
        matches!((self.media, self.subtype), ("*", "*") | ("text", "*" | "plain"))
    }

    pub(crate) fn names(&self, media: Media) -> bool {
        self.takes(media.subtype())
    }

    /// Whether it takes this kind of application data.
    fn takes(&self, subtype: &str) -> bool {
        match (self.media, self.subtype) {
            ("*", "*") | ("application", "*") => true,
            ("application", own) => own == subtype,
            _ => false,
        }
    }

    /// The shape that is asked for, and whether as a list; None if there is no such.
    fn shape(&self) -> Option<(Shape, bool)> {
        let [kind, group, version] = ["as", "g", "v"].map(|name| self.parameter(name));
        if kind.or(group).or(version).is_none() {
            return Some((Shape::Object, false));
        }
        let v1 = match (group, version) {
            (Some("meta.k8s.io"), Some("v1")) => true,
            (Some("meta.k8s.io"), Some("v1beta1")) => false,
            _ => return None,
        };
        match kind {
            Some("Table") => Some((Shape::Table(v1), false)),
            Some("PartialObjectMetadata") => Some((Shape::Metadata(v1), false)),
            Some("PartialObjectMetadataList") => Some((Shape::Metadata(v1), true)),
            _ => None,
        }
    }

    /// The answer to this clause, if there is one. `wire` says whether objects have a protobuf form.
    fn answer(&self, offer: Offer, wire: bool) -> Option<(Media, Shape, bool)> {
        let (shape, list) = self.shape()?;
        if offer == Offer::Objects && shape != Shape::Object {
            return None;
        }
        let streams = self.parameter("stream").unwrap_or_default();
        if !matches!(streams, "" | "watch") {
            return None;
        }
        let possible = |media: &Media| {
            self.names(*media)
                && match (media, shape) {
                    (Media::Protobuf, Shape::Table(_)) => false,
                    (Media::Protobuf, Shape::Object) => wire,
                    (Media::Yaml, _) => streams.is_empty(),
                    _ => true,
                }
        };
        MEDIAS.into_iter().find(possible).map(|media| (media, shape, list))
    }
}

/// Whether a person is looking.
pub(crate) fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(pretty) = query.get("pretty") {
        return matches!(pretty, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|one| agent.starts_with(one))
}

/// Which of these kinds of application data is wanted most; None if the client takes none of them.
pub(crate) fn wanted<T: Copy>(headers: &HeaderMap, offered: &[(&str, T)]) -> Option<T> {
    let header = headers.get(ACCEPT).filter(|header| !header.is_empty());
    let text = header.map_or("*/*", |header| header.to_str().unwrap_or_default());
    let mut best: Option<((f32, bool, bool), T)> = None;
    for clause in text.split(',').filter_map(Clause::parse) {
        let rank = clause.rank();
        let found = offered.iter().find(|(subtype, _)| clause.takes(subtype));
        if let Some((_, found)) = found.filter(|_| best.as_ref().is_none_or(|(best, _)| rank > *best)) {
            best = Some((rank, *found));
        }
    }
    best.map(|(_, found)| found)
}

/// Finds the form of the response. `wire` says whether objects have a protobuf form.
///
/// # Errors
/// 406 in upstream's words.
pub fn accept(headers: &HeaderMap, query: &Query, offer: Offer, wire: bool) -> Result<Accept, Status> {
    let pretty = pretty(headers, query) && offer != Offer::Watch;
    let Some(header) = headers.get(ACCEPT).filter(|header| !header.is_empty()) else {
        return Ok(Accept { pretty, ..Accept::JSON });
    };
    let text = header.to_str().unwrap_or_default();
    if text == "application/json" {
        return Ok(Accept { pretty, ..Accept::JSON });
    }
    let mut best: Option<(Clause<'_>, (Media, Shape, bool))> = None;
    for clause in text.split(',').filter_map(Clause::parse) {
        if best.as_ref().is_some_and(|(best, _)| clause.rank() <= best.rank()) {
            continue;
        }
        if let Some(answer) = clause.answer(offer, wire) {
            best = Some((clause, answer));
        }
    }
    match best {
        // A stream is found for the clause that would have been answered without one.
        Some((_, (Media::Yaml, ..))) if offer == Offer::Watch => Err(unacceptable(offer)),
        Some((clause, (media, shape, list))) => {
            let pretty = pretty || (clause.parameter("pretty") == Some("1") && offer != Offer::Watch);
            Ok(Accept { media, shape, pretty, list })
        }
        None => Err(unacceptable(offer)),
    }
}

/// 406
pub(crate) fn not_acceptable(message: String) -> Status {
    let mut status = Status::new(Reason::NotAcceptable, message);
    status.details = None;
    status
}

fn unacceptable(offer: Offer) -> Status {
    let accepted = match offer {
        Offer::Watch => "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    };
    not_acceptable(format!("only the following media types are accepted: {accepted}"))
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
        "" | "application/json" => Ok(Encoding::Json),
        "application/yaml" => Ok(Encoding::Yaml),
        protobuf::MEDIA_TYPE => Ok(Encoding::Protobuf),
        _ => Err(unsupported_media(&["application/json", "application/yaml", protobuf::MEDIA_TYPE])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, offer: Offer, expect: Option<(Media, Shape)>) {
        check_wire(header, offer, true, expect);
    }

    fn check_wire(header: &str, offer: Offer, wire: bool, expect: Option<(Media, Shape)>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, header.parse().unwrap());
        let found = accept(&headers, &Query::default(), offer, wire).ok().map(|one| (one.media, one.shape));
        assert_eq!(found, expect, "{header}");
    }

    #[test]
    fn clauses_fall_back_in_order() {
        use {Media::*, Offer::*, Shape::*};
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(kubectl, Shapes, Some((Json, Table(true))));
        check(kubectl, Objects, Some((Json, Object)));
        check(kubectl, Watch, Some((Json, Table(true))));
        check("application/vnd.kubernetes.protobuf,application/json", Shapes, Some((Protobuf, Object)));
        check(
            "application/vnd.kubernetes.protobuf;q=0.5,application/json;q=0.9",
            Shapes,
            Some((Json, Object)),
        );
        check("application/vnd.kubernetes.protobuf;stream=watch", Watch, Some((Protobuf, Object)));
        let both = "application/vnd.kubernetes.protobuf,application/json";
        check_wire(both, Shapes, false, Some((Json, Object)));
        check_wire("application/vnd.kubernetes.protobuf", Shapes, false, None);
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        check_wire(metadata, Shapes, false, Some((Protobuf, Metadata(true))));
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        check(table, Shapes, None);
        check(&format!("{table},application/json"), Shapes, Some((Json, Object)));
        check("application/cbor, application/json;q=0.5", Shapes, Some((Json, Object)));
        check("application/cbor", Shapes, None);
        check("application/json;as=Table;v=v2;g=meta.k8s.io", Shapes, None);
        check("*/*", Objects, Some((Json, Object)));
        check("*/*;q=0.8, application/yaml", Objects, Some((Yaml, Object)));
        check("*/*, application/yaml", Objects, Some((Yaml, Object)));
        check("nonsense, application/*", Objects, Some((Json, Object)));
        check("application/yaml", Shapes, Some((Yaml, Object)));
        check("application/yaml", Watch, None);
        check("application/yaml, application/json", Watch, None);
        check("application/yaml;stream=watch, application/json", Watch, Some((Json, Object)));
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

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[a-z/*;=,q.0-9+ \"]{0,60}", wire: bool) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = text.parse() {
                headers.insert(ACCEPT, value);
            }
            for offer in [Offer::Objects, Offer::Shapes, Offer::Watch] {
                let _ = accept(&headers, &Query::default(), offer, wire);
            }
        }
    }
}
