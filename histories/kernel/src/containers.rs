//! What the monitors of queues and stacks share. Elements are all different, so that every take
//! identifies its put.
//!
//! An element is *certainly present* from the return of its put until the call of its take. A take
//! that found nothing needs a point in time at which no element is certainly present; and if there is
//! one, that suffices. For let the container hold elements at such a point t, in some valid order:
//! each of them either was not certainly present yet, then move its put to just after t, or not any
//! more, then move its take to just before t, all in their order. On either side of t the old order,
//! cut off at t, is left: a stack's intervals are still nested or disjoint, a queue's elements still
//! come out in the order in which they went in.
//!
//! A take whose outcome is unknown may have taken anything. It is needed only by an element that must
//! be gone at some point although it has no take; each such element is assigned one that was called
//! before that point. If that succeeds there is an order, which the verifier replays; if not, the
//! search has to decide.

use crate::history::{F, NEVER, Op, Outcome};
use crate::values::{Id, NULL, Value, Values};
use crate::zones::Zoned;
use rustc_hash::FxHashMap;

pub const NONE: u32 = u32::MAX;

/// The call of the take of an element that has none: after everything.
pub const END: u32 = NEVER - 1;

/// One element: the operations that put and took it (or NONE), from call to return.
#[derive(Clone, Copy)]
pub struct Stay {
    pub put: u32,
    pub take: u32,
    pub put_call: u32,
    pub put_ret: u32,
    pub take_call: u32,
    pub take_ret: u32,
}

impl Stay {
    /// Whether it is certainly present at some point; otherwise its put and take overlap.
    pub fn is_sure(&self) -> bool {
        self.put_ret < self.take_call
    }
}

pub struct Contents {
    pub stays: Vec<Stay>,
    /// Takes that found nothing.
    pub empties: Vec<u32>,
    /// Takes of unknown outcome.
    pub doubtful: Vec<u32>,
}

/// The operations of each element, where that is unambiguous and possible.
pub fn contents(ops: &[Op], initial: Id, values: &Values) -> Result<Contents, Zoned> {
    let is_empty = match values.get(initial) {
        Value::List(items) => items.is_empty(),
        other => *other == Value::Null,
    };
    if !is_empty {
        return Err(Zoned::Handover("it is not empty at first"));
    }
    if ops.iter().any(|op| op.f == F::Drain) {
        return Err(Zoned::Handover("a drain takes many elements"));
    }
    let mut found = Contents { stays: Vec::new(), empties: Vec::new(), doubtful: Vec::new() };
    let mut place_of: FxHashMap<Id, u32> = FxHashMap::default();
    for (i, op) in ops.iter().enumerate() {
        if matches!(op.f, F::Enqueue | F::Push) {
            let place = found.stays.len() as u32;
            if op.arg == NULL || place_of.insert(op.arg, place).is_some() {
                return Err(Zoned::Handover("an element was put in twice, or is null"));
            }
            found.stays.push(Stay {
                put: i as u32,
                take: NONE,
                put_call: op.call,
                put_ret: op.ret,
                take_call: END,
                take_ret: NEVER,
            });
        }
    }
    for (i, op) in ops.iter().enumerate() {
        let i = i as u32;
        match op.f {
            F::Enqueue | F::Push => {}
            _ if op.outcome == Outcome::Info => found.doubtful.push(i),
            _ if op.res == NULL => found.empties.push(i),
            _ => take(&mut found.stays, place_of.get(&op.res), i, op)?,
        }
    }
    let happened = |stay: &Stay| stay.take != NONE || stay.put_ret != NEVER;
    found.stays.retain(happened);
    Ok(found)
}

fn take(stays: &mut [Stay], place: Option<&u32>, i: u32, op: &Op) -> Result<(), Zoned> {
    let Some(&place) = place else { return Err(Zoned::Invalid(vec![i])) };
    let stay = &mut stays[place as usize];
    if stay.take != NONE {
        return Err(Zoned::Invalid(vec![stay.put, stay.take, i]));
    }
    if op.ret < stay.put_call {
        return Err(Zoned::Invalid(vec![stay.put, i]));
    }
    (stay.take, stay.take_call, stay.take_ret) = (i, op.call, op.ret);
    Ok(())
}

/// The stays that are certain, in the order of their beginnings.
pub fn sure(stays: &[Stay]) -> Vec<Stay> {
    let mut found: Vec<Stay> = stays.iter().filter(|stay| stay.is_sure()).copied().collect();
    found.sort_unstable_by_key(|stay| stay.put_ret);
    found
}

/// Assign every take that found nothing to a point at which nothing is certainly present: (twice
/// that point, the take). Or one for which there is none, with the stays that cover it. `sure` is
/// in the order of beginnings.
pub fn place_empties(
    ops: &[Op],
    sure: &[Stay],
    empties: &[u32],
) -> Result<Vec<(u64, u32)>, Vec<u32>> {
    let mut busy: Vec<(u32, u32)> = Vec::new();
    for stay in sure {
        match busy.last_mut() {
            Some((_, end)) if stay.put_ret < *end => *end = stay.take_call.max(*end),
            _ => busy.push((stay.put_ret, stay.take_call)),
        }
    }
    let mut placed = Vec::with_capacity(empties.len());
    for &i in empties {
        let op = &ops[i as usize];
        let before = busy.partition_point(|&(start, _)| start < op.call);
        let end = if before == 0 { 0 } else { busy[before - 1].1 };
        if end > op.ret {
            let mut part = operations(&chain(sure, op.call, op.ret));
            part.push(i);
            return Err(part);
        }
        placed.push((2 * u64::from(end.max(op.call)) + 1, i));
    }
    Ok(placed)
}

/// The fewest certain stays that together cover everything between two points. `sure` is in the
/// order of beginnings, and covers it.
pub fn chain(sure: &[Stay], from: u32, to: u32) -> Vec<Stay> {
    let mut found: Vec<Stay> = Vec::new();
    let (mut reached, mut next) = (from, 0);
    while reached < to && next < sure.len() {
        let mut best: Option<Stay> = None;
        while next < sure.len() && sure[next].put_ret <= reached {
            if best.is_none_or(|b| b.take_call < sure[next].take_call) {
                best = Some(sure[next]);
            }
            next += 1;
        }
        let Some(best) = best.filter(|b| b.take_call > reached) else { break };
        reached = best.take_call;
        found.push(best);
    }
    found
}

/// The operations of some stays, as a part that cannot be ordered.
pub fn operations(stays: &[Stay]) -> Vec<u32> {
    stays.iter().flat_map(|stay| [stay.put, stay.take]).filter(|&i| i != NONE).collect()
}

/// Assign takes of unknown outcome to elements that have to be gone before some point: `deadlines`
/// are (point, index in `stays`). Whether there were enough of them, early enough.
pub fn assign(
    ops: &[Op],
    stays: &mut [Stay],
    mut deadlines: Vec<(u32, usize)>,
    doubtful: &[u32],
) -> bool {
    deadlines.sort_unstable();
    let mut takes = doubtful.iter(); // in the order of their calls
    for (moment, place) in deadlines {
        let Some(&i) = takes.next() else { return false };
        let call = ops[i as usize].call;
        if call > moment {
            return false;
        }
        (stays[place].take, stays[place].take_call) = (i, call);
    }
    true
}

/// For each point: the first return after it of a take that found nothing and was called after it.
pub fn emptied_after(ops: &[Op], empties: &[u32]) -> impl Fn(u32) -> u32 {
    let mut calls: Vec<(u32, u32)> =
        empties.iter().map(|&i| (ops[i as usize].call, ops[i as usize].ret)).collect();
    calls.sort_unstable();
    for at in (1..calls.len()).rev() {
        calls[at - 1].1 = calls[at - 1].1.min(calls[at].1);
    }
    move |moment| {
        let at = calls.partition_point(|&(call, _)| call < moment);
        calls.get(at).map_or(NEVER, |&(_, ret)| ret)
    }
}
