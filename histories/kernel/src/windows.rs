//! Which operations of a register may be left out together without ever creating a failure: a write,
//! with all operations that may have seen the register while it held the write's value.
//!
//! Take any order of the whole. Every operation that observes the register has a *source* there: the
//! last write before it. Leave out a write and everything whose source it may be, and each remaining
//! operation still has its own source before it and no other write between them: the order is still
//! valid. Which operations may have a write as their source follows from real time: they returned
//! after the write was called, and were called before anything had ended that began after the write
//! and shows that its value was overwritten (another write, a read of another value).
//!
//! A compare-and-set without its source is left out, too, with everything that may have seen its
//! value; one of unknown outcome counts as a write from then on, which can replace it
//! (`Minimiser::relaxed`). Other operations of unknown outcome are never left out as a source.

use crate::history::{F, Op, Outcome};
use crate::minimise::writes;
use crate::values::Id;
use rustc_hash::FxHashMap;

pub struct Windows<'a> {
    ops: &'a [Op],
    /// What returns later is open.
    until: u32,
    /// All operations that returned, in the order of their calls.
    returned: Vec<u32>,
    /// Of the part: operations that see a value, and those that only exclude one.
    sees: FxHashMap<Id, Watchers>,
    blind: Watchers,
}

/// Operations in the order of their calls, and the latest return up to each of them.
#[derive(Default)]
struct Watchers(Vec<(u32, u32)>);

impl Watchers {
    fn push(&mut self, ops: &[Op], i: u32) {
        let latest = self.0.last().map_or(0, |&(_, latest)| latest);
        self.0.push((i, latest.max(ops[i as usize].ret)));
    }

    /// Those called before `end` that returned after `start`.
    fn between(&self, ops: &[Op], start: u32, end: u32) -> impl Iterator<Item = u32> {
        let last = self.0.partition_point(|&(i, _)| ops[i as usize].call < end);
        let before = self.0[..last].iter().rev();
        let near = before.take_while(move |&&(_, latest)| latest > start);
        near.map(|&(i, _)| i).filter(move |&i| ops[i as usize].ret > start)
    }
}

impl<'a> Windows<'a> {
    /// `part` are indices into `ops`; both are in the order of the calls.
    pub fn new(ops: &'a [Op], part: &[u32], until: u32) -> Windows<'a> {
        let happened = |i: &u32| happened(&ops[*i as usize], until);
        let mut windows = Windows {
            ops,
            until,
            returned: (0..ops.len() as u32).filter(happened).collect(),
            sees: FxHashMap::default(),
            blind: Watchers::default(),
        };
        windows.returned.sort_unstable_by_key(|&i| ops[i as usize].call);
        for &i in part.iter().filter(|i| happened(i)) {
            match saw(&ops[i as usize]) {
                Some(value) => windows.sees.entry(value).or_default().push(ops, i),
                None if ops[i as usize].outcome == Outcome::Mismatch => windows.blind.push(ops, i),
                None => {}
            }
        }
        windows
    }

    /// For each write of the part that returned: it, and what has to be left out with it.
    pub fn units(&self, part: &[u32]) -> Vec<Vec<u32>> {
        let is_write = |i: &&u32| {
            let op = &self.ops[**i as usize];
            happened(op, self.until) && writes(op).is_some()
        };
        part.iter().filter(is_write).map(|&i| self.unit(i)).collect()
    }

    fn unit(&self, write: u32) -> Vec<u32> {
        let mut unit = vec![write];
        let mut next = 0;
        while let Some(&i) = unit.get(next) {
            next += 1;
            let Some(value) = writes(&self.ops[i as usize]) else { continue };
            let (start, end) = (self.ops[i as usize].call, self.gone(i, value));
            let blind = self.blind.between(self.ops, start, end);
            let seeing = self.sees.get(&value).into_iter();
            let seeing = seeing.flat_map(|those| those.between(self.ops, start, end));
            for other in blind.chain(seeing).filter(|&other| other != i) {
                if !unit.contains(&other) {
                    unit.push(other);
                }
            }
        }
        unit
    }

    /// When this write's value has certainly been overwritten.
    fn gone(&self, write: u32, value: Id) -> u32 {
        let end = self.ops[write as usize].ret;
        let later = self.returned.partition_point(|&i| self.ops[i as usize].call < end);
        let mut gone = u32::MAX;
        for &i in &self.returned[later..] {
            let op = &self.ops[i as usize];
            if op.call > gone {
                break;
            }
            let expected_it = op.outcome == Outcome::Mismatch && op.arg == value;
            let other = saw(op).is_some_and(|seen| seen != value);
            if writes(op).is_some() || expected_it || other {
                gone = gone.min(op.ret);
            }
        }
        gone
    }
}

fn happened(op: &Op, until: u32) -> bool {
    matches!(op.outcome, Outcome::Ok | Outcome::Mismatch) && op.ret <= until
}

/// The value that an operation of a register saw, if it happened and shows one.
fn saw(op: &Op) -> Option<Id> {
    match (op.f, op.outcome) {
        (F::Cas, Outcome::Ok) => Some(op.arg),
        (F::Read | F::Cas, _) if op.seen => Some(op.res),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::NEVER;
    use crate::memory::Limits;
    use crate::minimise::Minimiser;
    use crate::models::Kind;
    use crate::search::{Found, search};
    use crate::testing::{Draw, Shape, machine, register};
    use crate::values::{NULL, Values};

    /// What is left out of a history that can be ordered leaves one that can be ordered.
    #[test]
    fn leaving_out_never_creates_a_failure() {
        let (values, limits, mut left_out) = (Values::new(), Limits::new(None, None), 0);
        for seed in 0..4000 {
            let draw = &mut Draw::new(seed);
            let shape = Shape { operations: 14, clients: 4, values: 3, lost: 15, wrong: 3 };
            let ops = register(draw, &shape);
            let found = search(&mut machine(&values), NULL, &ops, &limits);
            if !matches!(found, Found::Valid(_)) {
                continue;
            }
            let limits = Limits::new(None, None);
            let mut minimiser = Minimiser::new(Kind::CasRegister, &values, NULL, &ops, limits);
            let mut part: Vec<u32> = (0..ops.len() as u32).collect();
            part = minimiser.cut_at(NEVER - 1, &part);
            while !part.is_empty() {
                let mut units = Windows::new(&ops, &part, NEVER - 1).units(&part);
                units.extend(minimiser.readers(&part));
                units.extend(minimiser.classes(&part));
                let Some(at) = (units.len() as u32).checked_sub(1) else { break };
                let unit = units.swap_remove(draw.below(at + 1) as usize);
                part.retain(|i| !unit.contains(i));
                left_out += 1;
                assert!(minimiser.is_orderable(&part), "seed {seed}: {part:?}");
            }
        }
        assert!(left_out > 10_000);
    }
}
