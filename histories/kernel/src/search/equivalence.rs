//! States that no remaining operation can distinguish are merged into one.
//!
//! A register's value is *needed* by the reads, the cas and the failed cas that name it and have not
//! returned. When the last one of them has, states that hold the value become equivalent. A text (of
//! a string-map) is needed by every read that returned it, or a longer one that begins with it, and
//! has not returned yet: appends only make it longer, so what is not a prefix of an answer does not
//! become one until the next put.

use super::plan::Plan;
use crate::history::{F, NEVER, Outcome};
use crate::models::{Kind, Machine};
use crate::values::Value;
use rustc_hash::FxHashMap;

/// The representative of all states that are not needed any more.
pub const NOT_NEEDED: u32 = (1 << 31) - 1;

pub enum Equivalence<'v> {
    /// The model is neither.
    Always,
    Values(FxHashMap<u32, u32>),
    Texts(Texts<'v>),
}

impl<'v> Equivalence<'v> {
    pub fn new(machine: &mut Machine<'v>, plan: &Plan) -> Equivalence<'v> {
        let appends = plan.ops.iter().any(|op| op.f == F::Append);
        match plan.kind {
            Kind::StringMap => Equivalence::Texts(Texts::new(machine, plan)),
            kind if kind.is_register() && !appends => Equivalence::Values(values(machine, plan)),
            _ => Equivalence::Always,
        }
    }

    /// The representative of `state` from `now` on.
    pub fn canonical(&mut self, machine: &Machine, state: u32, now: u32) -> u32 {
        let needed = match self {
            Equivalence::Always => true,
            Equivalence::Values(until) => until.get(&state).is_some_and(|&until| until >= now),
            Equivalence::Texts(_) if state == NOT_NEEDED => false,
            Equivalence::Texts(texts) => texts.needed_until(machine, state) >= now,
        };
        if needed { state } else { NOT_NEEDED }
    }

    /// Whether no read that takes effect from `now` on can be explained from this state or a later
    /// one; `waiting`: such a read has been called.
    pub fn is_hopeless(&self, state: u32, now: u32, waiting: bool) -> bool {
        match self {
            Equivalence::Texts(texts) if state == NOT_NEEDED => {
                texts.last_put < now && (waiting || texts.last_read_call > now)
            }
            _ => false,
        }
    }

    pub fn are_values(&self) -> bool {
        matches!(self, Equivalence::Values(_))
    }
}

/// Whether some failed cas does not say what it saw.
pub fn is_blind(plan: &Plan) -> bool {
    plan.ops.iter().any(|op| op.outcome == Outcome::Mismatch && !op.seen)
}

/// Until when each value of a register is needed.
fn values(machine: &mut Machine, plan: &Plan) -> FxHashMap<u32, u32> {
    let blind = is_blind(plan);
    let mut until: FxHashMap<u32, u32> = FxHashMap::default();
    let ask = |value: u32, end: u32, until: &mut FxHashMap<u32, u32>| {
        let known = until.entry(value).or_insert(0);
        let later = end > *known;
        *known = end.max(*known);
        later
    };
    let mut endless = Vec::new();
    for op in plan.ops {
        let (arg, new) = (machine.value_state(op.arg), machine.value_state(op.new));
        match (op.f, op.outcome) {
            (F::Read, _) => {
                ask(machine.value_state(op.res), op.ret, &mut until);
            }
            (F::Cas, Outcome::Info) if !blind => endless.push((arg, new)),
            (F::Cas, _) => {
                ask(arg, op.ret, &mut until);
                if op.seen && op.outcome == Outcome::Mismatch {
                    ask(machine.value_state(op.res), op.ret, &mut until);
                }
            }
            _ => {}
        }
    }
    // A cas of unknown outcome needs its expected value only as long as its new one is needed.
    for round in 0.. {
        let mut changed = false;
        for &(arg, new) in &endless {
            let end = until.get(&new).copied().unwrap_or(0);
            changed |= end > 0 && ask(arg, if round < 64 { end } else { NEVER }, &mut until);
        }
        if !changed {
            return until;
        }
    }
    until
}

/// The answers of a string-map's reads.
pub struct Texts<'v> {
    /// (answer, when its last read returns), sorted.
    answers: Vec<(&'v [u8], u32)>,
    /// By state: until when it is needed, once that has been computed.
    until: Vec<Option<u32>>,
    last_read_call: u32,
    /// When the last put returns.
    last_put: u32,
}

impl<'v> Texts<'v> {
    fn new(machine: &Machine<'v>, plan: &Plan) -> Texts<'v> {
        let (mut answers, mut last_read_call, mut last_put) = (Vec::new(), 0, 0);
        for op in plan.ops {
            if plan.kind.is_read(op) {
                last_read_call = last_read_call.max(op.call);
                match machine.values.get(op.res) {
                    Value::Text(text) => answers.push((&**text, op.ret)),
                    _ => answers.push((&b""[..], op.ret)),
                }
            } else if op.f != F::Append {
                last_put = last_put.max(op.ret);
            }
        }
        answers.sort_unstable();
        Texts { answers, until: Vec::new(), last_read_call, last_put }
    }

    fn needed_until(&mut self, machine: &Machine, state: u32) -> u32 {
        if self.until.len() <= state as usize {
            self.until.resize(state as usize + 1, None);
        }
        if let Some(until) = self.until[state as usize] {
            return until;
        }
        let text = machine.text(state);
        let first = self.answers.partition_point(|&(answer, _)| answer < text);
        let those = self.answers[first..].iter().take_while(|(answer, _)| answer.starts_with(text));
        let until = those.map(|&(_, ret)| ret).max().unwrap_or(0);
        self.until[state as usize] = Some(until);
        until
    }
}

/// One step of the object, also from the representative.
pub fn step(machine: &mut Machine, state: u32, op: &crate::history::Op) -> Option<u32> {
    if state != NOT_NEEDED || machine.kind != Kind::StringMap {
        return machine.step(state, op);
    }
    match op.f {
        F::Read | F::Get => None,
        F::Append => Some(state),
        _ => machine.step(0, op), // a put does the same in every state
    }
}
