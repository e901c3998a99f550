//! Near-linear monitors of sets, by element, and of growing sets. (Those of registers, lists, queues
//! and stacks are in files of their own.)
//!
//! Each decides only what it can decide exactly, and leaves the rest to the search.

use crate::history::{F, Op, Outcome};
use crate::memory::Limits;
use crate::models::{Kind, Machine};
use crate::search::{Found, search};
use crate::values::{Id, Value, Values};
use crate::zones::Zoned;
use rustc_hash::FxHashMap;

/// A group of operations that come before every later group.
pub type Group = Vec<u32>;

/// Whether the groups can be in this order: nothing in a later one returned before something in an
/// earlier one was called. Otherwise the two operations that forbid it.
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

fn elements(values: &Values, id: Id) -> Option<&[Id]> {
    match values.get(id) {
        Value::Set(items) => Some(items),
        _ => list(values, id),
    }
}

pub fn list(values: &Values, id: Id) -> Option<&[Id]> {
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
            F::Read => match elements(values, op.res) {
                Some(items) => reads.push((items.len(), i as u32)),
                None => return Zoned::Handover("a read of something else than a list"),
            },
            _ => return Zoned::Handover("elements that are removed, tested, or added again"),
        }
    }
    reads.sort_by_key(|&(size, _)| size);
    let mut groups: Vec<Group> = Vec::new();
    let mut there: rustc_hash::FxHashSet<Id> = Default::default();
    for (size, i) in reads {
        let items = elements(values, ops[i as usize].res).unwrap_or(&[]);
        let mut added = Vec::new();
        for &element in items.iter() {
            if there.insert(element) {
                match writer.remove(&element) {
                    Some(w) => added.push(w),
                    None => return Zoned::Handover("an element that nobody added"),
                }
            }
        }
        // As large as everything seen so far, so it holds all of it.
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

/// The rest, which no read saw, comes last; operations of unknown outcome are left out.
fn finish(ops: &[Op], mut groups: Vec<Group>, unseen: FxHashMap<Id, u32>) -> Zoned {
    let last = groups.last_mut().expect("there is a group for the rest");
    last.extend(unseen.into_values().filter(|&i| ops[i as usize].outcome == Outcome::Ok));
    last.sort_unstable();
    match in_order(ops, &groups) {
        Ok(()) => Zoned::Valid(groups.concat()),
        // The search finds the part that proves it: cut where the later of the two returned.
        Err(_) => Zoned::Handover("an order that time forbids"),
    }
}

/// A set whose elements are only added, removed and tested one by one: each is its own object.
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
                // Each takes effect as early as possible: as soon as the one before it has.
                let mut point = 0;
                for (place, o) in order.into_iter().enumerate() {
                    point = part[o as usize].call.max(point);
                    points.push((point, element, place, own[o as usize]));
                }
                judged += own.len();
            }
            Found::Invalid { failed, .. } => {
                let failed = own[failed as usize];
                let earlier =
                    first_failure.is_none_or(|f| ops[failed as usize].ret < ops[f as usize].ret);
                if earlier {
                    first_failure = Some(failed);
                }
            }
            Found::Unknown { stop, judged: more } => {
                return Some(match first_failure {
                    Some(failed) => Found::Invalid { failed, through: None },
                    None => Found::Unknown { stop, judged: judged + more },
                });
            }
        }
    }
    if let Some(failed) = first_failure {
        return Some(Found::Invalid { failed, through: None });
    }
    points.sort_unstable();
    Some(Found::Valid(points.into_iter().map(|p| p.3).collect()))
}
