//! The search for an order, for what no monitor decides: just-in-time linearization (Lowe 2017, after
//! Wing and Gong 1993). `reference_search.py` is the same idea, and should be read first.
//!
//! A valid history is decided fastest by following one promising order to its end; an invalid one by
//! considering all orders at once, level by level, so that domination leaves few. It is not known in
//! advance which applies. So the first is tried for some steps, then whether the history already fails
//! when the register is abstracted to one value (`quotient.rs`), and then all in turns, each time for
//! twice as many steps: the same steps on every machine.

mod engine;
mod equivalence;
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
    /// The operation whose return no order explains; and the value, where the abstraction to that
    /// value suffices to show it.
    Invalid {
        failed: u32,
        through: Option<Id>,
    },
    Unknown {
        stop: Stop,
        judged: usize,
    },
}

/// How many levels to backtrack before one more operation of unknown outcome is used: none finds an
/// order where many operations are open at once, some where operations of unknown outcome are
/// scarce.
const LEVELS_PER_USE: [u32; 2] = [0, 8];
/// How many values are tried, each for how many steps per operation.
const VALUES_MAX: usize = 64;
const STEPS_PER_VALUE: u64 = 64;
const FIRST_STEPS: u64 = 4_096;
const FIRST_STEPS_PER_OPERATION: u64 = 16;

/// Call `$function::<W>` for a window of this width, or give `$else` where it is too wide.
macro_rules! by_width {
    ($width:expr, $function:ident($($argument:expr),*), $else:expr) => {
        match $width {
            0..=64 => $function::<1>($($argument),*),
            65..=128 => $function::<2>($($argument),*),
            129..=512 => $function::<8>($($argument),*),
            513..=2048 => $function::<32>($($argument),*),
            _ => $else,
        }
    };
}

/// Judge `ops` (of one key, in the order of their calls, only those that constrain something).
pub fn search(machine: &mut Machine, initial: Id, ops: &[Op], limits: &Limits) -> Found {
    let plan = Plan::new(machine.kind, ops);
    let fresh = || Machine::new(machine.kind, machine.values);
    let too_wide = Found::Unknown { stop: Stop::Width, judged: 0 };
    by_width!(plan.width, in_turns(&fresh, initial, &plan, limits), too_wide)
}

/// The operation whose return no order explains, where the abstraction to this value suffices.
pub fn search_through(
    kind: Kind,
    initial: Id,
    ops: &[Op],
    value: Id,
    limits: &Limits,
) -> Option<u32> {
    if !kind.is_register() || ops.iter().any(|op| op.f == F::Append) {
        return None;
    }
    let (ops, which) = quotient::seen_through(ops, value);
    let plan = Plan::new(Kind::CasRegister, &ops);
    let begins = quotient::side(value, initial);
    let level = by_width!(plan.width, refuted(begins, &plan, limits), None)?;
    Some(which[plan.returns[level as usize] as usize])
}

/// The level that no order of a history abstracted to one value passes.
fn refuted<const W: usize>(initial: Id, plan: &Plan, limits: &Limits) -> Option<u32> {
    let values = crate::values::Values::new();
    let machine = Machine::new(Kind::CasRegister, &values);
    let mut engine = Engine::<W>::new(machine, plan, initial, Order::Breadth);
    match engine.run(STEPS_PER_VALUE * plan.ops.len() as u64, limits) {
        Ended::Invalid { level } => Some(level),
        _ => None,
    }
}

fn in_turns<'v, const W: usize>(
    fresh: &dyn Fn() -> Machine<'v>,
    initial: Id,
    plan: &Plan,
    limits: &Limits,
) -> Found {
    let mut steps = FIRST_STEPS + FIRST_STEPS_PER_OPERATION * plan.ops.len() as u64;
    let (mut running, mut level) = (Vec::new(), 0);
    for levels_per_use in LEVELS_PER_USE {
        let best = Order::Best { levels_per_use };
        let mut engine = Engine::<W>::new(fresh(), plan, initial, best);
        let ended = engine.run(steps, limits);
        level = level.max(engine.deepest);
        match ended {
            Ended::Paused => running.push(engine),
            Ended::Stopped(Stop::Memory) => drop(engine),
            ended => return found(ended, plan, level),
        }
        if plan.endless_classes.is_empty() {
            break; // both do the same
        }
    }
    if let Some(invalid) = through_values(initial, plan, level, limits) {
        return invalid;
    }
    running.push(Engine::new(fresh(), plan, initial, Order::Breadth));
    loop {
        let ended = all(&mut running, steps, limits);
        level = running.iter().map(|engine| engine.deepest).fold(level, u32::max);
        let mut stop = None;
        for ended in ended {
            match ended {
                Ended::Paused => {}
                Ended::Stopped(reason) => stop = Some(reason),
                ended => return found(ended, plan, level),
            }
        }
        if let Some(stop) = stop {
            if stop != Stop::Memory || running.len() == 1 {
                return Found::Unknown { stop, judged: level as usize };
            }
            // The memory of the largest of them is of more use to the others.
            let largest = (0..running.len()).max_by_key(|&i| running[i].bytes());
            running.remove(largest.expect("there are some"));
        }
        steps *= 2;
    }
}

/// Let each of the searches continue for so many steps: in parallel, where a thread is idle.
fn all<const W: usize>(
    running: &mut [Engine<'_, '_, W>],
    steps: u64,
    limits: &Limits,
) -> Vec<Ended> {
    let run = |engines: &mut [Engine<'_, '_, W>]| {
        engines.iter_mut().map(|engine| engine.run(steps, limits)).collect::<Vec<_>>()
    };
    if running.len() < 2 || !limits.take_thread() {
        return run(running);
    }
    let (first, second) = running.split_at_mut(running.len() / 2);
    let ended = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(second));
        let mut ended = run(first);
        ended.extend(other.join().expect("a search does not panic"));
        ended
    });
    limits.give_thread();
    ended
}

fn found(ended: Ended, plan: &Plan, level: u32) -> Found {
    match ended {
        Ended::Valid(order) => Found::Valid(order),
        Ended::Invalid { level } => {
            Found::Invalid { failed: plan.returns[level as usize], through: None }
        }
        Ended::Stopped(stop) => Found::Unknown { stop, judged: level as usize },
        Ended::Paused => unreachable!("a search that is paused has found nothing"),
    }
}

/// Whether one of the values suffices; first the one at which a promising order failed.
fn through_values(initial: Id, plan: &Plan, level: u32, limits: &Limits) -> Option<Found> {
    let suspect = &plan.ops[plan.returns[level as usize] as usize];
    let values = quotient::named_values(plan.ops, suspect);
    values.into_iter().take(VALUES_MAX).find_map(|value| {
        let failed = search_through(plan.kind, initial, plan.ops, value, limits)?;
        Some(Found::Invalid { failed, through: Some(value) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Draw, Shape, machine, register};
    use crate::values::{NULL, Values};
    use crate::verify::verify;

    fn alone(ops: &[Op], order: Order) -> Ended {
        let (values, limits) = (Values::new(), Limits::new(None, None));
        let plan = Plan::new(Kind::CasRegister, ops);
        let mut engine = Engine::<1>::new(machine(&values), &plan, NULL, order);
        let ended = engine.run(u64::MAX, &limits);
        if let Ended::Valid(order) = &ended {
            verify(&mut machine(&values), NULL, ops, order, &limits).expect("the order holds");
        }
        ended
    }

    /// Both searches agree, and fail at the same return; what one value refutes, they refute.
    #[test]
    fn all_ways_agree() {
        let limits = Limits::new(None, None);
        let (mut refuted, mut invalid, mut valid) = (0, 0, 0);
        for seed in 0..6000 {
            let draw = &mut Draw::new(seed);
            let (clients, values) = (2 + draw.below(6), 2 + draw.below(4));
            let operations = 10 + draw.below(40);
            let wrong = draw.below(3) * 10;
            let lost = [12, 50][draw.below(2) as usize];
            let shape = Shape { operations, clients, values, lost, wrong };
            let ops = register(draw, &shape);
            let breadth = alone(&ops, Order::Breadth);
            for levels_per_use in [0, 1, 8] {
                let best = alone(&ops, Order::Best { levels_per_use });
                match (&breadth, &best) {
                    (Ended::Valid(_), Ended::Valid(_)) => {}
                    (Ended::Invalid { level: a }, Ended::Invalid { level: b }) if a == b => {}
                    _ => panic!("seed {seed}: the two ways do not agree"),
                }
            }
            let is_valid = matches!(breadth, Ended::Valid(_));
            (valid, invalid) = (valid + u32::from(is_valid), invalid + u32::from(!is_valid));
            for value in 0..=values {
                let through = search_through(Kind::CasRegister, NULL, &ops, value, &limits);
                assert!(through.is_none() || !is_valid, "seed {seed}, value {value}");
                refuted += u32::from(through.is_some());
            }
        }
        assert!(valid > 1000 && invalid > 1000 && refuted > 1000);
    }
}
