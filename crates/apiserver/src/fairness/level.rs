//! A priority level: seats, and queues of those that wait for one.
//!
//! Invariant: seats in use are given back whatever becomes of a request. While anybody waits, nobody is seated past
//! the queues; of these, the one goes next that has had the least: each has a virtual time, which what it is given
//! moves on. Answers to `fairqueuing/queueset`, with start-time fair queuing in place of its virtual-time integral.

use super::Work;
use super::meter::LevelMeter;
use super::plan::Flow;
use super::timed::Integral;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Seconds that a request is taken to last until it is known.
const ESTIMATE: f64 = 0.003;
/// Seats that a request takes at most, whatever its level has; upstream's figure.
const WIDEST: u32 = 100;
/// Queues in a hand at most; upstream's validation allows fewer.
const HAND: usize = 32;

/// What a PriorityLevelConfiguration says.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Whether it has no limit.
    pub exempt: bool,
    /// Its part of all seats, relative to the others'.
    pub shares: f64,
    /// How much of them it lends, in per cent.
    pub lendable: u32,
    /// How much it borrows at most, in per cent of its own; None: without limit.
    pub borrowing: Option<u32>,
    /// Whether who finds no seat is shed at once.
    pub reject: bool,
    /// Queues.
    pub queues: usize,
    /// Queues among which a flow chooses.
    pub hand: usize,
    /// Requests that wait in one queue.
    pub length: usize,
}

impl Shape {
    /// From the object.
    pub fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let exempt = spec["type"] == "Exempt";
        let part = &spec[if exempt { "exempt" } else { "limited" }];
        let number = |value: &Value, default: u32| {
            value.as_u64().and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
        };
        let size =
            |name: &str, default: u32| number(&part["limitResponse"]["queuing"][name], default) as usize;
        let queues = size("queues", 64).max(1);
        Self {
            exempt,
            shares: f64::from(number(&part["nominalConcurrencyShares"], if exempt { 0 } else { 30 })),
            lendable: number(&part["lendablePercent"], 0).min(100),
            borrowing: part["borrowingLimitPercent"]
                .as_u64()
                .map(|_| number(&part["borrowingLimitPercent"], 0)),
            reject: part["limitResponse"]["type"] != "Queue",
            queues,
            hand: size("handSize", 8).clamp(1, queues.min(HAND)),
            length: size("queueLengthLimit", 50).max(1),
        }
    }
}

/// Why a request is shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no seat, and the level does not queue.
    Concurrency,
    /// Its queue is full.
    QueueFull,
    /// It has waited too long.
    TimeOut,
}

/// The outcome of coming in.
pub enum Entry {
    /// A seat.
    Seated(Seat),
    /// A place in a queue.
    Waiting(Waiting),
    /// Neither.
    Refused(Refusal),
}

/// A level.
pub struct Level {
    /// Name.
    pub name: Box<str>,
    state: Mutex<State>,
}

/// How many seats a level has by right, at least, at most and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    /// By its shares.
    pub nominal: u32,
    /// What it does not lend.
    pub least: u32,
    /// What it has when it borrows all it may.
    pub most: u32,
    /// Now.
    pub now: u32,
}

#[derive(Default)]
struct State {
    shape: Option<Shape>,
    seats: Seats,
    in_use: u32,
    executing: u32,
    waiting: u32,
    wanted: u32,
    /// Seats that were in use or wanted since the seats were last moved.
    demand: Integral,
    smooth: f64,
    queues: Vec<Queue>,
    virtual_now: f64,
    next: u64,
    /// The most seats that one request takes.
    widest: u32,
    counts: Counts,
    meter: Option<LevelMeter>,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Seated.
    pub dispatched: u64,
    /// Shed on arrival.
    pub rejected: u64,
    /// Shed after a wait.
    pub timed_out: u64,
    /// Gone while they waited.
    pub cancelled: u64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    start: f64,
    executing: u32,
    in_use: u32,
}

struct Waiter {
    id: u64,
    width: u32,
    stays: Duration,
    flow: Arc<Flow>,
    details: Details,
    since: Instant,
    seat: oneshot::Sender<Seat>,
}

/// What a request that waits is, for who looks.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// What tells its flow apart: a user, a namespace or nothing.
    pub distinguisher: Box<str>,
    /// User, verb, path, namespace, name, group and version, resource, subresource.
    pub request: [Box<str>; 8],
}

/// A request that waits, for who looks.
pub struct Waits {
    /// FlowSchema.
    pub flow: Box<str>,
    /// Seats.
    pub seats: u32,
    /// How long the seats stay taken afterwards.
    pub stays: Duration,
    /// Since how long.
    pub since: Duration,
    /// What it is.
    pub details: Details,
}

/// Seats in use. Dropping it gives them back.
pub struct Seat {
    flow: Arc<Flow>,
    width: u32,
    /// How long the seats stay taken once the request is done.
    stays: Duration,
    /// The queue it came through, and when it left that.
    queue: Option<(usize, Instant)>,
}

/// A place in a queue. Dropping it leaves the queue.
pub struct Waiting {
    flow: Arc<Flow>,
    queue: usize,
    id: u64,
    seat: oneshot::Receiver<Seat>,
}

impl State {
    fn fits(&self, width: u32) -> bool {
        // One that is wider than the level takes it all.
        self.in_use == 0 || self.in_use.saturating_add(width) <= self.seats.now
    }

    fn seat(&mut self, flow: &Flow, width: u32) {
        self.in_use += width;
        self.executing += 1;
        self.counts.dispatched += 1;
        flow.meter.seated(width);
    }

    /// Notes how things stand, after they changed.
    fn note(&mut self) {
        let now = Instant::now();
        self.demand.set(f64::from(self.in_use + self.wanted), now);
        if let (Some(meter), Some(shape)) = (&self.meter, &self.shape) {
            let places = if shape.reject { 0 } else { shape.queues * shape.length };
            let counts = [self.in_use, self.executing, self.waiting, self.in_use + self.wanted];
            meter.note(counts, &self.seats, places, now);
        }
    }

    /// The queue of a flow's hand in which the least waits.
    fn choose(&self, shape: &Shape, mut hash: u64) -> usize {
        let mut hand = [0_usize; HAND];
        for drawn in 0..shape.hand {
            let left = (shape.queues - drawn) as u64;
            // The place among those that are not in the hand yet, which is kept in order.
            let mut card = (hash % left) as usize;
            hash /= left;
            let mut at = 0;
            while at < drawn && hand[at] <= card {
                card += 1;
                at += 1;
            }
            hand.copy_within(at..drawn, at + 1);
            hand[at] = card;
        }
        let load = |queue: &usize| {
            let queue = &self.queues[*queue];
            let seats: u32 = queue.waiting.iter().map(|waiter| waiter.width).sum();
            (seats + queue.in_use, queue.waiting.len())
        };
        hand[..shape.hand].iter().copied().min_by_key(load).unwrap_or_default()
    }

    /// Seats who can be seated now; the seats go out when the lock is free again.
    fn dispatch(&mut self) -> Vec<(oneshot::Sender<Seat>, Seat)> {
        let mut seated = Vec::new();
        while self.waiting > 0 {
            let waiting = self.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
            let next = waiting.min_by(|(_, a), (_, b)| a.start.total_cmp(&b.start)).map(|(index, _)| index);
            let Some(index) = next else { break };
            let width = self.queues[index].waiting.front().map_or(0, |waiter| waiter.width);
            if !self.fits(width) {
                if let Some(waiter) = self.queues[index].waiting.front() {
                    waiter.flow.meter.not_accommodated();
                }
                break;
            }
            let queue = &mut self.queues[index];
            let Some(waiter) = queue.waiting.pop_front() else { break };
            self.virtual_now = queue.start;
            queue.start += f64::from(width) * ESTIMATE;
            queue.executing += 1;
            queue.in_use += width;
            self.waiting -= 1;
            self.wanted -= width;
            waiter.flow.meter.left(width, waiter.since.elapsed(), true);
            self.seat(&waiter.flow, width);
            let queue = Some((index, Instant::now()));
            seated.push((waiter.seat, Seat { flow: waiter.flow, width, stays: waiter.stays, queue }));
        }
        self.note();
        seated
    }

    /// Takes somebody out of a queue who does not wait any more; whether they were there.
    fn leave(&mut self, queue: usize, id: u64) -> bool {
        let waiting = &mut self.queues[queue].waiting;
        let Some(at) = waiting.iter().position(|waiter| waiter.id == id) else { return false };
        if let Some(waiter) = waiting.remove(at) {
            self.waiting -= 1;
            self.wanted -= waiter.width;
            waiter.flow.meter.left(waiter.width, waiter.since.elapsed(), false);
        }
        self.note();
        true
    }
}

/// The most seats that one request takes of so many: 15 per cent, and no more than lets a whole hand of flows run;
/// upstream's figures.
fn widest(nominal: u32, hand: u32, exempt: bool) -> u32 {
    if exempt {
        return WIDEST;
    }
    (nominal.saturating_mul(15).div_ceil(100)).min(nominal / hand.max(1)).clamp(1, WIDEST)
}

/// Hands out seats. Who is gone meanwhile does not take theirs, which comes back.
fn hand_out(seated: Vec<(oneshot::Sender<Seat>, Seat)>) {
    for (waiter, seat) in seated {
        drop(waiter.send(seat));
    }
}

impl Level {
    /// Without seats yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), state: Mutex::default() }
    }

    /// Takes another shape. Who waits in a queue that is no more goes on waiting there.
    pub fn reshape(&self, shape: &Shape, nominal: u32, all: u32, meter: LevelMeter) {
        let percent = |part: u32| (f64::from(nominal) * f64::from(part) / 100.0).round() as u32;
        let mut state = self.state.lock();
        let same = state.shape.as_ref() == Some(shape) && state.seats.nominal == nominal;
        if !same {
            state.seats = Seats {
                nominal,
                least: nominal - percent(shape.lendable).min(nominal),
                most: shape.borrowing.map_or(all, |part| nominal + percent(part)).max(nominal),
                now: if shape.exempt { u32::MAX } else { nominal },
            };
            let queues = state.queues.len().max(if shape.reject { 0 } else { shape.queues });
            state.queues.resize_with(queues, Queue::default);
            let hand = if shape.reject { 1 } else { shape.hand };
            state.widest = widest(nominal, u32::try_from(hand).unwrap_or(1), shape.exempt);
            state.shape = Some(shape.clone());
        }
        meter.seats(&state.seats);
        state.meter = Some(meter);
        let seated = state.dispatch();
        drop(state);
        hand_out(seated);
    }

    /// Takes the seats that work wants, or a place in a queue of the flow with this hash.
    pub fn enter(&self, flow: &Arc<Flow>, hash: u64, work: Work) -> Entry {
        let mut state = self.state.lock();
        let (width, mut stays) = work.seats(state.widest);
        if state.seats.now == u32::MAX {
            // Where nobody waits for seats, nothing has to be held back.
            stays = Duration::ZERO;
        }
        flow.meter.estimated(width, work.watchers);
        if state.waiting == 0 && state.fits(width) {
            state.seat(flow, width);
            state.note();
            drop(state);
            return Entry::Seated(Seat { flow: flow.clone(), width, stays, queue: None });
        }
        let Some(shape) = state.shape.as_ref().filter(|shape| !shape.reject) else {
            state.counts.rejected += 1;
            flow.meter.refused(Refusal::Concurrency);
            return Entry::Refused(Refusal::Concurrency);
        };
        let (index, length) = (state.choose(shape, hash), shape.length);
        let virtual_now = state.virtual_now;
        let queue = &mut state.queues[index];
        if queue.waiting.len() >= length {
            state.counts.rejected += 1;
            flow.meter.refused(Refusal::QueueFull);
            return Entry::Refused(Refusal::QueueFull);
        }
        if queue.waiting.is_empty() {
            queue.start = queue.start.max(virtual_now);
        }
        let (sender, receiver) = oneshot::channel();
        let id = state.next;
        let waiter = Waiter {
            id,
            width,
            stays,
            flow: flow.clone(),
            details: Details::default(),
            since: Instant::now(),
            seat: sender,
        };
        state.queues[index].waiting.push_back(waiter);
        state.next += 1;
        state.waiting += 1;
        state.wanted += width;
        let length = state.queues[index].waiting.len();
        flow.meter.queued(width, length);
        state.note();
        Entry::Waiting(Waiting { flow: flow.clone(), queue: index, id, seat: receiver })
    }

    fn release(&self, width: u32, queue: Option<(usize, Instant)>) {
        let mut state = self.state.lock();
        state.in_use -= width;
        state.executing -= 1;
        if let Some((index, since)) = queue {
            let queue = &mut state.queues[index];
            queue.executing -= 1;
            queue.in_use -= width;
            // What it took is known now.
            queue.start += f64::from(width) * (since.elapsed().as_secs_f64() - ESTIMATE);
        }
        if state.waiting == 0 {
            state.note();
            return;
        }
        let seated = state.dispatch();
        drop(state);
        hand_out(seated);
    }

    /// How many seats it has, how many it wanted at most since this was last asked, and how many it wants now.
    pub fn demand(&self) -> Option<(Seats, u32, f64)> {
        /// How slowly a demand of the past is forgotten; upstream's figure.
        const SMOOTHING: f64 = 0.977;
        let mut state = self.state.lock();
        if state.shape.as_ref().is_none_or(|shape| shape.exempt) {
            return None;
        }
        let over = state.demand.take(Instant::now());
        let wanted = over.average + over.deviation;
        state.smooth = wanted.max(SMOOTHING * state.smooth + (1.0 - SMOOTHING) * wanted);
        if let Some(meter) = &state.meter {
            meter.demand(over, state.smooth);
        }
        Some((state.seats, over.most as u32, state.smooth))
    }

    /// Says how many seats it is to have.
    pub fn aimed(&self, target: f64) {
        if let Some(meter) = &self.state.lock().meter {
            meter.aimed(target);
        }
    }

    /// Gives it so many seats.
    pub fn resize(&self, now: u32) {
        let mut state = self.state.lock();
        state.seats.now = now;
        if let Some(meter) = &state.meter {
            meter.seats(&state.seats);
        }
        let seated = state.dispatch();
        drop(state);
        hand_out(seated);
    }

    /// What stands in it, for who looks: counts, and per queue what waits and runs.
    pub fn look(&self) -> Look {
        let state = self.state.lock();
        let queues = state.queues.iter().map(|queue| QueueLook {
            executing: queue.executing,
            in_use: queue.in_use,
            start: queue.start,
            waiting: queue
                .waiting
                .iter()
                .map(|waiter| Waits {
                    flow: waiter.flow.name.clone(),
                    seats: waiter.width,
                    stays: waiter.stays,
                    since: waiter.since.elapsed(),
                    details: waiter.details.clone(),
                })
                .collect(),
        });
        Look {
            counts: state.counts,
            executing: state.executing,
            waiting: state.waiting,
            queues: queues.collect(),
        }
    }
}

/// A level at one moment.
pub struct Look {
    /// What happened.
    pub counts: Counts,
    /// Requests that run.
    pub executing: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Its queues.
    pub queues: Vec<QueueLook>,
}

/// A queue at one moment.
pub struct QueueLook {
    /// Requests that run.
    pub executing: u32,
    /// Their seats.
    pub in_use: u32,
    /// Its virtual time, in seat-seconds.
    pub start: f64,
    /// Who waits.
    pub waiting: Vec<Waits>,
}

impl Waiting {
    /// Says what waits.
    pub fn describe(&self, details: Details) {
        let mut state = self.flow.level.state.lock();
        let waiting = &mut state.queues[self.queue].waiting;
        if let Some(waiter) = waiting.iter_mut().find(|waiter| waiter.id == self.id) {
            waiter.details = details;
        }
    }

    /// The seat, when it comes.
    pub async fn seat(mut self, limit: Duration) -> Result<Seat, Refusal> {
        match tokio::time::timeout(limit, &mut self.seat).await {
            Ok(Ok(seat)) => Ok(seat),
            // Waiters are never forgotten; the level would have to be gone, and this holds it.
            Ok(Err(_)) => Err(Refusal::Concurrency),
            Err(_) => {
                let mut state = self.flow.level.state.lock();
                if !state.leave(self.queue, self.id) {
                    drop(state);
                    // It came at the last moment.
                    return self.seat.try_recv().map_err(|_| Refusal::TimeOut);
                }
                state.counts.timed_out += 1;
                self.flow.meter.refused(Refusal::TimeOut);
                Err(Refusal::TimeOut)
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.flow.level.state.lock();
        if state.leave(self.queue, self.id) {
            state.counts.cancelled += 1;
            // It may have stood before one that fits.
            let seated = state.dispatch();
            drop(state);
            hand_out(seated);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let stays = std::mem::take(&mut self.stays);
        if !stays.is_zero()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Those who watch are told now; the seats come back when that is done.
            let (flow, width, queue) = (self.flow.clone(), self.width, self.queue);
            let kept = Seat { flow, width, stays: Duration::ZERO, queue };
            runtime.spawn(async move {
                tokio::time::sleep(stays).await;
                drop(kept);
            });
            return;
        }
        self.flow.meter.freed(self.width);
        self.flow.level.release(self.width, self.queue);
    }
}
