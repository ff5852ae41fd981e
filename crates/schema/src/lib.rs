//! What is known about the shape of objects, and the engines that work from it alone.
//!
//! Kinds are data here: [`Types`] holds structural schemas, of Kubernetes' own kinds (a generated table) and of
//! CustomResourceDefinitions (built at run time) alike, and every engine walks a JSON tree and a schema side by
//! side: [`parse`], [`check`], [`defaults`], [`patch`], [`apply`], [`openapi`], [`protobuf`]; [`cel`] runs expressions
//! over both. Nothing here knows a kind by name.
//! Answers to apimachinery's serializers, converters and strategic merge, and to kube-openapi.

pub mod apply;
pub mod cel;
pub mod check;
pub mod defaults;
mod error;
mod facts;
mod go;
pub mod metadata;
pub mod openapi;
pub mod parse;
pub mod patch;
pub mod protobuf;
mod shape;
pub mod structural;

pub use error::{Error, Result};
pub use go::type_name as go_type;
pub use shape::{
    Field, FieldFlags, FieldRef, ListKind, Name, NodeId, Schema, Shape, StructId, StructRef, Types,
};
