//! The smallest failing part that is cheap to find. `explain.py` explains which operations may be
//! left out without ever creating a failure.

use crate::history::{F, NEVER, Op, Outcome};
use crate::memory::Limits;
use crate::models::{Kind, Machine};
use crate::search::{Found, search, search_through};
use crate::values::{Id, NULL, Values};
use crate::windows::Windows;
use rustc_hash::{FxHashMap, FxHashSet};

/// A part of a partition: indices into it, in order.
pub struct Part {
    pub ops: Vec<u32>,
    /// None of them can be left out.
    pub minimal: bool,
}

pub struct Minimiser<'a> {
    kind: Kind,
    values: &'a Values,
    initial: Id,
    ops: &'a [Op],
    /// The point at which it failed: nothing called later matters, what returns later is open.
    pub until: u32,
    /// A value whose abstraction is likely to show that a part fails.
    pub through: Option<Id>,
    limits: Limits,
    /// How many operations called until the failure write each value.
    sources: FxHashMap<Id, usize>,
    /// When each value was first written.
    first: FxHashMap<Id, u32>,
    /// Whether a part must contain a write of every value read: where the whole does.
    keeps_sources: bool,
}

impl<'a> Minimiser<'a> {
    pub fn new(
        kind: Kind,
        values: &'a Values,
        initial: Id,
        ops: &'a [Op],
        limits: Limits,
    ) -> Minimiser<'a> {
        let (sources, first) = (FxHashMap::default(), FxHashMap::default());
        let until = NEVER - 1;
        let (through, keeps_sources) = (None, false);
        Minimiser {
            kind,
            values,
            initial,
            ops,
            until,
            through,
            limits,
            sources,
            first,
            keeps_sources,
        }
    }

    /// The smallest part of `part` (indices) that still fails; larger where the time is up.
    pub fn run(&mut self, whole: &[u32]) -> Part {
        let certain = self.until;
        let mut part = self.cut_at(certain, whole);
        self.keeps_sources = self.shows_sources(&self.relaxed(&part));
        if !self.fails(&part) {
            part = self.later(whole);
        }
        if self.limits.check().is_err() {
            // Where it fails is certain except for strings, whose failures are detected in advance.
            let until = if self.kind == Kind::StringMap { NEVER - 1 } else { certain };
            return Part { ops: self.cut_at(until, whole), minimal: false };
        }
        if !self.fails(&part) {
            return Part { ops: part, minimal: false };
        }
        let mut minimal = true;
        let steps = [Self::windows, Self::readers, Self::classes, Self::windows, Self::readers];
        for units in steps {
            let units = units(self, &part);
            minimal &= self.shrink(&mut part, units);
        }
        Part { ops: part, minimal }
    }

    /// The part where it does not fail yet at that point, because the failure depends on what open
    /// operations returned later. It is cut at the first return at which it fails.
    fn later(&mut self, whole: &[u32]) -> Vec<u32> {
        let mut ends: Vec<u32> = whole.iter().map(|&i| self.ops[i as usize].ret).collect();
        ends.retain(|&end| end > self.until && end != NEVER);
        ends.sort_unstable();
        self.through = None;
        let first = ends.partition_point(|&end| {
            let part = self.cut_at(end, whole);
            self.limits.check().is_ok() && !self.fails(&part)
        });
        self.cut_at(ends.get(first).copied().unwrap_or(NEVER - 1), whole)
    }

    /// The operations that constrain anything until then.
    pub fn cut_at(&mut self, until: u32, whole: &[u32]) -> Vec<u32> {
        self.until = until;
        self.sources.clear();
        let before = self.ops.iter().filter(|op| op.call < until && !keeps(op));
        for (value, op) in before.filter_map(|op| Some((writes(op)?, op))) {
            *self.sources.entry(value).or_default() += 1;
            self.first.entry(value).or_insert(op.call);
        }
        self.constraining(whole)
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

    /// Whether the part fails by itself, and contains the reason.
    fn fails(&mut self, part: &[u32]) -> bool {
        let ops = self.relaxed(part);
        if self.keeps_sources && !self.shows_sources(&ops) {
            return false;
        }
        if let Some(value) = self.through {
            if search_through(self.kind, self.initial, &ops, value, &self.limits).is_some() {
                return true;
            }
        }
        let mut machine = Machine::new(self.kind, self.values);
        match search(&mut machine, self.initial, &ops, &self.limits) {
            Found::Invalid { through, .. } => {
                self.through = through.or(self.through);
                true
            }
            _ => false,
        }
    }

    #[cfg(test)]
    pub fn is_orderable(&self, part: &[u32]) -> bool {
        let mut machine = Machine::new(self.kind, self.values);
        let found = search(&mut machine, self.initial, &self.relaxed(part), &self.limits);
        matches!(found, Found::Valid(_))
    }

    /// Whether there is still a write of everything that was read, where there had been one:
    /// without any, the part still fails, but a reader cannot see why.
    fn shows_sources(&self, ops: &[Op]) -> bool {
        if !self.kind.is_register() {
            return true;
        }
        let mut first: FxHashMap<Id, u32> = FxHashMap::default();
        for op in ops.iter().filter(|op| !keeps(op)) {
            if let Some(value) = writes(op) {
                first.entry(value).or_insert(op.call);
            }
        }
        let called = |first: &FxHashMap<Id, u32>, op: &Op| {
            first.get(&op.res).is_some_and(|&call| call < op.ret)
        };
        let reads = ops.iter().filter(|op| op.seen && self.kind.is_read(op));
        let contradicts = |op: &Op| op.outcome == Outcome::Mismatch && op.res == op.arg;
        let mut reads = reads.filter(|op| op.res != self.initial && !contradicts(op));
        reads.all(|op| called(&first, op) || !called(&self.first, op))
    }

    /// The part as a history of its own: cut at the failure, and a cas whose value had a source that
    /// is left out has become a write. (One of unknown outcome, which may have had any source, as soon
    /// as one of them is left out; one that succeeded stays only together with its own.)
    fn relaxed(&self, part: &[u32]) -> Vec<Op> {
        let mut written: FxHashMap<Id, usize> = FxHashMap::default();
        let ops = part.iter().map(|&i| &self.ops[i as usize]);
        for value in ops.filter(|op| !keeps(op)).filter_map(writes) {
            *written.entry(value).or_default() += 1;
        }
        let sources = |value: Id| self.sources.get(&value).copied().unwrap_or(0);
        let relax = |&i: &u32| {
            let mut op = self.ops[i as usize];
            if op.ret > self.until {
                (op.ret, op.outcome, op.seen) = (NEVER, Outcome::Info, false);
            }
            let there = written.get(&op.arg).copied().unwrap_or(0);
            let lost = match (op.f, op.outcome) {
                (F::Cas, Outcome::Info) => there < sources(op.arg),
                (F::Cas, Outcome::Ok) => {
                    there == 0 && op.arg != self.initial && sources(op.arg) > 0
                }
                _ => false,
            };
            if lost {
                (op.f, op.arg, op.new) = (F::Write, op.new, NULL);
            }
            op
        };
        part.iter().map(relax).collect()
    }

    /// Delta debugging over units that are kept or removed together; false when the time is up.
    fn shrink(&mut self, part: &mut Vec<u32>, mut units: Vec<Vec<u32>>) -> bool {
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

    /// For registers: a write, and all operations that may have seen its value.
    fn windows(&self, part: &[u32]) -> Vec<Vec<u32>> {
        let appends = || part.iter().any(|&i| self.ops[i as usize].f == F::Append);
        if !self.kind.is_register() || appends() {
            return Vec::new();
        }
        Windows::new(self.ops, part, self.until).units(part)
    }

    pub fn readers(&self, part: &[u32]) -> Vec<Vec<u32>> {
        let is_read = |i: &&u32| self.kind.is_read(&self.ops[**i as usize]);
        part.iter().filter(is_read).map(|&i| vec![i]).collect()
    }

    /// Operations that may be left out together, by the value they are about.
    pub fn classes(&self, part: &[u32]) -> Vec<Vec<u32>> {
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

/// Whether a cas writes the value that it found: then it is not a source of a value.
fn keeps(op: &Op) -> bool {
    op.f == F::Cas && op.arg == op.new
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
