//! Prints what a Pod of 2 KB costs in each step, in microseconds: a figure for those who change the engines.

use std::hint::black_box;
use std::time::Instant;

use gifee_schema::{Schema, check, parse};
use serde_json::Value;

const ROUNDS: u32 = 20_000;

fn timed<T>(name: &str, mut step: impl FnMut() -> T) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(step());
    }
    println!("{name:20} {:8.2} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let start = Instant::now();
    let schema = Schema::builtin("", "v1", "Pod").expect("Pod is built in");
    println!("{:20} {:8.2} us", "load the facts", start.elapsed().as_secs_f64() * 1e6);
    let body = include_bytes!("../tests/pod.json");
    let parsed = parse::json(body).expect("the Pod is JSON").value;
    timed("serde_json read", || serde_json::from_slice::<Value>(body).expect("the Pod is JSON"));
    timed("parse", || parse::json(body).expect("the Pod is JSON"));
    timed("clone", || parsed.clone());
    timed("clone and check", || {
        let mut value = parsed.clone();
        check::check(&schema, &mut value).expect("the Pod fits");
        value
    });
    timed("serialise", || serde_json::to_vec(&parsed).expect("a tree is always JSON"));
}
