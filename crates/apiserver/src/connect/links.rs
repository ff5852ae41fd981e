//! Links in pages that come through a proxy: those to the backend itself lead through the proxy, too.
//!
//! Invariant: a page is rewritten as it comes, and never stands in memory as a whole; what is no link stays as it is.
//! Answers to the HTML part of upstream's `util/proxy.Transport`.

use super::rewrite::Rewriting;
use crate::body::{Body, BodyError};
use bytes::Bytes;
use flate2::write::{DeflateDecoder, GzDecoder};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use lol_html::send::{Element, ElementContentHandlers, HtmlRewriter, Settings};
use lol_html::{HandlerResult, MemorySettings, OutputSink, Selector};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

/// What of a page is looked at at once at most: a tag that is longer ends the page.
const TAG_BYTES: usize = 1 << 20;

/// Which attributes of which elements hold links.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// How a page is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// `gzip`
    Gzip,
    /// `deflate`
    Deflate,
}

enum Unpacker {
    None,
    Gzip(GzDecoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>),
}

impl Unpacker {
    fn push(&mut self, piece: Bytes) -> std::io::Result<Bytes> {
        let out = match self {
            Self::None => return Ok(piece),
            Self::Gzip(decoder) => {
                decoder.write_all(&piece)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Self::Deflate(decoder) => {
                decoder.write_all(&piece)?;
                decoder.flush()?;
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(out).into())
    }
}

/// A page on its way.
struct Page {
    body: http_body_util::BodyDataStream<Body>,
    unpacker: Unpacker,
    rewriter: HtmlRewriter<'static, Written>,
    written: Written,
}

/// What has been rewritten and is not yet on its way.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl OutputSink for Written {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.lock().extend_from_slice(chunk);
    }
}

impl Written {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The page with its links rewritten; it is not packed any more.
pub fn rewritten(body: Body, packing: Packing, rewriting: Rewriting) -> Body {
    let change =
        ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| -> HandlerResult {
            let name = element.tag_name();
            let (_, attributes) = match LINKS.binary_search_by(|(one, _)| (*one).cmp(&name)) {
                Ok(at) => LINKS[at],
                Err(_) => return Ok(()),
            };
            for attribute in attributes {
                if let Some(url) = element.get_attribute(attribute).and_then(|url| rewriting.url(&url)) {
                    element.set_attribute(attribute, &url)?;
                }
            }
            Ok(())
        });
    let all: Selector = "*".parse().expect("a star is a selector");
    let settings = Settings::new_send()
        .append_element_content_handler((Cow::Owned(all), change))
        .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(TAG_BYTES))
        .with_strict(false);
    let unpacker = match packing {
        Packing::None => Unpacker::None,
        Packing::Gzip => Unpacker::Gzip(GzDecoder::new(Vec::new())),
        Packing::Deflate => Unpacker::Deflate(DeflateDecoder::new(Vec::new())),
    };
    let written = Written::default();
    let page = Page {
        body: body.into_data_stream(),
        unpacker,
        rewriter: HtmlRewriter::new(settings, written.clone()),
        written,
    };
    Body::stream(stream::unfold(Some(page), |page| async move { step(page?).await }))
}

type Step = (Result<Bytes, BodyError>, Option<Page>);

/// The next piece that is not empty, and what comes after it.
async fn step(mut page: Page) -> Option<Step> {
    loop {
        let piece = match page.body.next().await {
            None => {
                let ended = page.rewriter.end();
                let rest = page.written.take();
                return match ended {
                    Ok(()) => Some((Ok(rest.into()), None)),
                    Err(error) => Some((Err(error.into()), None)),
                };
            }
            Some(Err(error)) => return Some((Err(error), None)),
            Some(Ok(piece)) => piece,
        };
        let pushed = page.unpacker.push(piece).map_err(BodyError::from);
        if let Err(error) = pushed.and_then(|piece| Ok(page.rewriter.write(&piece)?)) {
            return Some((Err(error), None));
        }
        let out = page.written.take();
        if !out.is_empty() {
            return Some((Ok(out.into()), Some(page)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn through(text: &str, packing: Packing) -> String {
        let rewriting = Rewriting {
            prefix: "/p/proxy".into(),
            backend: "10.0.0.1:80".into(),
            host: "localhost:8001".into(),
        };
        let bytes = match packing {
            Packing::None => text.as_bytes().to_vec(),
            Packing::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(text.as_bytes()).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(text.as_bytes()).unwrap();
                encoder.finish().unwrap()
            }
        };
        // One byte at a time, so that tags and codes come in pieces.
        let pieces: Vec<_> =
            bytes.iter().map(|byte| Ok::<_, BodyError>(Bytes::copy_from_slice(&[*byte]))).collect();
        let body = Body::stream(stream::iter(pieces));
        let out = rewritten(body, packing, rewriting).collect().await.unwrap().to_bytes();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn links_to_the_backend_lead_through_the_proxy() {
        let page = "<!doctype html><!-- <a href='/x'> --><p>/plain</p><A class=b HREF='/x?a=1&amp;b=2'>y</A>\
            <img src=/i.png usemap=\"#m\"><a href=\"http://e/z\"><a href=rel><script>'<a href=\"/no\">'</script><form action=\"\">\u{e9}";
        let expect = "<!doctype html><!-- <a href='/x'> --><p>/plain</p><A class=b HREF=\"/p/proxy/x?a=1&amp;b=2\">y</A>\
            <img src=\"/p/proxy/i.png\" usemap=\"#m\"><a href=\"http://e/z\"><a href=rel><script>'<a href=\"/no\">'</script><form action=\"\">\u{e9}";
        for packing in [Packing::None, Packing::Gzip, Packing::Deflate] {
            assert_eq!(through(page, packing).await.to_lowercase(), expect.to_lowercase(), "{packing:?}");
        }
    }

    #[test]
    fn elements_are_found() {
        assert!(LINKS.is_sorted_by_key(|(name, _)| *name));
    }
}
