//! Judging a history: every partition by the first monitor that can decide it, otherwise by the
//! search.
//!
//! Every answer "valid" has been replayed by the verifier; where a monitor's order does not pass, the
//! search decides.

use crate::history::{F, History, Op, Outcome};
use crate::lists::{are_lists, lists};
use crate::memory::{Limits, Stop};
use crate::minimise::{Minimiser, Part, writes};
use crate::models::{Kind, Machine, constraining};
use crate::monitors;
use crate::queue::queue;
use crate::search::{Found, search};
use crate::stack::stack;
use crate::values::{Id, Values};
use crate::verify::verify;
use crate::zones::{Scratch, Zoned, zones};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Sender;

/// An operation by the positions of its two events.
pub type Span = (u32, u32);

#[derive(Debug, Clone)]
pub struct Evidence {
    pub operations: Vec<Span>,
    pub minimal: bool,
    /// Every other operation that wrote, or failed to write, a value that the part is about.
    pub context: Vec<Span>,
    /// The point of failure: what returns later is open.
    pub until: u32,
}

#[derive(Debug, Clone)]
pub struct Judged {
    pub outcome: &'static str,
    pub method: &'static str,
    pub judged: usize,
    pub operations: usize,
    pub reason: Option<&'static str>,
    pub evidence: Option<Evidence>,
    /// Positions of invocations, in the order of linearization points; if requested.
    pub order: Vec<u32>,
}

pub struct Job<'a> {
    pub kind: Kind,
    /// The positions that the system reported, by the position of the operation's invocation.
    pub orders: &'a FxHashMap<u32, i64>,
    pub initial: Id,
    pub values: &'a Values,
    pub limits: &'a Limits,
    /// The limits for minimising evidence, besides MINIMISE_SECONDS.
    pub evidence: &'a Limits,
    pub keep_order: bool,
    /// The search alone, without monitors: for tests.
    pub plain: bool,
}

/// Seconds for minimising evidence; unminimised evidence is correct, only longer.
const MINIMISE_SECONDS: f64 = 3.0;
/// A part of so few operations is minimised in microseconds: its bound is only for a machine so
/// busy that the thread does not run for longer than the one above.
const SMALL: usize = 64;
const SMALL_SECONDS: f64 = 5.0;

/// Judge partitions, the largest first, on some threads; each result is sent to `results` at once.
pub fn judge_all(job: &Job, history: &History, threads: usize, results: &Sender<(usize, Judged)>) {
    let mut order: Vec<usize> = (0..history.parts.len()).collect();
    order.sort_by_key(|&p| std::cmp::Reverse(history.parts[p].ops.len()));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut scratch = Scratch::default();
        loop {
            let place = next.fetch_add(1, Relaxed);
            let Some(&part) = order.get(place) else { break };
            let judged = judge(job, &history.parts[part].ops, &mut scratch);
            if results.send((part, judged)).is_err() {
                break;
            }
        }
        job.limits.give_thread();
    };
    for _ in order.len()..threads {
        job.limits.give_thread();
    }
    std::thread::scope(|scope| {
        for _ in 1..threads.min(order.len()) {
            scope.spawn(work);
        }
        work();
    });
}

/// Judge one partition.
pub fn judge(job: &Job, ops: &[Op], scratch: &mut Scratch) -> Judged {
    let happened = ops.iter().filter(|op| op.outcome != Outcome::Failed).count();
    let mut judged = Judged {
        outcome: "valid",
        method: "zones",
        judged: happened,
        operations: happened,
        reason: None,
        evidence: None,
        order: Vec::new(),
    };
    if let Err(stop) = job.limits.check() {
        return unknown(judged, stop, 0);
    }
    if job.kind.is_register() && !job.plain {
        match zones(ops, job.initial, job.values, scratch) {
            Zoned::Valid(order) if certified(job, ops, &order) => {
                return valid(job, judged, ops, &order);
            }
            Zoned::Invalid(part) => return invalid(job, judged, ops, part, None),
            _ => {}
        }
    }
    let kept: Vec<u32> = (0..ops.len() as u32)
        .filter(|&i| {
            let op = &ops[i as usize];
            op.outcome != Outcome::Failed && !(op.outcome == Outcome::Info && job.kind.is_read(op))
        })
        .collect();
    let part = constraining(job.kind, ops);
    let monitored = if job.plain { None } else { monitor(job, &part) };
    if let Some((method, Zoned::Valid(order))) = &monitored {
        if certified(job, &part, order) {
            judged.method = method;
            return valid(job, judged, &part, order);
        }
    }
    if let Some((method, Zoned::Invalid(bad))) = monitored {
        judged.method = method;
        let bad: Vec<u32> = bad.into_iter().map(|i| kept[i as usize]).collect();
        return match method {
            "log" => invalid_list(job, judged, ops, &bad),
            _ => invalid(job, judged, ops, bad, None),
        };
    }
    if let Some(order) = hinted(job, &part) {
        judged.method = "hint";
        return valid(job, judged, &part, &order);
    }
    judged.method = "search";
    let by_element = if job.kind == Kind::Set && !job.plain {
        monitors::set_by_element(&part, job.initial, job.values, job.limits)
    } else {
        None
    };
    if by_element.is_some() {
        judged.method = "elements";
    }
    let found = by_element.unwrap_or_else(|| {
        let mut machine = Machine::new(job.kind, job.values);
        search(&mut machine, job.initial, &part, job.limits)
    });
    match found {
        Found::Valid(order) => {
            let endless = Limits::new(None, None);
            let holds = holds(job, &part, &order, &endless);
            assert!(holds, "the search found an order that does not hold");
            valid(job, judged, &part, &order)
        }
        Found::Invalid { failed, through } => {
            let until = part[failed as usize].ret;
            let all = kept;
            judged.judged = part.iter().filter(|op| op.ret < until).count();
            invalid(job, judged, ops, all, Some((until, through)))
        }
        Found::Unknown { stop, judged: done } => unknown(judged, stop, done),
    }
}

/// The monitor for a model, other than the registers' zones.
fn monitor(job: &Job, part: &[Op]) -> Option<(&'static str, Zoned)> {
    match job.kind {
        kind if are_lists(kind, part) => Some(("log", lists(kind, part, job.initial, job.values))),
        Kind::Set if part.iter().any(|op| op.f == F::Read) => {
            Some(("growing-set", monitors::growing_set(part, job.initial, job.values)))
        }
        Kind::Queue => Some(("queue", queue(part, job.initial, job.values))),
        Kind::Stack => Some(("stack", stack(part, job.initial, job.values))),
        _ => None,
    }
}

/// The order that the system itself reported (a log's slots, revisions), if it covers every
/// completed operation and the object could have answered so. It is only a first guess: an order
/// that the verifier rejects is left to the search.
fn hinted(job: &Job, ops: &[Op]) -> Option<Vec<u32>> {
    if job.orders.is_empty() || job.plain {
        return None;
    }
    let mut places = Vec::with_capacity(ops.len());
    for (i, op) in ops.iter().enumerate() {
        match job.orders.get(&op.call) {
            Some(&place) => places.push((place, job.kind.is_read(op), op.call, i as u32)),
            None if op.outcome == Outcome::Info => {}
            None => return None,
        }
    }
    places.sort_unstable();
    let order: Vec<u32> = places.into_iter().map(|place| place.3).collect();
    certified(job, ops, &order).then_some(order)
}

fn certified(job: &Job, ops: &[Op], order: &[u32]) -> bool {
    holds(job, ops, order, job.limits)
}

fn holds(job: &Job, ops: &[Op], order: &[u32], limits: &Limits) -> bool {
    let mut machine = Machine::new(job.kind, job.values);
    verify(&mut machine, job.initial, ops, order, limits).is_ok()
}

fn valid(job: &Job, mut judged: Judged, ops: &[Op], order: &[u32]) -> Judged {
    if job.keep_order {
        judged.order = order.iter().map(|&i| ops[i as usize].call).collect();
    }
    judged
}

fn unknown(mut judged: Judged, stop: Stop, done: usize) -> Judged {
    judged.outcome = "unknown";
    judged.reason = Some(stop.reason());
    judged.judged = done;
    judged
}

fn invalid(
    job: &Job,
    mut judged: Judged,
    ops: &[Op],
    part: Vec<u32>,
    until: Option<(u32, Option<Id>)>,
) -> Judged {
    judged.outcome = "invalid";
    let last = |o: &[u32]| {
        let ends = o.iter().map(|&i| ops[i as usize].ret);
        ends.filter(|&r| r != crate::history::NEVER).max().unwrap_or(0)
    };
    let (until, through) = until.unwrap_or_else(|| (last(&part), None));
    let seconds = if part.len() <= SMALL { SMALL_SECONDS } else { MINIMISE_SECONDS };
    let limits = job.evidence.within(seconds);
    let mut minimiser = Minimiser::new(job.kind, job.values, job.initial, ops, limits);
    (minimiser.until, minimiser.through) = (until, through);
    let Part { ops: part, minimal } = minimiser.run(&part);
    let until = minimiser.until;
    let span = |&i: &u32| (ops[i as usize].call, ops[i as usize].ret);
    judged.evidence = Some(Evidence {
        operations: part.iter().map(span).collect(),
        minimal,
        context: context(job.values, ops, &part, CONTEXT_MAX).iter().map(span).collect(),
        until,
    });
    judged
}

/// The few operations are the evidence, with everything else that was appended as their context:
/// the receiver cuts the lists down to the relevant elements.
fn invalid_list(job: &Job, mut judged: Judged, ops: &[Op], part: &[u32]) -> Judged {
    judged.outcome = "invalid";
    let span = |&i: &u32| (ops[i as usize].call, ops[i as usize].ret);
    let context = context(job.values, ops, part, usize::MAX);
    judged.evidence = Some(Evidence {
        operations: part.iter().map(span).collect(),
        minimal: true,
        context: context.iter().map(span).collect(),
        until: crate::history::NEVER,
    });
    judged
}

/// Operations that put an element into an object, or take it out.
const PUTS: [F; 5] = [F::Append, F::Add, F::Remove, F::Enqueue, F::Push];

const CONTEXT_MAX: usize = 200;

/// Writes of the values that the part is about, other than those in it; at most so many.
fn context(table: &Values, ops: &[Op], part: &[u32], most: usize) -> Vec<u32> {
    let mut values: FxHashSet<Id> = FxHashSet::default();
    for &i in part {
        let op = &ops[i as usize];
        values.extend([op.arg, op.new]);
        if op.seen {
            values.insert(op.res);
            if let crate::values::Value::List(items) = table.get(op.res) {
                values.extend(items.iter());
            }
        }
    }
    let has = part.iter().copied().collect::<FxHashSet<u32>>();
    (0..ops.len() as u32)
        .filter(|i| !has.contains(i))
        .filter(|&i| {
            let op = &ops[i as usize];
            let value = match op.outcome {
                Outcome::Failed if op.f == F::Cas => Some(op.new),
                Outcome::Failed => Some(op.arg),
                _ if PUTS.contains(&op.f) => Some(op.arg),
                _ => writes(op),
            };
            value.is_some_and(|v| values.contains(&v))
        })
        .take(most)
        .collect()
}
