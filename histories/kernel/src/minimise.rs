//! The smallest failing part that is cheap to find. `explain.py` says which operations may be left out
//! without ever creating a failure, and why.

use crate::history::{F, NEVER, Op, Outcome};
use crate::memory::Limits;
use crate::models::{Kind, Machine};
use crate::search::{Found, search};
use crate::values::{Id, NULL, Values};
use rustc_hash::{FxHashMap, FxHashSet};

/// A part of a partition: indices into it, in order.
pub struct Part {
    pub ops: Vec<u32>,
    /// None of them can be left out.
    pub minimal: bool,
}

pub struct Minimiser<'a> {
    pub kind: Kind,
    pub values: &'a Values,
    pub initial: Id,
    pub ops: &'a [Op],
    /// The moment at which it failed: nothing called later matters, what returns later is open.
    pub until: u32,
    pub limits: Limits,
}

impl Minimiser<'_> {
    /// The smallest part of `part` (indices) that still fails; as it is where time is short.
    pub fn run(&mut self, whole: &[u32]) -> Part {
        let mut part = self.constraining(whole);
        if !self.fails(&part) {
            // What was open at that moment returned something later that this hangs on.
            self.until = NEVER - 1;
            part = self.constraining(whole);
        }
        if !self.fails(&part) {
            return Part { ops: part, minimal: false };
        }
        let mut minimal = true;
        for units in [Self::classes, Self::readers] {
            let units = units(self, &part);
            minimal &= self.shrink(&mut part, units);
        }
        Part { ops: part, minimal }
    }

    fn constraining(&self, part: &[u32]) -> Vec<u32> {
        let constrains = |&i: &u32| self.constrains(&self.ops[i as usize]);
        let mut kept: Vec<u32> = part.iter().copied().filter(constrains).collect();
        kept.sort_unstable(); // in the order of their calls
        kept
    }

    fn constrains(&self, op: &Op) -> bool {
        let unseen = op.outcome == Outcome::Info || op.ret > self.until;
        op.call < self.until && op.outcome != Outcome::Failed && !(unseen && self.kind.is_read(op))
    }

    fn fails(&self, part: &[u32]) -> bool {
        let ops = self.relaxed(part);
        let mut machine = Machine::new(self.kind, self.values);
        matches!(search(&mut machine, self.initial, &ops, &self.limits), Found::Invalid { .. })
    }

    /// The part as a history of its own: cut at the failure, and a cas whose value had a source that
    /// is left out has become a write.
    fn relaxed(&self, part: &[u32]) -> Vec<Op> {
        let written: FxHashSet<Id> =
            part.iter().filter_map(|&i| writes(&self.ops[i as usize])).collect();
        let relax = |&i: &u32| {
            let mut op = self.ops[i as usize];
            if op.ret > self.until {
                (op.ret, op.outcome, op.seen) = (NEVER, Outcome::Info, false);
            }
            let taking = op.f == F::Cas && op.outcome != Outcome::Mismatch;
            let had_source = taking && op.arg != self.initial && !written.contains(&op.arg);
            if had_source && self.has_source(op.arg) {
                (op.f, op.arg, op.new) = (F::Write, op.new, NULL);
            }
            op
        };
        part.iter().map(relax).collect()
    }

    fn has_source(&self, value: Id) -> bool {
        self.ops.iter().any(|op| writes(op) == Some(value))
    }

    /// Delta debugging over units that go or stay together; false when time ran out.
    fn shrink(&self, part: &mut Vec<u32>, mut units: Vec<Vec<u32>>) -> bool {
        let mut size = units.len().div_ceil(2).max(1);
        while !units.is_empty() {
            let (mut place, mut removed) = (0, false);
            while place < units.len() {
                if self.limits.check().is_err() {
                    return false;
                }
                let end = (place + size).min(units.len());
                let bite: FxHashSet<u32> = units[place..end].iter().flatten().copied().collect();
                let rest: Vec<u32> = part.iter().copied().filter(|i| !bite.contains(i)).collect();
                if self.fails(&rest) {
                    *part = rest;
                    units.drain(place..end);
                    removed = true;
                } else {
                    place = end;
                }
            }
            if size == 1 && !removed {
                break;
            }
            size = size.div_ceil(2).max(1);
        }
        true
    }

    fn readers(&self, part: &[u32]) -> Vec<Vec<u32>> {
        let is_read = |i: &&u32| self.kind.is_read(&self.ops[**i as usize]);
        part.iter().filter(is_read).map(|&i| vec![i]).collect()
    }

    /// Operations that may be left out together, by the value they are about.
    fn classes(&self, part: &[u32]) -> Vec<Vec<u32>> {
        let ops = || part.iter().map(|&i| (i, &self.ops[i as usize]));
        let mut classes: FxHashMap<Id, Vec<u32>> = FxHashMap::default();
        if self.kind.is_register() {
            let blind = ops().any(|(_, op)| op.outcome == Outcome::Mismatch && !op.seen);
            if blind || ops().any(|(_, op)| op.f == F::Append) {
                return Vec::new();
            }
            for (i, op) in ops() {
                classes.entry(writes(op).unwrap_or(op.res)).or_default().push(i);
            }
            classes.remove(&self.initial);
        } else if matches!(self.kind, Kind::Queue | Kind::Stack | Kind::Set) {
            let lost = |op: &Op| matches!(op.f, F::Dequeue | F::Pop) && op.ret > self.until;
            if ops().any(|(_, op)| matches!(op.f, F::Read | F::Drain) || lost(op)) {
                return Vec::new();
            }
            for (i, op) in ops() {
                let takes = matches!(op.f, F::Dequeue | F::Pop);
                classes.entry(if takes { op.res } else { op.arg }).or_default().push(i);
            }
            classes.remove(&NULL);
        }
        let mut units: Vec<Vec<u32>> = classes.into_values().collect();
        units.sort_unstable();
        units
    }
}

/// The value that an operation of a register may leave behind.
pub fn writes(op: &Op) -> Option<Id> {
    match (op.f, op.outcome) {
        (_, Outcome::Failed) => None,
        (F::Write | F::Put, _) => Some(op.arg),
        (F::Cas, Outcome::Ok | Outcome::Info) => Some(op.new),
        _ => None,
    }
}
