//! The API server driven in-process over a memory store, as its clients drive it over connections.

mod objects;
mod watches;
mod world;
