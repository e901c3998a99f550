//! Random histories for the kernel's own tests: made by clients of a correct object, some with an
//! answer that is then changed.

use crate::history::{F, NEVER, Op, Outcome};
use crate::models::constraining;
use crate::models::{Kind, Machine};
use crate::values::{NULL, Values};

/// A small random number generator (xorshift): the same for the same seed on every machine.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as u32) % end
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}

pub struct Shape {
    pub operations: u32,
    pub clients: u32,
    pub values: u32,
    /// Percent of the operations that never return, and of the reads that are wrong.
    pub lost: u32,
    pub wrong: u32,
}

/// A history of a compare-and-set register that holds 1 to `values`, at first null.
pub fn register(draw: &mut Draw, shape: &Shape) -> Vec<Op> {
    let (mut ops, mut busy, mut state) = (Vec::new(), Vec::new(), NULL);
    let mut position = 0;
    while (ops.len() as u32) < shape.operations || !busy.is_empty() {
        let begun = ops.len() as u32;
        if begun < shape.operations && (busy.len() as u32) < shape.clients && draw.chance(50) {
            busy.push((ops.len(), false));
            ops.push(called(draw, shape, position));
            position += 1;
        } else if !busy.is_empty() {
            let place = draw.below(busy.len() as u32) as usize;
            let (i, applied): (usize, bool) = busy[place];
            let lost = ops[i].f != F::Read && draw.chance(shape.lost);
            let late = lost && draw.chance(50);
            if !applied && !late {
                busy[place].1 = true;
                apply(&mut ops[i], &mut state);
                continue;
            }
            busy.swap_remove(place);
            if lost {
                (ops[i].ret, ops[i].outcome) = (NEVER, Outcome::Info);
            } else {
                ops[i].ret = position;
                position += 1;
                if ops[i].f == F::Read && draw.chance(shape.wrong) {
                    ops[i].res = draw.below(shape.values + 1);
                }
            }
        }
    }
    constraining(Kind::CasRegister, &ops)
}

fn called(draw: &mut Draw, shape: &Shape, call: u32) -> Op {
    let f = [F::Read, F::Read, F::Write, F::Write, F::Cas][draw.below(5) as usize];
    let mut value = || 1 + draw.below(shape.values);
    let (arg, new) = match f {
        F::Read => (NULL, NULL),
        F::Write => (value(), NULL),
        _ => (value(), value()),
    };
    let outcome = Outcome::Ok;
    Op { call, ret: NEVER, arg, new, res: NULL, f, outcome, seen: f == F::Read, observed: false }
}

fn apply(op: &mut Op, state: &mut u32) {
    match op.f {
        F::Read => op.res = *state,
        F::Write => *state = op.arg,
        _ if op.arg == *state => *state = op.new,
        _ => (op.outcome, op.res, op.seen) = (Outcome::Mismatch, *state, op.call % 2 == 0),
    }
}

pub fn machine(values: &Values) -> Machine<'_> {
    Machine::new(Kind::CasRegister, values)
}
