//! Just-in-time linearization (Lowe 2017, after Wing and Gong 1993) over a frontier of configurations
//! that no other one dominates. `search.py` is the same idea, to be read first.
//!
//! A configuration is the object's state, the operations open now that have taken effect (a bit set
//! over the open window), and how many operations of each class with unknown outcome were used.
//! What keeps the frontier small, beside the four rules of the reference:
//!
//! - Of open operations that do the same, the one that must return first takes effect first. For
//!   those that never return this makes the used ones a number per class, not a set.
//! - Registers: a value that nobody will ask for any more is as good as any other such value. When
//!   the last operation that asks for it has returned, states that hold it become one.

use crate::history::{F, NEVER, Op, Outcome};
use crate::memory::{Limits, Stop};
use crate::models::Machine;
use crate::values::{Id, NULL};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// The one state that stands for every value of a register that nobody will ask for.
const NOBODY_ASKS: u32 = (1 << 31) - 1;

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

/// Judge `ops` (of one key, in the order of their calls, only such as constrain something).
pub fn search(machine: &mut Machine, initial: Id, ops: &[Op], limits: &Limits) -> Found {
    match window(ops) {
        0..=64 => Search::<1>::new(machine, ops).run(initial, limits),
        65..=128 => Search::<2>::new(machine, ops).run(initial, limits),
        129..=512 => Search::<8>::new(machine, ops).run(initial, limits),
        513..=2048 => Search::<32>::new(machine, ops).run(initial, limits),
        _ => Found::Unknown { stop: Stop::Width, judged: 0 },
    }
}

/// How many operations that return are open at once, at most.
fn window(ops: &[Op]) -> usize {
    let mut ends: Vec<u32> = ops.iter().map(|op| op.ret).filter(|&r| r != NEVER).collect();
    ends.sort_unstable();
    let (mut width, mut widest, mut next) = (0_usize, 0, 0);
    for op in ops.iter().filter(|op| op.ret != NEVER) {
        while ends[next] < op.call {
            next += 1;
            width -= 1;
        }
        width += 1;
        widest = widest.max(width);
    }
    widest
}

type Bits<const W: usize> = [u64; W];

#[derive(Clone, PartialEq, Eq, Hash)]
struct Config<const W: usize> {
    state: u32,
    done: Bits<W>,
    used: Used,
}

/// (class, how many of it were used), by class.
type Used = Box<[(u32, u32)]>;

/// The configurations met while one operation returns: new is what no earlier one dominates.
struct Seen<const W: usize>(FxHashMap<(u32, Bits<W>), Vec<Used>>);

impl<const W: usize> Default for Seen<W> {
    fn default() -> Self {
        Seen(FxHashMap::default())
    }
}

impl<const W: usize> Seen<W> {
    fn is_new(&mut self, config: &Config<W>) -> bool {
        let known = self.0.entry((config.state, config.done)).or_default();
        if known.iter().any(|used| fewer(used, &config.used)) {
            return false;
        }
        known.push(config.used.clone());
        true
    }
}

/// The end of a trail.
const START: u32 = u32::MAX;

type Alive<const W: usize> = Vec<(Config<W>, u32)>;

struct Search<'m, 'v, 'o, const W: usize> {
    machine: &'m mut Machine<'v>,
    ops: &'o [Op],
    /// Operations that do the same have the same class.
    class: Vec<u32>,
    /// Open operations that return: their index, by the bit that stands for them.
    slots: Vec<Option<u32>>,
    open: Vec<u32>,
    slot_of: Vec<u32>,
    /// Called operations that never return, by class, in the order of their calls.
    endless: Vec<Vec<u32>>,
    endless_classes: Vec<u32>,
    /// How long each value is asked for; empty where the model is not a register.
    asked_until: FxHashMap<u32, u32>,
    forgets: bool,
    blind: bool,
    now: u32,
    frontier: Alive<W>,
    trails: Vec<(u32, u32)>,
    trails_max: usize,
    ticks: u32,
}

impl<'m, 'v, 'o, const W: usize> Search<'m, 'v, 'o, W> {
    fn new(machine: &'m mut Machine<'v>, ops: &'o [Op]) -> Self {
        let mut classes: FxHashMap<(F, Id, Id, Id, u8), u32> = FxHashMap::default();
        let mut class = Vec::with_capacity(ops.len());
        for op in ops {
            let next = classes.len() as u32;
            class.push(*classes.entry(effect(op)).or_insert(next));
        }
        let appends = ops.iter().any(|op| op.f == F::Append);
        let forgets = machine.kind.is_register() && !appends;
        let blind = ops.iter().any(|op| op.outcome == Outcome::Mismatch && !op.seen);
        let asked_until = if forgets { asked(machine, ops, blind) } else { FxHashMap::default() };
        Search {
            machine,
            ops,
            endless: vec![Vec::new(); classes.len()],
            class,
            slots: vec![None; W * 64],
            open: Vec::new(),
            slot_of: vec![0; ops.len()],
            endless_classes: Vec::new(),
            asked_until,
            forgets,
            blind,
            now: 0,
            frontier: Vec::new(),
            trails: Vec::new(),
            trails_max: 1 << 16,
            ticks: 0,
        }
    }

    fn run(mut self, initial: Id, limits: &Limits) -> Found {
        let state = self.machine.initial(initial);
        let start = Config { state, done: [0; W], used: Box::new([]) };
        self.frontier.push((start, START));
        let mut moments: Vec<(u32, u32)> = Vec::with_capacity(2 * self.ops.len());
        for (i, op) in self.ops.iter().enumerate() {
            moments.push((op.call, i as u32));
            if op.ret != NEVER {
                moments.push((op.ret, i as u32));
            }
        }
        moments.sort_unstable();
        let mut judged = 0;
        for (position, i) in moments {
            self.now = position;
            if self.ops[i as usize].call == position {
                self.call(i);
                continue;
            }
            match self.returned(i, limits) {
                Ok(true) => judged += 1,
                Ok(false) => return Found::Invalid { failed: i },
                Err(stop) => return Found::Unknown { stop, judged },
            }
        }
        Found::Valid(self.order())
    }

    fn order(&self) -> Vec<u32> {
        let mut order = Vec::new();
        let mut at = self.frontier[0].1;
        while at != START {
            let (op, before) = self.trails[at as usize];
            order.push(op);
            at = before;
        }
        order.reverse();
        order
    }

    fn call(&mut self, i: u32) {
        let op = self.ops[i as usize];
        if op.ret == NEVER {
            let class = self.class[i as usize];
            if self.endless[class as usize].is_empty() {
                self.endless_classes.push(class);
            }
            self.endless[class as usize].push(i);
            return;
        }
        let slot = self.slots.iter().position(Option::is_none).expect("the window was measured");
        self.slots[slot] = Some(i);
        self.slot_of[i as usize] = slot as u32;
        self.open.push(i);
        if self.machine.kind.is_read(&op) {
            // A read that fits takes effect at once: it changes nothing.
            let mut frontier = std::mem::take(&mut self.frontier);
            for (config, trail) in &mut frontier {
                if self.machine.step(config.state, &op).is_some() {
                    config.done[slot / 64] |= 1 << (slot % 64);
                    *trail = self.trail(i, *trail);
                }
            }
            self.frontier = frontier;
        }
    }

    fn trail(&mut self, op: u32, before: u32) -> u32 {
        self.trails.push((op, before));
        (self.trails.len() - 1) as u32
    }

    /// Let operation `i` return: extend what has not done it yet; false when nothing is left.
    fn returned(&mut self, i: u32, limits: &Limits) -> Result<bool, Stop> {
        let slot = self.slot_of[i as usize] as usize;
        let (word, bit) = (slot / 64, 1_u64 << (slot % 64));
        let frontier = std::mem::take(&mut self.frontier);
        let (mut alive, waiting): (Alive<W>, Alive<W>) =
            frontier.into_iter().partition(|(config, _)| config.done[word] & bit != 0);
        let extended = !waiting.is_empty();
        if extended {
            let mut seen = Seen::default();
            for (config, _) in &waiting {
                seen.is_new(config);
            }
            let mut waiting = VecDeque::from(waiting);
            while let Some((config, trail)) = waiting.pop_front() {
                limits_now_and_then(&mut self.ticks, limits)?;
                self.extend(&config, trail, |next, trail| {
                    if !seen.is_new(&next) {
                        return;
                    }
                    if next.done[word] & bit != 0 {
                        alive.push((next, trail));
                    } else {
                        waiting.push_back((next, trail));
                    }
                });
            }
        }
        limits_now_and_then(&mut self.ticks, limits)?;
        self.slots[slot] = None;
        self.open.retain(|&o| o != i);
        for (config, _) in &mut alive {
            config.done[word] &= !bit;
            if self.forgets {
                config.state = self.canonical(config.state);
            }
        }
        self.frontier = if extended || self.forgets { self.pruned(alive) } else { alive };
        self.compact();
        Ok(!self.frontier.is_empty())
    }

    /// The state that stands for `state` from now on.
    fn canonical(&self, state: u32) -> u32 {
        if !self.forgets {
            return state;
        }
        match self.asked_until.get(&state) {
            Some(&until) if until >= self.now => state,
            _ => NOBODY_ASKS,
        }
    }

    /// Every configuration that one more operation leads to.
    fn extend(&mut self, config: &Config<W>, trail: u32, mut take: impl FnMut(Config<W>, u32)) {
        for place in 0..self.open.len() {
            let i = self.open[place];
            let slot = self.slot_of[i as usize] as usize;
            if config.done[slot / 64] >> (slot % 64) & 1 == 1 || !self.is_first(config, i) {
                continue;
            }
            let op = self.ops[i as usize];
            let Some(state) = self.machine.step(config.state, &op) else { continue };
            let mut next = config.clone();
            next.state = self.canonical(state);
            next.done[slot / 64] |= 1 << (slot % 64);
            let longer = self.bury(&mut next, &op, trail);
            let longer = self.trail(i, longer);
            let longer = self.absorb(&mut next, longer);
            take(next, longer);
        }
        let mut nobody_asked = false;
        for place in 0..self.endless_classes.len() {
            let class = self.endless_classes[place];
            let used = config.used.iter().find(|u| u.0 == class).map_or(0, |u| u.1);
            let Some(&i) = self.endless[class as usize].get(used as usize) else { continue };
            let op = self.ops[i as usize];
            let Some(state) = self.machine.step(config.state, &op) else { continue };
            let state = self.canonical(state);
            if state == config.state || self.open_twin(config, class) {
                continue;
            }
            if state == NOBODY_ASKS && self.forgets {
                // It can only serve a failed cas that did not say what it saw; one will do.
                if !self.blind || (op.f == F::Write && std::mem::replace(&mut nobody_asked, true)) {
                    continue;
                }
            }
            let mut next = config.clone();
            next.state = state;
            next.used = one_more(&config.used, class);
            let longer = self.bury(&mut next, &op, trail);
            let longer = self.trail(i, longer);
            let longer = self.absorb(&mut next, longer);
            take(next, longer);
        }
    }

    /// Let open writes that nobody will ask for take effect just before the write `op`: nobody sees
    /// them there. (With failed cas that do not say what they saw, somebody might need them later.)
    fn bury(&mut self, config: &mut Config<W>, op: &Op, mut trail: u32) -> u32 {
        if !self.forgets || self.blind || op.f != F::Write {
            return trail;
        }
        for place in 0..self.open.len() {
            let i = self.open[place];
            let slot = self.slot_of[i as usize] as usize;
            let done = config.done[slot / 64] >> (slot % 64) & 1 == 1;
            if !done && self.is_forgotten(i) {
                config.done[slot / 64] |= 1 << (slot % 64);
                trail = self.trail(i, trail);
            }
        }
        trail
    }

    /// Whether operation `i` writes what nobody will ask for.
    fn is_forgotten(&self, i: u32) -> bool {
        let op = &self.ops[i as usize];
        // (A list has another state number than value number; it is kept, which is always right.)
        self.forgets && op.f == F::Write && self.canonical(op.arg) == NOBODY_ASKS
    }

    /// Whether no open operation that does the same must return before this one.
    fn is_first(&self, config: &Config<W>, i: u32) -> bool {
        let (class, ret) = (self.class[i as usize], self.ops[i as usize].ret);
        let forgotten = self.is_forgotten(i);
        self.open.iter().all(|&o| {
            let slot = self.slot_of[o as usize] as usize;
            self.ops[o as usize].ret >= ret
                || config.done[slot / 64] >> (slot % 64) & 1 == 1
                || !(self.class[o as usize] == class || (forgotten && self.is_forgotten(o)))
        })
    }

    fn open_twin(&self, config: &Config<W>, class: u32) -> bool {
        self.open.iter().any(|&o| {
            let slot = self.slot_of[o as usize] as usize;
            self.class[o as usize] == class && config.done[slot / 64] >> (slot % 64) & 1 == 0
        })
    }

    /// Let every open read whose answer fits the state take effect.
    fn absorb(&mut self, config: &mut Config<W>, mut trail: u32) -> u32 {
        for place in 0..self.open.len() {
            let i = self.open[place];
            let op = self.ops[i as usize];
            let slot = self.slot_of[i as usize] as usize;
            let done = config.done[slot / 64] >> (slot % 64) & 1 == 1;
            if done || !self.machine.kind.is_read(&op) {
                continue;
            }
            if self.machine.step(config.state, &op).is_some() {
                config.done[slot / 64] |= 1 << (slot % 64);
                trail = self.trail(i, trail);
            }
        }
        trail
    }

    /// Drop the configurations that another one dominates.
    fn pruned(&self, mut found: Alive<W>) -> Alive<W> {
        if found.len() < 2 {
            return found;
        }
        found.sort_by_key(|(config, _)| config.used.iter().map(|u| u64::from(u.1)).sum::<u64>());
        let mut groups: FxHashMap<(u32, Bits<W>), Vec<u32>> = FxHashMap::default();
        let mut kept: Alive<W> = Vec::with_capacity(found.len());
        for (config, trail) in found {
            let group = groups.entry((config.state, config.done)).or_default();
            if group.iter().any(|&k| fewer(&kept[k as usize].0.used, &config.used)) {
                continue;
            }
            group.push(kept.len() as u32);
            kept.push((config, trail));
        }
        kept
    }

    /// Forget the trails that no configuration ends in, when there are many.
    fn compact(&mut self) {
        if self.trails.len() < self.trails_max {
            return;
        }
        let mut live = vec![false; self.trails.len()];
        for (_, end) in &self.frontier {
            let mut at = *end;
            while at != START && !std::mem::replace(&mut live[at as usize], true) {
                at = self.trails[at as usize].1;
            }
        }
        let mut moved = vec![START; self.trails.len()];
        let mut kept = Vec::new();
        for (old, &(op, before)) in self.trails.iter().enumerate() {
            if live[old] {
                moved[old] = kept.len() as u32;
                let before = if before == START { START } else { moved[before as usize] };
                kept.push((op, before));
            }
        }
        for (_, end) in &mut self.frontier {
            if *end != START {
                *end = moved[*end as usize];
            }
        }
        self.trails_max = (kept.len() * 2).max(1 << 16);
        self.trails = kept;
    }
}

fn limits_now_and_then(ticks: &mut u32, limits: &Limits) -> Result<(), Stop> {
    *ticks += 1;
    if *ticks % 64 == 0 { limits.check() } else { Ok(()) }
}

/// What tells two operations apart for an object: their effect and their answer.
fn effect(op: &Op) -> (F, Id, Id, Id, u8) {
    let says = match (op.f, op.outcome) {
        // A write, whatever became of it, does one thing.
        (F::Write | F::Put | F::Append | F::Enqueue | F::Push, _) if !op.observed => 0,
        (F::Add | F::Inc | F::Dec | F::Remove, _) => 0,
        // So does a cas that takes effect; one that did not is another thing.
        (F::Cas, Outcome::Ok | Outcome::Info) => 0,
        (F::Release, _) => 0,
        (_, Outcome::Mismatch) => 1 + u8::from(op.seen),
        _ => 3 + u8::from(op.seen) + 2 * u8::from(op.observed),
    };
    (op.f, op.arg, op.new, if says == 0 { NULL } else { op.res }, says)
}

fn one_more(used: &[(u32, u32)], class: u32) -> Box<[(u32, u32)]> {
    let mut more = used.to_vec();
    match more.binary_search_by_key(&class, |u| u.0) {
        Ok(place) => more[place].1 += 1,
        Err(place) => more.insert(place, (class, 1)),
    }
    more.into()
}

/// Whether `a` used no more of any class than `b`.
fn fewer(a: &[(u32, u32)], b: &[(u32, u32)]) -> bool {
    a.iter().all(|(class, n)| {
        b.binary_search_by_key(class, |u| u.0).is_ok_and(|place| b[place].1 >= *n)
    })
}

/// Until when each value of a register is asked for: by a read, a cas, or a failed cas.
fn asked(machine: &mut Machine, ops: &[Op], blind: bool) -> FxHashMap<u32, u32> {
    let mut until: FxHashMap<u32, u32> = FxHashMap::default();
    let ask = |value: u32, end: u32, until: &mut FxHashMap<u32, u32>| {
        let known = until.entry(value).or_insert(0);
        let later = end > *known;
        *known = end.max(*known);
        later
    };
    let mut endless = Vec::new();
    for op in ops {
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
    // A cas of unknown outcome asks for its expected value only as long as somebody asks for its new
    // one.
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
