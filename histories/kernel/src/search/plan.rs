//! What the search computes for a partition before it begins: which operations do the same, the bit
//! of each open operation, and what is open when the n-th operation returns.

use crate::history::{F, NEVER, Op, Outcome};
use crate::models::Kind;
use crate::values::{Id, NULL};
use rustc_hash::FxHashMap;

/// No class.
pub const NONE: u32 = u32::MAX;

/// A *level* is a return: level n is left when the n-th operation to return has taken effect.
pub struct Plan<'o> {
    pub kind: Kind,
    pub ops: &'o [Op],
    /// Operations that do the same have the same class.
    pub class: Vec<u32>,
    /// By class: the operations that never return, in the order of their calls.
    pub endless: Vec<Vec<u32>>,
    /// The classes of such operations, by their first call.
    pub endless_classes: Vec<u32>,
    /// For a cas of unknown outcome: the class of the writes of unknown outcome that leave the same
    /// value, which can replace it.
    pub stronger: Vec<u32>,
    /// The bit of an operation while it is open.
    pub slot: Vec<u32>,
    /// The operations that return, in the order of their returns.
    pub returns: Vec<u32>,
    /// How many operations have been called when each of those returns.
    pub called: Vec<u32>,
    /// The most operations that are open at once, without those that never return.
    pub width: usize,
}

impl<'o> Plan<'o> {
    /// `ops` are in the order of their calls.
    pub fn new(kind: Kind, ops: &'o [Op]) -> Plan<'o> {
        let mut returns: Vec<u32> =
            (0..ops.len() as u32).filter(|&i| ops[i as usize].ret != NEVER).collect();
        returns.sort_unstable_by_key(|&i| ops[i as usize].ret);
        let mut plan = Plan {
            kind,
            ops,
            class: Vec::with_capacity(ops.len()),
            endless: Vec::new(),
            endless_classes: Vec::new(),
            stronger: Vec::new(),
            slot: vec![0; ops.len()],
            returns,
            called: Vec::new(),
            width: 0,
        };
        plan.classify();
        plan.assign_slots();
        plan
    }

    fn classify(&mut self) {
        let mut known: FxHashMap<(F, Id, Id, Id, u8), u32> = FxHashMap::default();
        for (i, op) in self.ops.iter().enumerate() {
            let next = known.len() as u32;
            let class = *known.entry(effect(op)).or_insert(next);
            self.class.push(class);
            if class == next {
                self.endless.push(Vec::new());
            }
            if op.ret == NEVER {
                if self.endless[class as usize].is_empty() {
                    self.endless_classes.push(class);
                }
                self.endless[class as usize].push(i as u32);
            }
        }
        self.stronger = vec![NONE; known.len()];
        for &class in &self.endless_classes {
            let op = &self.ops[self.endless[class as usize][0] as usize];
            if self.kind.is_register() && op.f == F::Cas {
                let write = (F::Write, op.new, NULL, NULL, 0);
                self.stronger[class as usize] = known.get(&write).copied().unwrap_or(NONE);
            }
        }
    }

    fn assign_slots(&mut self) {
        let (mut free, mut next) = (Vec::new(), 0);
        for &returning in &self.returns {
            let end = self.ops[returning as usize].ret;
            while next < self.ops.len() && self.ops[next].call < end {
                if self.ops[next].ret != NEVER {
                    self.slot[next] = free.pop().unwrap_or_else(|| {
                        self.width += 1;
                        self.width as u32 - 1
                    });
                }
                next += 1;
            }
            self.called.push(next as u32);
            free.push(self.slot[returning as usize]);
        }
    }

    pub fn levels(&self) -> u32 {
        self.returns.len() as u32
    }

    /// When the operation of this level returns.
    pub fn moment(&self, level: u32) -> u32 {
        self.ops[self.returns[level as usize] as usize].ret
    }
}

/// What distinguishes two operations for an object: their effect and their answer.
fn effect(op: &Op) -> (F, Id, Id, Id, u8) {
    let says = match (op.f, op.outcome) {
        // A write has the same effect whatever its outcome.
        (F::Write | F::Put | F::Append | F::Enqueue | F::Push, _) if !op.observed => 0,
        (F::Add | F::Inc | F::Dec | F::Remove | F::Release, _) if op.res == NULL => 0,
        // So has a cas that takes effect; one that does not differs.
        (F::Cas, Outcome::Ok | Outcome::Info) => 0,
        (_, Outcome::Mismatch) => 1 + u8::from(op.seen),
        _ => 3 + u8::from(op.seen) + 2 * u8::from(op.observed),
    };
    (op.f, op.arg, op.new, if says == 0 { NULL } else { op.res }, says)
}

/// The open operations at one level; it moves between levels in both directions.
pub struct Cursor<const W: usize> {
    pub level: u32,
    /// Open operations that return, the first to return first.
    pub open: Vec<u32>,
    /// The bits of those that only read.
    pub reads: [u64; W],
    /// How many operations of each class that never return have been called.
    pub ready: Vec<u32>,
    /// How many of the plan's `endless_classes` have been called.
    pub active: usize,
}

impl<const W: usize> Cursor<W> {
    pub fn new(plan: &Plan) -> Self {
        let mut cursor = Cursor {
            level: 0,
            open: Vec::new(),
            reads: [0; W],
            ready: vec![0; plan.endless.len()],
            active: 0,
        };
        if plan.levels() > 0 {
            cursor.call(plan, 0, plan.called[0]);
        }
        cursor
    }

    pub fn go(&mut self, plan: &Plan, level: u32) {
        while self.level < level {
            let at = self.level as usize;
            self.shut(plan, plan.returns[at]);
            self.level += 1;
            self.call(plan, plan.called[at], plan.called[at + 1]);
        }
        while self.level > level {
            self.level -= 1;
            let at = self.level as usize;
            self.uncall(plan, plan.called[at], plan.called[at + 1]);
            self.open(plan, plan.returns[at]);
        }
    }

    fn call(&mut self, plan: &Plan, from: u32, to: u32) {
        for i in from..to {
            if plan.ops[i as usize].ret != NEVER {
                self.open(plan, i);
                continue;
            }
            let class = plan.class[i as usize] as usize;
            self.active += usize::from(self.ready[class] == 0);
            self.ready[class] += 1;
        }
    }

    fn uncall(&mut self, plan: &Plan, from: u32, to: u32) {
        for i in from..to {
            if plan.ops[i as usize].ret != NEVER {
                self.shut(plan, i);
                continue;
            }
            let class = plan.class[i as usize] as usize;
            self.ready[class] -= 1;
            self.active -= usize::from(self.ready[class] == 0);
        }
    }

    fn open(&mut self, plan: &Plan, i: u32) {
        let ret = plan.ops[i as usize].ret;
        let place = self.open.partition_point(|&o| plan.ops[o as usize].ret < ret);
        self.open.insert(place, i);
        if plan.kind.is_read(&plan.ops[i as usize]) {
            let slot = plan.slot[i as usize] as usize;
            self.reads[slot / 64] |= 1 << (slot % 64);
        }
    }

    fn shut(&mut self, plan: &Plan, i: u32) {
        self.open.retain(|&o| o != i);
        let slot = plan.slot[i as usize] as usize;
        self.reads[slot / 64] &= !(1 << (slot % 64));
    }
}
