//! `/debug/api_priority_and_fairness/…`: levels, queues and waiting requests as tables.
//!
//! Answers to `apf_controller_debug.go`; the columns are upstream's.

use super::Fairness;
use crate::body::Body;
use crate::respond;
use gifee_base::Status;
use http::Response;

const LEVELS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUESTS: [&str; 7] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "Waiting",
    "InitialSeats",
    "FinalSeats",
];

/// Answers one of the tables.
///
/// # Errors
/// 404 for any other.
pub fn answer(fairness: &Fairness, table: &str) -> Result<Response<Body>, Status> {
    let rows = match table {
        "dump_priority_levels" => levels(fairness),
        "dump_queues" => queues(fairness),
        "dump_requests" => requests(fairness),
        _ => return Err(Status::no_such_path()),
    };
    Ok(respond::text(200, aligned(&rows)))
}

type Row = Vec<String>;

fn header(names: &[&str]) -> Row {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn levels(fairness: &Fairness) -> Vec<Row> {
    let mut rows = vec![header(&LEVELS)];
    for (name, level) in &fairness.plan.load().levels {
        let look = level.look();
        let active = look.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
        let idle = look.waiting == 0 && look.executing == 0;
        let counts = look.counts;
        rows.push(vec![
            name.to_string(),
            active.to_string(),
            idle.to_string(),
            "false".to_owned(),
            look.waiting.to_string(),
            look.executing.to_string(),
            counts.dispatched.to_string(),
            counts.rejected.to_string(),
            counts.timed_out.to_string(),
            counts.cancelled.to_string(),
        ]);
    }
    rows
}

fn queues(fairness: &Fairness) -> Vec<Row> {
    let mut rows = vec![header(&QUEUES)];
    for (name, level) in &fairness.plan.load().levels {
        for (index, queue) in level.look().queues.iter().enumerate() {
            let seats = queue.waiting.iter().map(|(_, seats, _)| seats);
            let (sum, most) = (seats.clone().sum::<u32>(), seats.max().copied().unwrap_or_default());
            rows.push(vec![
                name.to_string(),
                index.to_string(),
                queue.waiting.len().to_string(),
                queue.executing.to_string(),
                queue.in_use.to_string(),
                format!("{:.8}ss", queue.start),
                sum.to_string(),
                most.to_string(),
                format!("{:.8}ss", f64::from(sum) * 0.003),
            ]);
        }
    }
    rows
}

fn requests(fairness: &Fairness) -> Vec<Row> {
    let mut rows = vec![header(&REQUESTS)];
    for (name, level) in &fairness.plan.load().levels {
        for (index, queue) in level.look().queues.iter().enumerate() {
            for (place, (flow, seats, since)) in queue.waiting.iter().enumerate() {
                rows.push(vec![
                    name.to_string(),
                    flow.to_string(),
                    index.to_string(),
                    place.to_string(),
                    format!("{:.3}s", since.as_secs_f64()),
                    seats.to_string(),
                    "0".to_owned(),
                ]);
            }
        }
    }
    rows
}

/// Columns as wide as their widest cell, with commas.
fn aligned(rows: &[Row]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len() + 2).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).max(8)).collect();
    let mut out = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index + 1 == row.len() {
                out.push_str(cell);
            } else {
                let cell = format!("{cell},");
                out.push_str(&format!("{cell:<width$}", width = widths[index]));
            }
        }
        out.push('\n');
    }
    out
}
