//! The search: a queue of configurations, from which dominated ones are dropped.
//!
//! A configuration is the object's state, the level (how many operations have returned), which of the
//! operations that are open have taken effect (a bit set over the open window), and which operations
//! of unknown outcome were used. The order of the queue makes it a breadth-first search, which
//! knows all configurations of one level before it goes on to the next and drops the last, or a
//! best-first search, which follows the configuration that is farthest and has used least.
//!
//! Either finds an order if there is one. What keeps them small, besides the four rules of the
//! reference (`reference_search.py`):
//! - Of open operations that do the same, the one that must return first takes effect first: if the
//!   two are exchanged in a valid order, it is still valid. For those that never return this makes the
//!   used ones a number per class, not a set. One that returns goes before one that never does.
//! - States that no remaining operation can distinguish are merged (`equivalence.rs`).
//! - A configuration in which more reads have taken effect dominates: reads change nothing.
//! - So does one that used less, by what is left to use (`used.rs`).

use super::equivalence::{Equivalence, NOT_NEEDED, is_blind, step};
use super::plan::{Cursor, Plan};
use super::used::Used;
use crate::history::{F, Op};
use crate::memory::{Limits, Stop};
use crate::models::{Machine, soon};
use crate::values::Id;
use rustc_hash::FxHashMap;
use std::collections::BinaryHeap;

pub type Bits<const W: usize> = [u64; W];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// All of one level first.
    Breadth,
    /// The farthest first, but so many levels back for each operation of unknown outcome saved.
    Best { levels_per_use: u32 },
}

/// The result of a search, or of a part of it.
pub enum Ended {
    /// Indices of the operations, in order.
    Valid(Vec<u32>),
    /// The level that no order reaches beyond.
    Invalid {
        level: u32,
    },
    /// The steps are used up: it can go on.
    Paused,
    Stopped(Stop),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Node<const W: usize> {
    /// The smallest comes first.
    key: u64,
    number: u32,
    level: u32,
    state: u32,
    used: u32,
    trail: u32,
    /// Whether it is among those seen of its level.
    entered: bool,
    done: Bits<W>,
}

impl<const W: usize> Ord for Node<W> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.key, other.number).cmp(&(self.key, self.number))
    }
}

impl<const W: usize> PartialOrd for Node<W> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const W: usize> Node<W> {
    fn has(&self, slot: u32) -> bool {
        self.done[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    fn set(&mut self, slot: u32) {
        self.done[slot as usize / 64] |= 1 << (slot % 64);
    }
}

/// Comparing so many entries takes about as long as taking one configuration from the queue.
const COMPARED_PER_STEP: u64 = 8;

/// The end of a trail, and of a list of entries.
const END: u32 = u32::MAX;

/// A configuration that was seen: its reads and what it used, under its level, state and writes.
struct Entry<const W: usize> {
    reads: Bits<W>,
    used: u32,
    next: u32,
}

pub struct Engine<'p, 'v, const W: usize> {
    machine: Machine<'v>,
    plan: &'p Plan<'p>,
    order: Order,
    equivalence: Equivalence<'v>,
    blind: bool,
    used: Used,
    cursor: Cursor<W>,
    queue: BinaryHeap<Node<W>>,
    numbers: u32,
    seen: FxHashMap<(u32, u32, Bits<W>), u32>,
    seen_level: u32,
    entries: Vec<Entry<W>>,
    /// (operation, the trail before it)
    trails: Vec<(u32, u32)>,
    trails_max: usize,
    /// By class: the last expansion in which an operation of it was open and not done.
    open_in: Vec<u32>,
    expansions: u32,
    children: Vec<Node<W>>,
    pub deepest: u32,
    /// The work done, in configurations taken; other work counts in proportion.
    pub steps: u64,
    looked_at: u64,
}

impl<'p, 'v, const W: usize> Engine<'p, 'v, W> {
    pub fn new(mut machine: Machine<'v>, plan: &'p Plan<'p>, initial: Id, order: Order) -> Self {
        let state = machine.initial(initial);
        let equivalence = Equivalence::new(&mut machine, plan);
        let mut engine = Engine {
            machine,
            plan,
            order,
            equivalence,
            blind: is_blind(plan),
            used: Used::new(plan),
            cursor: Cursor::new(plan),
            queue: BinaryHeap::new(),
            numbers: 0,
            seen: FxHashMap::default(),
            seen_level: 0,
            entries: Vec::new(),
            trails: Vec::new(),
            trails_max: 1 << 16,
            open_in: vec![0; plan.endless.len()],
            expansions: 0,
            children: Vec::new(),
            deepest: 0,
            steps: 0,
            looked_at: 0,
        };
        let start = Node {
            key: 0,
            number: 0,
            level: 0,
            state,
            used: 0,
            trail: END,
            entered: false,
            done: [0; W],
        };
        engine.put(start);
        engine
    }

    /// Go on for so many steps.
    pub fn run(&mut self, steps: u64, limits: &Limits) -> Ended {
        let until = self.steps.saturating_add(steps);
        while let Some(node) = self.queue.pop() {
            self.steps += 1;
            if self.steps >= self.looked_at + 64 {
                self.looked_at = self.steps;
                let room = limits.check().and_then(|()| limits.check_room(self.growth()));
                if let Err(stop) = room {
                    self.queue.push(node);
                    return Ended::Stopped(stop);
                }
            }
            if let Some(order) = self.take(node) {
                return Ended::Valid(order);
            }
            if self.steps >= until {
                return Ended::Paused;
            }
        }
        Ended::Invalid { level: self.deepest }
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.queue.capacity() * size_of::<Node<W>>()
            + self.entries.capacity() * size_of::<Entry<W>>()
            + self.seen.capacity() * (size_of::<(u32, u32, Bits<W>)>() + 8)
            + self.trails.capacity() * 8
    }

    /// How many bytes the tables that are almost full will take at once when they grow.
    fn growth(&self) -> usize {
        let place = size_of::<(u32, u32, Bits<W>)>() + 8;
        soon(self.queue.len(), self.queue.capacity(), size_of::<Node<W>>())
            + soon(self.entries.len(), self.entries.capacity(), size_of::<Entry<W>>())
            + soon(self.seen.len(), self.seen.capacity(), place)
            + soon(self.trails.len(), self.trails.capacity(), size_of::<(u32, u32)>())
            + self.machine.growth()
    }

    fn put(&mut self, mut node: Node<W>) {
        let weight = u64::from(self.used.weight(node.used));
        node.key = match self.order {
            Order::Breadth => {
                let reads: u32 = node.done.iter().map(|word| word.count_ones()).sum();
                u64::from(node.level) << 32 | weight.min(1 << 20) << 12 | u64::from(4095 - reads)
            }
            Order::Best { levels_per_use } => {
                (1 << 40) + weight * u64::from(levels_per_use) - u64::from(node.level)
            }
        };
        node.number = self.numbers;
        self.numbers = self.numbers.wrapping_add(1);
        self.queue.push(node);
    }

    /// Process one configuration; returns the order, where it has reached the end.
    fn take(&mut self, mut node: Node<W>) -> Option<Vec<u32>> {
        if !node.entered {
            let before = node.level;
            if !self.settle(&mut node) {
                return None;
            }
            self.deepest = self.deepest.max(node.level);
            if node.level == self.plan.levels() {
                return Some(self.trail_of(node.trail));
            }
            if self.order == Order::Breadth && node.level > before {
                self.put(node);
                return None;
            }
            self.forget_levels_before(node.level);
            if !self.enter(&node) {
                return None;
            }
        } else {
            self.cursor.go(self.plan, node.level);
            if self.is_dominated(&node) {
                return None;
            }
        }
        self.expand(&node);
        self.compact();
        None
    }

    /// Let all operations take effect that can without a choice, and pass the returns of those that
    /// have; false where the rest cannot be explained.
    fn settle(&mut self, node: &mut Node<W>) -> bool {
        while node.level < self.plan.levels() {
            self.cursor.go(self.plan, node.level);
            let now = self.plan.moment(node.level);
            node.state = self.equivalence.canonical(&self.machine, node.state, now);
            self.absorb(node);
            if self.equivalence.is_hopeless(node.state, now, self.waits(node)) {
                return false;
            }
            let target = self.plan.returns[node.level as usize];
            let slot = self.plan.slot[target as usize];
            if !node.has(slot) {
                return true;
            }
            node.done[slot as usize / 64] &= !(1 << (slot % 64));
            node.level += 1;
        }
        true
    }

    /// Let every open read whose answer fits the state take effect.
    fn absorb(&mut self, node: &mut Node<W>) {
        for place in 0..self.cursor.open.len() {
            let i = self.cursor.open[place];
            let slot = self.plan.slot[i as usize];
            let is_read = self.cursor.reads[slot as usize / 64] >> (slot % 64) & 1 == 1;
            if is_read && !node.has(slot) && self.step(node.state, i).is_some() {
                node.set(slot);
                node.trail = self.longer(i, node.trail);
            }
        }
    }

    /// Whether an open read has not taken effect.
    fn waits(&self, node: &Node<W>) -> bool {
        !includes(&node.done, &self.cursor.reads)
    }

    fn step(&mut self, state: u32, i: u32) -> Option<u32> {
        step(&mut self.machine, state, &self.plan.ops[i as usize])
    }

    fn longer(&mut self, op: u32, before: u32) -> u32 {
        self.trails.push((op, before));
        (self.trails.len() - 1) as u32
    }

    fn place(&self, node: &Node<W>) -> ((u32, u32, Bits<W>), Bits<W>) {
        let (mut writes, mut reads) = (node.done, node.done);
        for word in 0..W {
            writes[word] &= !self.cursor.reads[word];
            reads[word] &= self.cursor.reads[word];
        }
        ((node.level, node.state, writes), reads)
    }

    /// Record the configuration; false where one that was seen dominates it. The cursor is at its
    /// level.
    fn enter(&mut self, node: &Node<W>) -> bool {
        let (place, reads) = self.place(node);
        let head = self.seen.entry(place).or_insert(END);
        let (mut at, mut compared) = (*head, 0);
        while at != END {
            let known = &self.entries[at as usize];
            compared += 1;
            if includes(&known.reads, &reads) && self.used.covers(known.used, node.used) {
                self.steps += compared / COMPARED_PER_STEP;
                return false;
            }
            at = known.next;
        }
        self.steps += compared / COMPARED_PER_STEP;
        let entry = Entry { reads, used: node.used, next: *head };
        *head = self.entries.len() as u32;
        self.entries.push(entry);
        true
    }

    /// Whether another configuration seen since dominates it.
    fn is_dominated(&mut self, node: &Node<W>) -> bool {
        let (place, reads) = self.place(node);
        let (mut at, mut compared) = (self.seen.get(&place).copied().unwrap_or(END), 0);
        while at != END {
            let known = &self.entries[at as usize];
            compared += 1;
            let other = known.used != node.used || known.reads != reads;
            if other && includes(&known.reads, &reads) && self.used.covers(known.used, node.used) {
                self.steps += compared / COMPARED_PER_STEP;
                return true;
            }
            at = known.next;
        }
        self.steps += compared / COMPARED_PER_STEP;
        false
    }

    /// Every configuration that one more operation leads to.
    fn expand(&mut self, node: &Node<W>) {
        self.expansions += 1;
        self.steps += (self.cursor.active / 64) as u64;
        let now = self.plan.moment(node.level);
        self.expand_open(node, now);
        self.expand_endless(node, now);
        let target = self.plan.returns[node.level as usize];
        let slot = self.plan.slot[target as usize];
        let mut children = std::mem::take(&mut self.children);
        for mut child in children.drain(..) {
            self.absorb(&mut child);
            if self.equivalence.is_hopeless(child.state, now, self.waits(&child)) {
                continue;
            }
            if child.has(slot) {
                child.done[slot as usize / 64] &= !(1 << (slot % 64));
                child.level += 1;
                self.put(child);
            } else if self.enter(&child) {
                child.entered = true;
                self.put(child);
            }
        }
        self.children = children;
    }

    fn expand_open(&mut self, node: &Node<W>, now: u32) {
        let mut forgotten = false;
        for place in 0..self.cursor.open.len() {
            let i = self.cursor.open[place];
            let (slot, class) = (self.plan.slot[i as usize], self.plan.class[i as usize] as usize);
            if node.has(slot) || self.open_in[class] == self.expansions {
                continue;
            }
            self.open_in[class] = self.expansions;
            if self.is_forgotten(i, now) && std::mem::replace(&mut forgotten, true) {
                continue; // equivalent to the one that returns before
            }
            let Some(state) = self.step(node.state, i) else { continue };
            let state = self.equivalence.canonical(&self.machine, state, now);
            let mut next = Node { state, entered: false, ..*node };
            next.set(slot);
            self.bury(&mut next, &self.plan.ops[i as usize], now);
            next.trail = self.longer(i, next.trail);
            self.children.push(next);
        }
    }

    fn expand_endless(&mut self, node: &Node<W>, now: u32) {
        let mut unneeded_write = false;
        for place in 0..self.cursor.active {
            let class = self.plan.endless_classes[place];
            if self.open_in[class as usize] == self.expansions {
                continue; // one that returns does the same
            }
            let counts = self.used.counts(node.used);
            let used = counts.iter().find(|u| u.0 == class).map_or(0, |u| u.1);
            if used >= self.cursor.ready[class as usize] {
                continue;
            }
            let i = self.plan.endless[class as usize][used as usize];
            let op = &self.plan.ops[i as usize];
            let Some(state) = self.step(node.state, i) else { continue };
            let state = self.equivalence.canonical(&self.machine, state, now);
            if state == node.state {
                continue;
            }
            if state == NOT_NEEDED && self.equivalence.are_values() {
                // It can only matter for a failed cas that did not say what it saw; one is enough.
                if !self.blind || (op.f == F::Write && std::mem::replace(&mut unneeded_write, true))
                {
                    continue;
                }
            }
            let mut next = Node { state, entered: false, ..*node };
            next.used = self.used.with(node.used, class);
            self.bury(&mut next, op, now);
            next.trail = self.longer(i, next.trail);
            self.children.push(next);
        }
    }

    /// Let open writes of values that are not needed take effect just before the write `op`, where
    /// they cannot be observed. (With failed cas that do not say what they saw, they might be
    /// needed later.)
    fn bury(&mut self, node: &mut Node<W>, op: &Op, now: u32) {
        if !self.equivalence.are_values() || self.blind || op.f != F::Write {
            return;
        }
        for place in 0..self.cursor.open.len() {
            let i = self.cursor.open[place];
            let slot = self.plan.slot[i as usize];
            if !node.has(slot) && self.is_forgotten(i, now) {
                node.set(slot);
                node.trail = self.longer(i, node.trail);
            }
        }
    }

    /// Whether operation `i` writes a value that is not needed.
    fn is_forgotten(&mut self, i: u32, now: u32) -> bool {
        let op = &self.plan.ops[i as usize];
        // (A list's state number differs from its value number; it is kept, which is always
        // correct.)
        self.equivalence.are_values()
            && op.f == F::Write
            && self.equivalence.canonical(&self.machine, op.arg, now) == NOT_NEEDED
    }

    /// Breadth first, no configuration of an earlier level occurs again.
    fn forget_levels_before(&mut self, level: u32) {
        if self.order != Order::Breadth || level == self.seen_level {
            return;
        }
        self.seen_level = level;
        self.entries.clear();
        if self.seen.capacity() > 1024 && self.seen.len() < self.seen.capacity() / 16 {
            self.seen = FxHashMap::default(); // to empty a large table takes as long as it is large
        }
        self.seen.clear();
    }

    fn trail_of(&self, mut at: u32) -> Vec<u32> {
        let mut order = Vec::new();
        while at != END {
            let (op, before) = self.trails[at as usize];
            order.push(op);
            at = before;
        }
        order.reverse();
        order
    }

    /// Drop the trails that no configuration in the queue refers to, when there are many.
    fn compact(&mut self) {
        if self.trails.len() < self.trails_max {
            return;
        }
        let mut live = vec![false; self.trails.len()];
        for node in &self.queue {
            let mut at = node.trail;
            while at != END && !std::mem::replace(&mut live[at as usize], true) {
                at = self.trails[at as usize].1;
            }
        }
        let mut moved = vec![END; self.trails.len()];
        let mut kept = 0;
        for old in 0..self.trails.len() {
            if live[old] {
                let (op, before) = self.trails[old];
                let before = if before == END { END } else { moved[before as usize] };
                self.trails[kept] = (op, before);
                moved[old] = kept as u32;
                kept += 1;
            }
        }
        self.trails.truncate(kept);
        self.trails_max = (kept * 2).max(1 << 16);
        let mut queue = std::mem::take(&mut self.queue).into_vec();
        for node in &mut queue {
            if node.trail != END {
                node.trail = moved[node.trail as usize];
            }
        }
        self.queue = BinaryHeap::from(queue);
    }
}

fn includes<const W: usize>(more: &Bits<W>, fewer: &Bits<W>) -> bool {
    more.iter().zip(fewer).all(|(more, fewer)| fewer & !more == 0)
}
