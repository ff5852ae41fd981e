//! `/debug/api_priority_and_fairness/…`: levels, queues and waiting requests as tables.
//!
//! Answers to `apf_controller_debug.go`; the columns are upstream's.

use super::Fairness;
use super::level::Waits;
use crate::body::Body;
use crate::request::Request;
use crate::respond;
use gifee_base::Status;
use http::Response;
use jiff::Timestamp;

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
const REQUESTS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAILS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
/// What Go says of a time that there is none of.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Answers one of the tables.
///
/// # Errors
/// 404 for any other.
pub fn answer(request: &Request<'_>, table: &str) -> Result<Response<Body>, Status> {
    let fairness = &request.server.fairness;
    let rows = match table {
        "dump_priority_levels" => levels(fairness),
        "dump_queues" => queues(fairness),
        "dump_requests" => {
            let details = request.query.get("includeRequestDetails").is_some_and(|value| !value.is_empty());
            requests(fairness, details, request.server.config.clock.now())
        }
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
            let seats = queue.waiting.iter().map(|waits| waits.seats);
            let (sum, most) = (seats.clone().sum::<u32>(), seats.max().unwrap_or_default());
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

/// Those that wait; who runs is only counted.
fn requests(fairness: &Fairness, details: bool, now: Timestamp) -> Vec<Row> {
    let mut names = header(&REQUESTS);
    names.extend(header(if details { &DETAILS } else { &[] }));
    let mut rows = vec![names];
    for (name, level) in &fairness.plan.load().levels {
        for (index, queue) in level.look().queues.into_iter().enumerate() {
            for (place, Waits { flow, seats, stays, since, details: of }) in
                queue.waiting.into_iter().enumerate()
            {
                let arrived = now.checked_sub(since).unwrap_or(now);
                // One of the two counts: who watches is told once it is done.
                let last = if stays.is_zero() { 0 } else { seats };
                let mut row = vec![
                    name.to_string(),
                    flow.to_string(),
                    index.to_string(),
                    place.to_string(),
                    of.distinguisher.to_string(),
                    arrived.to_string(),
                    if last > 0 { 1 } else { seats }.to_string(),
                    last.to_string(),
                    if stays.is_zero() {
                        "0s".to_owned()
                    } else {
                        format!("{}ms", stays.as_secs_f64() * 1e3)
                    },
                    NEVER.to_owned(),
                ];
                if details {
                    row.extend(of.request.iter().map(ToString::to_string));
                }
                rows.push(row);
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
