//! The search for an order, for what no monitor decides: just-in-time linearization (Lowe 2017, after
//! Wing and Gong 1993). `search.py` is the same idea, to be read first.
//!
//! What is possible is found best by following one promising order to its end; what is impossible, by
//! looking at all of them at once, level by level, so that few are left by domination. The
//! history does not say which it is. So the first is tried for some steps, then whether the history
//! fails already when it is seen through one value (`quotient.rs`), and then both in turns,
//! each time for twice as many steps: together they take at most about twice as long as the better of
//! the two, and the same steps on every machine.

mod asked;
mod engine;
mod plan;
mod quotient;
mod used;

use crate::history::{F, Op};
use crate::memory::{Limits, Stop};
use crate::models::{Kind, Machine};
use crate::values::Id;
use engine::{Ended, Engine, Order};
use plan::Plan;

pub enum Found {
    /// Indices of the operations in the order of their linearization points.
    Valid(Vec<u32>),
    /// The operation whose return no order explains.
    Invalid {
        failed: u32,
    },
    Unknown {
        stop: Stop,
        judged: usize,
    },
}

/// So many levels back is looked before one more operation of unknown outcome is used.
const LEVELS_PER_USE: u32 = 8;
/// So many values are looked through, each for so many steps an operation.
const VALUES_MAX: usize = 64;
const STEPS_PER_VALUE: u64 = 64;
const FIRST_STEPS: u64 = 4_096;
const FIRST_STEPS_PER_OPERATION: u64 = 16;

/// Judge `ops` (of one key, in the order of their calls, only such as constrain something).
pub fn search(machine: &mut Machine, initial: Id, ops: &[Op], limits: &Limits) -> Found {
    let plan = Plan::new(machine.kind, ops);
    let fresh = || Machine::new(machine.kind, machine.values);
    match plan.width {
        0..=64 => in_turns::<1>(&fresh, initial, &plan, limits),
        65..=128 => in_turns::<2>(&fresh, initial, &plan, limits),
        129..=512 => in_turns::<8>(&fresh, initial, &plan, limits),
        513..=2048 => in_turns::<32>(&fresh, initial, &plan, limits),
        _ => Found::Unknown { stop: Stop::Width, judged: 0 },
    }
}

fn in_turns<'v, const W: usize>(
    fresh: &dyn Fn() -> Machine<'v>,
    initial: Id,
    plan: &Plan,
    limits: &Limits,
) -> Found {
    let mut steps = FIRST_STEPS + FIRST_STEPS_PER_OPERATION * plan.ops.len() as u64;
    let best = Order::Best { levels_per_use: LEVELS_PER_USE };
    let mut first = Engine::<W>::new(fresh(), plan, initial, best);
    let ended = first.run(steps, limits);
    if !matches!(ended, Ended::Paused | Ended::Stopped(Stop::Memory)) {
        return found(ended, plan, first.deepest);
    }
    let level = first.deepest;
    let mut running = Vec::new();
    if matches!(ended, Ended::Paused) {
        running.push(first);
    } else {
        drop(first);
    }
    if let Some(failed) = through_values::<W>(initial, plan, level, limits) {
        return Found::Invalid { failed };
    }
    running.push(Engine::new(fresh(), plan, initial, Order::Breadth));
    loop {
        let ended = both(&mut running, steps, limits);
        let stopped = |ended: &Ended| matches!(ended, Ended::Paused | Ended::Stopped(_));
        if let Some(decided) = ended.iter().position(|ended| !stopped(ended)) {
            let ended = ended.into_iter().nth(decided).expect("it was just found");
            return found(ended, plan, level);
        }
        let stop = ended.iter().find_map(|ended| match ended {
            Ended::Stopped(stop) => Some(*stop),
            _ => None,
        });
        if let Some(stop) = stop {
            if stop != Stop::Memory || running.len() == 1 {
                let deepest = running.iter().map(|engine| engine.deepest).max().unwrap_or(0);
                return Found::Unknown { stop, judged: deepest.max(level) as usize };
            }
            // What the larger of the two holds is worth more to the other one.
            running.sort_by_key(Engine::bytes);
            running.pop();
        }
        steps *= 2;
    }
}

/// Let each of the searches go on for so many steps: side by side, where a thread is to be had.
fn both<const W: usize>(
    running: &mut [Engine<'_, '_, W>],
    steps: u64,
    limits: &Limits,
) -> Vec<Ended> {
    if let [first, second] = running {
        if limits.take_thread() {
            let ended = std::thread::scope(|scope| {
                let other = scope.spawn(|| second.run(steps, limits));
                let own = first.run(steps, limits);
                vec![own, other.join().expect("a search does not panic")]
            });
            limits.give_thread();
            return ended;
        }
    }
    running.iter_mut().map(|engine| engine.run(steps, limits)).collect()
}

fn found(ended: Ended, plan: &Plan, level: u32) -> Found {
    match ended {
        Ended::Valid(order) => Found::Valid(order),
        Ended::Invalid { level } => Found::Invalid { failed: plan.returns[level as usize] },
        Ended::Stopped(stop) => Found::Unknown { stop, judged: level as usize },
        Ended::Paused => unreachable!("a search that is paused has found nothing"),
    }
}

/// The operation whose return no order explains as far as one value goes.
fn through_values<const W: usize>(
    initial: Id,
    plan: &Plan,
    level: u32,
    limits: &Limits,
) -> Option<u32> {
    if !plan.kind.is_register() || plan.ops.iter().any(|op| op.f == F::Append) {
        return None;
    }
    let suspect = &plan.ops[plan.returns[level as usize] as usize];
    let values = crate::values::Values::new();
    for value in quotient::asked_values(plan.ops, suspect).into_iter().take(VALUES_MAX) {
        let (ops, which) = quotient::seen_through(plan.ops, value);
        let seen = Plan::new(Kind::CasRegister, &ops);
        let machine = Machine::new(Kind::CasRegister, &values);
        let begins = quotient::side(value, initial);
        let mut engine = Engine::<W>::new(machine, &seen, begins, Order::Breadth);
        let ended = engine.run(STEPS_PER_VALUE * ops.len() as u64, limits);
        if let Ended::Invalid { level } = ended {
            return Some(which[seen.returns[level as usize] as usize]);
        }
    }
    None
}
