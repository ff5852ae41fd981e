//! Kubernetes' protobuf form of objects, read into trees and written from them by the schemas alone.
//!
//! An object is the magic `k8s\0` and a `runtime.Unknown`, which names version and kind and holds the message.
//! Invariant: input of any form gives a tree or an error; depth is bounded, and nothing is reserved on the word of
//! a length that the input does not back. Answers to apimachinery's protobuf serializer and the generated code.

mod decode;
mod encode;
pub mod envelope;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod tests;
mod transcode;
mod wire;

pub use decode::decode;
pub use encode::{encode, message};
pub use transcode::transcode;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every object begins with.
pub const MAGIC: &[u8] = b"k8s\0";
/// How deep messages may nest: schemas of CustomResourceDefinitions nest without bound.
const DEPTH: usize = 200;
