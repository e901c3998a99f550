//! Registers whose written values are all different: decided by sorting.
//!
//! Gibbons and Korach ("Testing shared memories", 1997) decide a register with reads and writes by
//! zones. Extended here to compare-and-sets and to operations with unknown outcome:
//!
//! - A *cluster* is a written value: its writer and all operations that saw it.
//! - A cas from a to b that succeeded ends a's cluster and begins b's, with nothing in between:
//!   clusters connected in this way are a *block*, whose order inside is forced. Two that consume one
//!   value, or a cycle of them, are impossible.
//! - An operation with unknown outcome happened if its value was seen, also through a chain of others,
//!   and then it never returned; otherwise it is left out, which no observation contradicts.
//! - Blocks are contiguous in every order. With f the earliest return and s the latest call in a block,
//!   B must come before A exactly where f(B) < s(A); two blocks that must each come before the other
//!   are impossible, and if there are none such, min(f, s) sorts all blocks correctly.
//!
//! A cas that failed without saying what it saw only requires a point at which the value was another
//! one. It is inserted at the first such point of the order found; if that order has none, another
//! order might, and the search has to look for it.

use crate::history::{F, NEVER, Op, Outcome};
use crate::values::{Id, Values};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub enum Zoned {
    /// The operations in the order of their linearization points.
    Valid(Vec<u32>),
    /// Operations that cannot be ordered, independently of the others.
    Invalid(Vec<u32>),
    /// Not for this monitor, with the reason (for debugging).
    Handover(#[allow(dead_code)] &'static str),
}

const NONE: u32 = u32::MAX;
/// The writer of the initial value.
const INITIAL: u32 = u32::MAX - 1;

#[derive(Clone)]
struct Cluster {
    writer: u32,
    /// The cas that replaced the value.
    consumer: u32,
    reads: u32,
    /// The read that returned first, and the one that was called last.
    first: u32,
    last: u32,
    confirmed: bool,
    visited: bool,
}

const EMPTY: Cluster = Cluster {
    writer: NONE,
    consumer: NONE,
    reads: 0,
    first: NONE,
    last: NONE,
    confirmed: false,
    visited: false,
};

/// The clusters of values in one partition; reused by a thread for the next one.
#[derive(Default)]
pub struct Scratch {
    local: Vec<(u32, u32)>,
    epoch: u32,
}

impl Scratch {
    fn begin(&mut self, values: &Values) {
        self.epoch += 1;
        if self.local.len() < values.len() {
            self.local.resize(values.len(), (0, 0));
        }
    }
}

struct Block {
    root: u32,
    /// The operation that returned first (INITIAL for the initial value), and its position.
    first: u32,
    f: u32,
    /// The operation that was called last, and its position.
    last: u32,
    s: u32,
}

struct Zones<'a> {
    ops: &'a [Op],
    scratch: &'a mut Scratch,
    clusters: Vec<Cluster>,
    blind: Vec<u32>,
    blocks: Vec<Block>,
    /// Two compare-and-sets that replaced the same value.
    double: Option<[u32; 2]>,
}

type Step = Result<(), Zoned>;

pub fn zones(ops: &[Op], initial: Id, values: &Values, scratch: &mut Scratch) -> Zoned {
    scratch.begin(values);
    let mut zones = Zones {
        ops,
        scratch,
        clusters: Vec::new(),
        blind: Vec::new(),
        blocks: Vec::new(),
        double: None,
    };
    match zones.run(initial) {
        Ok(order) => Zoned::Valid(order),
        Err(found) => found,
    }
}

impl Zones<'_> {
    fn run(&mut self, initial: Id) -> Result<Vec<u32>, Zoned> {
        let first = self.cluster(initial);
        self.clusters[first as usize].writer = INITIAL;
        self.collect()?;
        self.confirm()?;
        if let Some(pair) = self.double {
            let source = self.clusters[self.known(self.op(pair[0]).arg) as usize].writer;
            let part = pair.into_iter().chain((source < INITIAL).then_some(source));
            return Err(self.invalid(part.collect()));
        }
        self.tie()?;
        self.blocks.sort_unstable_by_key(|b| b.f.min(b.s));
        self.compare()?;
        let order = self.lay_out();
        if self.blind.is_empty() { Ok(order) } else { self.place_blind(&order, initial) }
    }

    fn cluster(&mut self, value: Id) -> u32 {
        let slot = &mut self.scratch.local[value as usize];
        if slot.0 != self.scratch.epoch {
            *slot = (self.scratch.epoch, self.clusters.len() as u32);
            self.clusters.push(EMPTY);
        }
        slot.1
    }

    /// The cluster that a value has for certain.
    fn known(&self, value: Id) -> u32 {
        self.scratch.local[value as usize].1
    }

    fn op(&self, i: u32) -> &Op {
        &self.ops[i as usize]
    }

    /// Which operations wrote, saw and replaced each value.
    fn collect(&mut self) -> Step {
        for (i, op) in self.ops.iter().enumerate() {
            let i = i as u32;
            match (op.f, op.outcome) {
                (_, Outcome::Failed) | (F::Read, Outcome::Info) => {}
                (F::Read, _) => self.read(i, op.res),
                (F::Write, _) => self.write(i, op.arg)?,
                (F::Cas, Outcome::Mismatch) if !op.seen => self.blind.push(i),
                (F::Cas, Outcome::Mismatch) if op.res == op.arg => {
                    return Err(Zoned::Invalid(vec![i]));
                }
                (F::Cas, Outcome::Mismatch) => self.read(i, op.res),
                (F::Cas, outcome) if op.arg == op.new => {
                    if outcome == Outcome::Ok {
                        self.read(i, op.arg);
                    }
                }
                (F::Cas, outcome) => {
                    self.write(i, op.new)?;
                    if outcome == Outcome::Ok {
                        self.take(i, op.arg);
                    }
                }
                _ => return Err(Zoned::Handover("an operation that registers do not have")),
            }
        }
        Ok(())
    }

    fn read(&mut self, i: u32, value: Id) {
        let place = self.cluster(value) as usize;
        let (ops, cluster) = (self.ops, &mut self.clusters[place]);
        let op = &ops[i as usize];
        cluster.reads += 1;
        if cluster.first == NONE || op.ret < ops[cluster.first as usize].ret {
            cluster.first = i;
        }
        cluster.last = i; // operations come in the order of their calls
    }

    fn write(&mut self, i: u32, value: Id) -> Step {
        let place = self.cluster(value) as usize;
        if self.clusters[place].writer != NONE {
            return Err(Zoned::Handover("a value was written more than once"));
        }
        self.clusters[place].writer = i;
        Ok(())
    }

    fn take(&mut self, i: u32, value: Id) {
        let place = self.cluster(value) as usize;
        let earlier = self.clusters[place].consumer;
        if earlier == NONE {
            self.clusters[place].consumer = i;
        } else {
            self.double = Some([earlier, i]);
        }
    }

    /// Which operations of unknown outcome happened, because their values were seen.
    fn confirm(&mut self) -> Step {
        let mut seen: Vec<u32> = Vec::new();
        for (place, cluster) in self.clusters.iter().enumerate() {
            if cluster.reads > 0 || cluster.consumer != NONE {
                seen.push(place as u32);
            }
        }
        while let Some(place) = seen.pop() {
            let cluster = &mut self.clusters[place as usize];
            if cluster.writer == INITIAL || cluster.confirmed {
                continue;
            }
            cluster.confirmed = true;
            let writer = cluster.writer;
            if writer == NONE {
                let witness = if cluster.reads > 0 { cluster.first } else { cluster.consumer };
                return Err(self.invalid(vec![witness]));
            }
            let op = *self.op(writer);
            if op.f == F::Cas && op.outcome == Outcome::Info {
                self.take(writer, op.arg);
                seen.push(self.known(op.arg));
            }
        }
        for cluster in &mut self.clusters {
            let writer = cluster.writer;
            if writer < INITIAL && !cluster.confirmed {
                // It was not seen: it is kept only if it certainly happened.
                let happened = self.ops[writer as usize].outcome == Outcome::Ok;
                cluster.confirmed = happened;
                if !happened {
                    cluster.writer = NONE;
                }
            }
        }
        Ok(())
    }

    /// Connect clusters to blocks, and check the order inside each.
    fn tie(&mut self) -> Step {
        for place in 0..self.clusters.len() as u32 {
            let writer = self.clusters[place as usize].writer;
            if writer == NONE {
                self.clusters[place as usize].visited = true;
            } else if writer == INITIAL || self.op(writer).f == F::Write {
                self.walk(place)?;
            }
        }
        // What cannot be reached from a root is a cycle of compare-and-sets.
        match self.clusters.iter().position(|c| !c.visited) {
            None => Ok(()),
            Some(place) => Err(self.ring(place as u32)),
        }
    }

    fn walk(&mut self, root: u32) -> Step {
        let mut block = Block { root, first: NONE, f: NEVER, last: NONE, s: 0 };
        let mut place = root;
        loop {
            self.clusters[place as usize].visited = true;
            let cluster = self.clusters[place as usize].clone();
            if cluster.writer == INITIAL {
                (block.first, block.f) = (INITIAL, 0);
            } else {
                self.include(&mut block, cluster.writer, cluster.writer)?;
            }
            if cluster.reads > 0 {
                self.include(&mut block, cluster.first, cluster.last)?;
            }
            if cluster.consumer == NONE {
                break;
            }
            place = self.known(self.op(cluster.consumer).new);
        }
        if block.last != NONE {
            self.blocks.push(block);
        }
        Ok(())
    }

    /// Add a group of operations to the end of a block: the first to return and the last called.
    /// Positions are counted from one: the initial value was written at 0.
    fn include(&mut self, block: &mut Block, first: u32, last: u32) -> Step {
        let returned = self.op(first).ret.saturating_add(1);
        if returned < block.s {
            let segment = self.segment(block.root, block.last, first);
            return Err(self.invalid(segment));
        }
        if returned < block.f || block.first == NONE {
            (block.first, block.f) = (first, returned);
        }
        let called = self.op(last).call + 1;
        if called > block.s {
            (block.last, block.s) = (last, called);
        }
        Ok(())
    }

    /// Two blocks that must each come before the other.
    fn compare(&mut self) -> Step {
        let mut forward: Option<&Block> = None;
        for block in &self.blocks {
            if let Some(before) = forward {
                if block.f < before.s && before.f < block.s {
                    let mut part = self.segment(before.root, before.first, before.last);
                    part.extend(self.segment(block.root, block.first, block.last));
                    return Err(self.invalid(part));
                }
            }
            if block.f < block.s {
                forward = Some(block);
            }
        }
        Ok(())
    }

    /// The value that an operation saw or wrote last.
    fn cluster_of(&self, i: u32) -> u32 {
        let op = self.op(i);
        self.known(match (op.f, op.outcome) {
            (F::Read, _) | (F::Cas, Outcome::Mismatch) => op.res,
            (F::Write, _) => op.arg,
            _ => op.new,
        })
    }

    /// Two operations of one block, and the writers that lead from one to the other.
    fn segment(&self, root: u32, a: u32, b: u32) -> Vec<u32> {
        let mut part: Vec<u32> = [a, b].into_iter().filter(|&i| i < INITIAL).collect();
        let end = |i: u32| if i < INITIAL { self.cluster_of(i) } else { root };
        let ends = (end(a), end(b));
        for (from, to) in [ends, (ends.1, ends.0)] {
            let mut writers = vec![self.clusters[from as usize].writer];
            let mut place = from;
            while place != to {
                let consumer = self.clusters[place as usize].consumer;
                if consumer == NONE {
                    break;
                }
                writers.push(consumer);
                place = self.known(self.op(consumer).new);
            }
            if place == to {
                part.extend(writers.into_iter().filter(|&i| i < INITIAL));
                break;
            }
        }
        part
    }

    fn ring(&self, start: u32) -> Zoned {
        let mut part = Vec::new();
        let mut place = start;
        loop {
            let writer = self.clusters[place as usize].writer;
            if writer >= INITIAL || part.contains(&writer) {
                return self.invalid(part);
            }
            part.push(writer);
            place = self.known(self.op(writer).arg);
        }
    }

    /// The part, completed so that it fails by itself: with the writers of the values that it sees,
    /// and an operation that saw each value of unknown outcome.
    fn invalid(&self, mut part: Vec<u32>) -> Zoned {
        let mut next = 0;
        while next < part.len() {
            let op = self.op(part[next]);
            next += 1;
            let sees = match (op.f, op.outcome) {
                (F::Read, _) | (F::Cas, Outcome::Mismatch) => Some(op.res),
                (F::Cas, Outcome::Ok) => Some(op.arg),
                _ => None,
            };
            if let Some(value) = sees {
                let writer = self.clusters[self.known(value) as usize].writer;
                // A chain of compare-and-sets is cut off where it enters the part.
                let chained = op.f == F::Cas && op.outcome == Outcome::Ok;
                if writer < INITIAL && (!chained || self.op(writer).f == F::Write) {
                    part.push(writer);
                }
            }
            if op.outcome == Outcome::Info {
                let written = if op.f == F::Write { op.arg } else { op.new };
                let cluster = &self.clusters[self.known(written) as usize];
                let witness = if cluster.reads > 0 { cluster.first } else { cluster.consumer };
                if witness != NONE && !part.contains(&witness) {
                    part.push(witness);
                }
            }
        }
        part.sort_unstable();
        part.dedup();
        Zoned::Invalid(part)
    }

    /// Blocks in order, inside each the writer, then the readers, value after value.
    fn lay_out(&self) -> Vec<u32> {
        // Readers by value, in the order of their calls: a counting sort.
        let mut starts = vec![0_u32; self.clusters.len() + 1];
        for (place, cluster) in self.clusters.iter().enumerate() {
            starts[place + 1] = starts[place] + cluster.reads;
        }
        let mut next = starts.clone();
        let mut readers = vec![0_u32; starts[self.clusters.len()] as usize];
        for (i, op) in self.ops.iter().enumerate() {
            let value = match (op.f, op.outcome) {
                (F::Read, Outcome::Ok) => op.res,
                (F::Cas, Outcome::Mismatch) if op.seen => op.res,
                (F::Cas, Outcome::Ok) if op.arg == op.new => op.arg,
                _ => continue,
            };
            let slot = &mut next[self.known(value) as usize];
            readers[*slot as usize] = i as u32;
            *slot += 1;
        }
        let mut order = Vec::with_capacity(self.ops.len());
        for block in &self.blocks {
            let mut place = block.root as usize;
            loop {
                let cluster = &self.clusters[place];
                if cluster.writer < INITIAL {
                    order.push(cluster.writer);
                }
                let (from, to) = (starts[place] as usize, starts[place + 1] as usize);
                order.extend_from_slice(&readers[from..to]);
                if cluster.consumer == NONE {
                    break;
                }
                place = self.known(self.op(cluster.consumer).new) as usize;
            }
        }
        order
    }

    /// Insert every failed cas that did not say what it saw at the first point that fits it.
    fn place_blind(&self, order: &[u32], initial: Id) -> Result<Vec<u32>, Zoned> {
        let n = order.len();
        // Before which operations may an operation come that was called, or returned, at a
        // position?
        let mut called_before = vec![0_u32; n + 1];
        let mut state = vec![initial; n + 1];
        for (slot, &i) in order.iter().enumerate() {
            let op = self.op(i);
            called_before[slot + 1] = called_before[slot].max(op.call);
            state[slot + 1] = match (op.f, op.outcome) {
                (F::Write, _) => op.arg,
                (F::Cas, Outcome::Ok | Outcome::Info) => op.new,
                _ => state[slot],
            };
        }
        let mut returned_from = vec![NEVER; n + 1];
        let mut change = vec![n + 1; n + 2]; // the next slot at which the value is another one
        for slot in (0..=n).rev() {
            if slot < n {
                returned_from[slot] = returned_from[slot + 1].min(self.op(order[slot]).ret);
                let same = state[slot] == state[slot + 1];
                change[slot] = if same { change[slot + 1] } else { slot + 1 };
            }
        }
        let mut placed: Vec<(usize, u32)> = Vec::new();
        let mut returning: BinaryHeap<Reverse<(u32, usize)>> = BinaryHeap::new();
        let mut at_least = 0;
        for &i in &self.blind {
            let op = self.op(i);
            while let Some(&Reverse((ret, slot))) = returning.peek() {
                if ret > op.call {
                    break;
                }
                at_least = at_least.max(slot);
                returning.pop();
            }
            let from = returned_from.partition_point(|&ret| ret < op.call).max(at_least);
            let mut slot = from;
            if slot <= n && state[slot] == op.arg {
                slot = change[slot];
            }
            if slot > n || called_before[slot] > op.ret {
                return Err(Zoned::Handover("a failed cas that does not say what it saw"));
            }
            placed.push((slot, i));
            returning.push(Reverse((op.ret, slot)));
        }
        placed.sort_by_key(|&(slot, i)| (slot, self.op(i).call));
        let mut whole = Vec::with_capacity(n + placed.len());
        let mut next = placed.into_iter().peekable();
        for slot in 0..=n {
            while let Some((_, i)) = next.next_if(|&(s, _)| s == slot) {
                whole.push(i);
            }
            whole.extend(order.get(slot));
        }
        Ok(whole)
    }
}
