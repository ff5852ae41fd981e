//! An API server over a store in memory, open to everybody, without TLS: to try clients against the engine alone.
//!
//! `cargo run -p gifee-apiserver --example open -- 127.0.0.1:8080`, then `kubectl -s http://127.0.0.1:8080 get all`.

#[path = "../tests/api/world.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod world;

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let world = world::World::new().await;
    println!("http://{}", listener.local_addr()?);
    Ok(world.server.clone().serve(listener, None).await?)
}
