//! Keys are handed out once, in order, and later after failures.

use super::*;
use std::sync::Arc;

async fn next(queue: &Queue<&'static str>) -> Option<&'static str> {
    tokio::time::timeout(Duration::from_millis(30), queue.get()).await.ok().flatten()
}

#[tokio::test]
async fn a_key_waits_once_and_never_runs_twice() {
    let queue = Queue::new();
    for key in ["a", "b", "a", "a"] {
        queue.add(key);
    }
    assert_eq!(queue.len(), 2);
    assert_eq!(next(&queue).await, Some("a"));
    queue.add("a");
    assert_eq!(next(&queue).await, Some("b"));
    assert_eq!(next(&queue).await, None, "a is still being worked on");
    queue.done(&"a");
    assert_eq!(next(&queue).await, Some("a"));
    queue.done(&"a");
    queue.done(&"b");
    assert!(queue.is_idle());
}

#[tokio::test]
async fn the_shortest_delay_counts_once() {
    let queue = Queue::new();
    queue.add_after("a", Duration::from_secs(100));
    queue.add_after("a", Duration::from_millis(5));
    queue.add_after("a", Duration::from_secs(50));
    let start = Instant::now();
    assert_eq!(queue.get().await, Some("a"));
    assert!(start.elapsed() < Duration::from_secs(5));
    queue.done(&"a");
    assert_eq!(next(&queue).await, None);
}

#[tokio::test]
async fn failures_back_off_until_forgotten() {
    let queue = Queue::new();
    let start = Instant::now();
    for expected in 1..=5 {
        queue.add_rate_limited("a");
        assert_eq!(queue.failures(&"a"), expected);
        assert_eq!(queue.get().await, Some("a"));
        queue.done(&"a");
    }
    // 5 + 10 + 20 + 40 + 80 ms
    assert!(start.elapsed() >= Duration::from_millis(155));
    queue.forget(&"a");
    assert_eq!(queue.failures(&"a"), 0);
    // So many failures that the power overflows.
    for _ in 0..70 {
        queue.add_rate_limited("b");
    }
    assert_eq!(queue.failures(&"b"), 70);
}

#[tokio::test]
async fn every_worker_learns_of_the_end() {
    let queue = Arc::new(Queue::<&'static str>::new());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let queue = queue.clone();
                async move {
                    let mut count = 0;
                    while let Some(key) = queue.get().await {
                        tokio::task::yield_now().await;
                        queue.done(&key);
                        count += 1;
                    }
                    count
                }
            })
        })
        .collect();
    for key in ["a", "b", "c", "d", "e"] {
        queue.add(key);
    }
    tokio::task::yield_now().await;
    queue.shut_down();
    queue.add("late");
    let mut total = 0;
    for worker in workers {
        total += worker.await.unwrap();
    }
    assert_eq!(total, 5);
}
