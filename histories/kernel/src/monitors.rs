//! Near-linear monitors beside the registers': sets by element, growing sets, logs, and queues.
//!
//! Each answers only what it can answer exactly, and leaves the rest to the search.

use crate::history::{F, NEVER, Op, Outcome};
use crate::memory::Limits;
use crate::models::{Kind, Machine};
use crate::search::{Found, search};
use crate::values::{Id, Value, Values};
use crate::zones::Zoned;
use rustc_hash::FxHashMap;

/// A group of operations that stand before every later group.
pub type Group = Vec<u32>;

/// Whether the groups can stand in this order: nothing in a later one returned before something in
/// an earlier one was called. The two operations that forbid it, else.
pub fn in_order(ops: &[Op], groups: &[Group]) -> Result<(), [u32; 2]> {
    let mut latest: Option<u32> = None;
    for group in groups {
        for &i in group {
            if let Some(l) = latest {
                if ops[i as usize].ret < ops[l as usize].call {
                    return Err([l, i]);
                }
            }
        }
        for &i in group {
            if latest.is_none_or(|l| ops[l as usize].call < ops[i as usize].call) {
                latest = Some(i);
            }
        }
    }
    Ok(())
}

pub fn list<'v>(values: &'v Values, id: Id) -> Option<&'v [Id]> {
    match values.get(id) {
        Value::List(items) => Some(items),
        Value::Null => Some(&[]),
        _ => None,
    }
}

/// Adds and reads of the whole, no removals: the set grows, so reads by size give the order.
pub fn growing_set(ops: &[Op], initial: Id, values: &Values) -> Zoned {
    if list(values, initial).is_none_or(|items| !items.is_empty()) {
        return Zoned::Handover("the set is not empty at first");
    }
    let mut writer: FxHashMap<Id, u32> = FxHashMap::default();
    let mut reads: Vec<(usize, u32)> = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        match op.f {
            F::Add if writer.insert(op.arg, i as u32).is_none() => {}
            F::Read => reads.push((list(values, op.res).map_or(0, <[Id]>::len), i as u32)),
            _ => return Zoned::Handover("elements that are removed, asked for, or added again"),
        }
    }
    reads.sort_by_key(|&(size, _)| size);
    let mut groups: Vec<Group> = Vec::new();
    let mut there: rustc_hash::FxHashSet<Id> = Default::default();
    for (size, i) in reads {
        let items = list(values, ops[i as usize].res).unwrap_or(&[]);
        let mut added = Vec::new();
        for &element in items.iter() {
            if there.insert(element) {
                match writer.remove(&element) {
                    Some(w) => added.push(w),
                    None => return Zoned::Handover("an element that nobody added"),
                }
            }
        }
        // As large as all that was seen so far, so it holds all of it.
        if there.len() != size {
            return Zoned::Handover("two reads do not agree");
        }
        if !added.is_empty() || groups.is_empty() {
            added.sort_unstable();
            groups.push(added);
            groups.push(Vec::new());
        }
        groups.last_mut().expect("just pushed").push(i);
    }
    groups.push(Vec::new());
    finish(ops, groups, writer)
}

/// The rest, which no read saw, comes last; what may not have happened is left out.
fn finish(ops: &[Op], mut groups: Vec<Group>, unseen: FxHashMap<Id, u32>) -> Zoned {
    let last = groups.last_mut().expect("there is a group for the rest");
    last.extend(unseen.into_values().filter(|&i| ops[i as usize].outcome == Outcome::Ok));
    last.sort_unstable();
    match in_order(ops, &groups) {
        Ok(()) => Zoned::Valid(groups.concat()),
        // The search finds the part that shows it: cut where the later of the two returned.
        Err(_) => Zoned::Handover("an order that time forbids"),
    }
}

/// A set whose elements are only added, removed and asked for one by one: each is its own object.
pub fn set_by_element(ops: &[Op], initial: Id, values: &Values, limits: &Limits) -> Option<Found> {
    if ops.iter().any(|op| op.f == F::Read) {
        return None;
    }
    let mut elements: FxHashMap<Id, Vec<u32>> = FxHashMap::default();
    for (i, op) in ops.iter().enumerate() {
        elements.entry(op.arg).or_default().push(i as u32);
    }
    let mut elements: Vec<Vec<u32>> = elements.into_values().collect();
    elements.sort_unstable_by_key(|own| own[0]);
    let mut points: Vec<(u32, usize, usize, u32)> = Vec::with_capacity(ops.len());
    let mut judged = 0;
    let mut first_failure: Option<u32> = None;
    let mut machine = Machine::new(Kind::Set, values);
    for (element, own) in elements.iter().enumerate() {
        let part: Vec<Op> = own.iter().map(|&i| ops[i as usize]).collect();
        match search(&mut machine, initial, &part, limits) {
            Found::Valid(order) => {
                // Each takes effect as soon as it can: as soon as the one before it has.
                let mut point = 0;
                for (place, o) in order.into_iter().enumerate() {
                    point = part[o as usize].call.max(point);
                    points.push((point, element, place, own[o as usize]));
                }
                judged += own.len();
            }
            Found::Invalid { failed } => {
                let failed = own[failed as usize];
                let earlier =
                    first_failure.is_none_or(|f| ops[failed as usize].ret < ops[f as usize].ret);
                if earlier {
                    first_failure = Some(failed);
                }
            }
            Found::Unknown { stop, judged: more } => {
                return Some(match first_failure {
                    Some(failed) => Found::Invalid { failed },
                    None => Found::Unknown { stop, judged: judged + more },
                });
            }
        }
    }
    if let Some(failed) = first_failure {
        return Some(Found::Invalid { failed });
    }
    points.sort_unstable();
    Some(Found::Valid(points.into_iter().map(|p| p.3).collect()))
}

struct Element {
    put: u32,
    take: u32,
}

const NONE: u32 = u32::MAX;

/// A queue whose elements are all different (Henzinger, Sezgin and Vafeiadis 2013): x before y where
/// x was put before y was, or taken before. If that orders the elements, the two sequences of puts and
/// takes are merged as time allows. Whatever does not work out goes to the search.
pub fn queue(ops: &[Op], initial: Id, values: &Values) -> Zoned {
    if list(values, initial).is_none_or(|items| !items.is_empty()) {
        return Zoned::Handover("the queue is not empty at first");
    }
    let mut elements: Vec<Element> = Vec::new();
    let mut of: FxHashMap<Id, usize> = FxHashMap::default();
    let mut empties: Vec<u32> = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        if op.f == F::Enqueue {
            if of.insert(op.arg, elements.len()).is_some() {
                return Zoned::Handover("an element was put in twice");
            }
            elements.push(Element { put: i as u32, take: NONE });
        }
    }
    for (i, op) in ops.iter().enumerate() {
        if op.f != F::Dequeue || op.outcome == Outcome::Info {
            continue;
        }
        if op.res == crate::values::NULL {
            empties.push(i as u32);
            continue;
        }
        match of.get(&op.res) {
            Some(&e) if elements[e].take == NONE => elements[e].take = i as u32,
            Some(&e) => return Zoned::Invalid(vec![elements[e].put, elements[e].take, i as u32]),
            None => return Zoned::Invalid(vec![i as u32]),
        }
    }
    elements.retain(|e| e.take != NONE || ops[e.put as usize].outcome == Outcome::Ok);
    let Some(sorted) = sort_elements(ops, &elements) else {
        return Zoned::Handover("elements were not taken in the order in which they were put");
    };
    match merge(ops, &elements, &sorted, &empties) {
        Some(order) => Zoned::Valid(order),
        None => Zoned::Handover("puts and takes cannot be merged greedily"),
    }
}

/// The elements in an order that both puts and takes allow.
fn sort_elements(ops: &[Op], elements: &[Element]) -> Option<Vec<usize>> {
    let put = |e: usize| &ops[elements[e].put as usize];
    let take = |e: usize| match elements[e].take {
        NONE => (NEVER, NEVER),
        i => (ops[i as usize].call, ops[i as usize].ret),
    };
    let by = |key: &dyn Fn(usize) -> u32| {
        let mut all: Vec<usize> = (0..elements.len()).collect();
        all.sort_by_key(|&e| key(e));
        all
    };
    let (put_calls, put_ends) = (by(&|e| put(e).call), by(&|e| put(e).ret));
    let (take_calls, take_ends) = (by(&|e| take(e).0), by(&|e| take(e).1));
    let mut gone = vec![false; elements.len()];
    let mut ready = vec![0_u8; elements.len()];
    let mut sorted = Vec::with_capacity(elements.len());
    let (mut pc, mut pe, mut tc, mut te) = (0, 0, 0, 0);
    let mut found: Vec<usize> = Vec::new();
    while sorted.len() < elements.len() {
        while pe < put_ends.len() && gone[put_ends[pe]] {
            pe += 1;
        }
        while te < take_ends.len() && gone[take_ends[te]] {
            te += 1;
        }
        let (put_end, take_end) = (put(put_ends[pe]).ret, take(take_ends[te]).1);
        while pc < put_calls.len() && put(put_calls[pc]).call <= put_end {
            ready[put_calls[pc]] += 1;
            if ready[put_calls[pc]] == 2 {
                found.push(put_calls[pc]);
            }
            pc += 1;
        }
        while tc < take_calls.len() && take(take_calls[tc]).0 <= take_end {
            ready[take_calls[tc]] += 1;
            if ready[take_calls[tc]] == 2 {
                found.push(take_calls[tc]);
            }
            tc += 1;
        }
        let next = found.pop()?;
        gone[next] = true;
        sorted.push(next);
    }
    Some(sorted)
}

/// Merge puts, takes and the takes that found nothing: take as soon as possible, put when the time
/// has come, and look for the empty moments on the way.
fn merge(ops: &[Op], elements: &[Element], sorted: &[usize], empties: &[u32]) -> Option<Vec<u32>> {
    let puts: Vec<u32> = sorted.iter().map(|&e| elements[e].put).collect();
    let takes: Vec<u32> = sorted.iter().map(|&e| elements[e].take).filter(|&i| i != NONE).collect();
    let ends = |list: &[u32]| {
        let mut ends = vec![NEVER; list.len() + 1];
        for (place, &i) in list.iter().enumerate().rev() {
            ends[place] = ends[place + 1].min(ops[i as usize].ret);
        }
        ends
    };
    let (put_ends, take_ends, empty_ends) = (ends(&puts), ends(&takes), ends(empties));
    let (mut p, mut t, mut e) = (0, 0, 0);
    let mut order = Vec::with_capacity(puts.len() + takes.len() + empties.len());
    while p < puts.len() || t < takes.len() || e < empties.len() {
        let first_end = put_ends[p].min(take_ends[t]).min(empty_ends[e]);
        let may = |list: &[u32], at: usize| {
            list.get(at).is_some_and(|&i| ops[i as usize].call < first_end)
        };
        if p == t && may(empties, e) {
            order.push(empties[e]);
            e += 1;
        } else if t < p && may(&takes, t) {
            order.push(takes[t]);
            t += 1;
        } else if may(&puts, p) {
            order.push(puts[p]);
            p += 1;
        } else {
            return None;
        }
    }
    Some(order)
}
