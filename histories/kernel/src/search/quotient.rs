//! A register abstracted to one of its values: does it hold that one, or another?
//!
//! All other values are identified: any order that explains a history also explains the abstracted
//! one. Where no order explains that, none explains the history. It has two states only, so a search
//! of it stays small where that of the history does not: the used operations of unknown outcome are
//! no more than two numbers, since all that lead to the value (or away from it) do the same.

use crate::history::{F, Op, Outcome};
use crate::values::Id;

/// The numbers of the value, of all others, and of one that the register never holds.
const IT: Id = 1;
pub const OTHERS: Id = 2;
const NEITHER: Id = 3;

/// The abstracted operations that constrain `value`, and their indices.
pub fn seen_through(ops: &[Op], value: Id) -> (Vec<Op>, Vec<u32>) {
    let image = |(i, op): (usize, &Op)| Some((image(op, value)?, i as u32));
    ops.iter().enumerate().filter_map(image).unzip()
}

pub fn side(value: Id, of: Id) -> Id {
    if of == value { IT } else { OTHERS }
}

fn image(op: &Op, value: Id) -> Option<Op> {
    let read = |saw: Id| {
        let read = Op { f: F::Read, arg: 0, new: 0, res: saw, outcome: Outcome::Ok, ..*op };
        Some(Op { seen: true, observed: false, ..read })
    };
    let write = |wrote: Id| Op { f: F::Write, arg: wrote, new: 0, res: wrote, ..*op };
    let (from, to) = (side(value, op.arg), side(value, op.new));
    match (op.f, op.outcome) {
        (F::Read, _) => read(side(value, op.res)),
        (F::Write, _) => Some(write(from)),
        (_, Outcome::Mismatch) if op.seen && op.res == op.arg => read(NEITHER),
        (_, Outcome::Mismatch) if op.seen => read(side(value, op.res)),
        // It only shows that the register did not hold what it expected.
        (_, Outcome::Mismatch) => {
            if from == IT {
                read(OTHERS)
            } else {
                None
            }
        }
        (_, Outcome::Ok) if from == to => read(from),
        (_, Outcome::Ok) => Some(Op { arg: from, new: to, ..*op }),
        // It may lead from one side to the other, just as a write does.
        _ => (from != to).then(|| write(to)),
    }
}

/// The values that operations read or expect, beginning with that of `suspect`.
pub fn named_values(ops: &[Op], suspect: &Op) -> Vec<Id> {
    let named = |op: &Op| match (op.f, op.outcome) {
        (F::Read, _) => Some(op.res),
        (F::Cas, Outcome::Mismatch) if op.seen => Some(op.res),
        (F::Cas, _) => Some(op.arg),
        _ => None,
    };
    let mut values: Vec<Id> = ops.iter().filter_map(named).collect();
    values.sort_unstable();
    values.dedup();
    let first = named(suspect);
    values.sort_by_key(|&value| Some(value) != first);
    values
}
