//! From events to operations, in columns by key: the same rules as `operations.pair` in Python.

use crate::values::{Id, NULL, Value, Values};
use rustc_hash::FxHashMap;

/// Positions are those of events in the history; an operation that never returned ends at NEVER.
pub const NEVER: u32 = u32::MAX;

pub const NEMESIS: i64 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum F {
    Read,
    Write,
    Cas,
    Append,
    Add,
    Inc,
    Dec,
    Remove,
    Contains,
    Enqueue,
    Dequeue,
    Push,
    Pop,
    Acquire,
    Release,
    Get,
    Put,
    Unknown,
}

impl F {
    pub fn named(name: &[u8]) -> F {
        match name {
            b"read" => F::Read,
            b"write" => F::Write,
            b"cas" => F::Cas,
            b"append" => F::Append,
            b"add" => F::Add,
            b"inc" => F::Inc,
            b"dec" => F::Dec,
            b"remove" => F::Remove,
            b"contains" => F::Contains,
            b"enqueue" => F::Enqueue,
            b"dequeue" => F::Dequeue,
            b"push" => F::Push,
            b"pop" => F::Pop,
            b"acquire" => F::Acquire,
            b"release" => F::Release,
            b"get" => F::Get,
            b"put" => F::Put,
            _ => F::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    Ok,
    Mismatch,
    Info,
    /// It did not happen; kept only to name dirty reads.
    Failed,
}

/// One operation. `arg` is the value given (for a cas the expected one, `new` the other), `res`
/// what it returned, where `seen`; `observed`: it came as `observed` (a log's offset).
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub call: u32,
    pub ret: u32,
    pub arg: Id,
    pub new: Id,
    pub res: Id,
    pub f: F,
    pub outcome: Outcome,
    pub seen: bool,
    pub observed: bool,
}

/// A value as the parser hands it over: lists of two stay apart until it is clear whether they are
/// the two values of a cas.
#[derive(Clone, Copy, Debug)]
pub enum Raw {
    One(Id),
    Two(Id, Id),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub index: Option<i64>,
    pub time: Option<i64>,
    pub process: i64,
    pub kind: Kind,
    pub f: F,
    pub key: Option<u32>,
    pub value: Raw,
    pub mismatch: bool,
    pub observed: Option<Id>,
    /// Where the system says that it put the operation.
    pub order: Option<i64>,
}

/// What is wrong with a history, and at which line (or event) it is, from 1; 0 is the whole.
#[derive(Debug)]
pub struct Bad {
    pub line: u64,
    pub message: String,
    /// The operation is not one of the model's.
    pub operation: bool,
}

impl Bad {
    pub fn new(line: u64, message: impl Into<String>) -> Bad {
        Bad { line, message: message.into(), operation: false }
    }
}

/// How formats differ in what they mean by a failed cas, and by a process after `info`.
#[derive(Clone, Copy)]
pub struct Rules {
    pub every_failed_cas_mismatched: bool,
    pub reuse_after_info: bool,
}

pub struct Part {
    pub key: Option<u32>,
    pub ops: Vec<Op>,
}

/// The operations by key. Feed it events in order.
pub struct History {
    pub values: Values,
    pub keys: Vec<Box<[u8]>>,
    key_ids: FxHashMap<Box<[u8]>, u32>,
    pub parts: Vec<Part>,
    part_of: Vec<u32>,
    keyless: Option<u32>,
    processes: FxHashMap<i64, u32>,
    open: Vec<Slot>,
    rules: Rules,
    model: crate::models::Kind,
    pub events: u32,
    pub operations: u64,
    /// By the position of the operation's invocation.
    pub orders: FxHashMap<u32, i64>,
    last_index: i64,
    last_time: i64,
    bad_operation: Option<Bad>,
}

fn number(keys: &mut Vec<Box<[u8]>>, ids: &mut FxHashMap<Box<[u8]>, u32>, name: &[u8]) -> u32 {
    if let Some(&id) = ids.get(name) {
        return id;
    }
    let id = keys.len() as u32;
    keys.push(name.into());
    ids.insert(name.into(), id);
    id
}

#[derive(Clone, Copy)]
enum Slot {
    Free,
    Gone,
    Open { part: u32, place: u32 },
}

impl History {
    pub fn new(rules: Rules, model: crate::models::Kind) -> History {
        History {
            values: Values::new(),
            keys: Vec::new(),
            key_ids: FxHashMap::default(),
            parts: Vec::new(),
            part_of: Vec::new(),
            keyless: None,
            processes: FxHashMap::default(),
            open: Vec::new(),
            rules,
            model,
            events: 0,
            operations: 0,
            orders: FxHashMap::default(),
            last_index: -1,
            last_time: 0,
            bad_operation: None,
        }
    }

    /// One line of a native file, as an event.
    pub fn parse_native(&mut self, line: &[u8]) -> Result<Event, String> {
        let History { values, keys, key_ids, .. } = self;
        crate::json::event(line, values, |name| number(keys, key_ids, name))
    }

    pub fn key(&mut self, name: &[u8]) -> u32 {
        number(&mut self.keys, &mut self.key_ids, name)
    }

    /// Take the next event. `line` is for messages.
    pub fn push(&mut self, event: &Event, line: u64) -> Result<(), Bad> {
        let position = self.events;
        if position >= NEVER - 1 {
            return Err(Bad::new(line, "more than 2^32 events: check it in parts"));
        }
        let index = event.index.unwrap_or(line as i64 - 1);
        if index <= self.last_index {
            let last = self.last_index;
            return Err(Bad::new(line, format!("index {index} does not follow {last}")));
        }
        let time = event.time.unwrap_or(self.last_time);
        if time < self.last_time {
            let last = self.last_time;
            return Err(Bad::new(line, format!("time goes back from {last} to {time}")));
        }
        (self.last_index, self.last_time) = (index, time);
        self.events += 1;
        if event.process == NEMESIS {
            return Ok(());
        }
        let slot = self.slot(event.process);
        match (event.kind, self.open[slot]) {
            (Kind::Invoke, Slot::Free) => self.invoke(event, slot, position, line),
            (Kind::Invoke, Slot::Open { .. }) => {
                Err(self.bad(line, event, "has an operation open"))
            }
            (Kind::Invoke, Slot::Gone) => {
                let what = "acts again after an operation with an unknown outcome";
                Err(self.bad(line, event, what))
            }
            (_, Slot::Open { part, place }) => {
                self.complete(event, slot, (part, place), position, line)
            }
            _ => Err(self.bad(line, event, "completes what it never began")),
        }
    }

    fn bad(&self, line: u64, event: &Event, what: &str) -> Bad {
        Bad::new(line, format!("process {} {what}", event.process))
    }

    fn slot(&mut self, process: i64) -> usize {
        // Processes are small numbers in practice; others go through the map.
        if (0..1 << 22).contains(&process) && (process as usize) < self.open.len() + (1 << 16) {
            let known = self.processes.get(&process).copied();
            if known.is_none() && self.processes.is_empty() {
                let place = process as usize;
                if place >= self.open.len() {
                    self.open.resize(place + 1, Slot::Free);
                }
                return place;
            }
        }
        self.mapped_slot(process)
    }

    fn mapped_slot(&mut self, process: i64) -> usize {
        if self.processes.is_empty() {
            // The first stranger: from here on every process goes through the map.
            for place in 0..self.open.len() {
                self.processes.insert(place as i64, place as u32);
            }
        }
        if let Some(&place) = self.processes.get(&process) {
            return place as usize;
        }
        let place = self.open.len();
        self.open.push(Slot::Free);
        self.processes.insert(process, place as u32);
        place
    }

    fn part(&mut self, key: Option<u32>) -> usize {
        let Some(key) = key else {
            let next = self.parts.len() as u32;
            let part = *self.keyless.get_or_insert(next);
            if part == next {
                self.parts.push(Part { key: None, ops: Vec::new() });
            }
            return part as usize;
        };
        if self.part_of.len() <= key as usize {
            self.part_of.resize(key as usize + 1, u32::MAX);
        }
        if self.part_of[key as usize] == u32::MAX {
            self.part_of[key as usize] = self.parts.len() as u32;
            self.parts.push(Part { key: Some(key), ops: Vec::new() });
        }
        self.part_of[key as usize] as usize
    }

    fn whole(&mut self, raw: Raw) -> Id {
        match raw {
            Raw::One(id) => id,
            Raw::Two(a, b) => self.values.intern(Value::List([a, b].into())),
        }
    }

    fn invoke(&mut self, event: &Event, slot: usize, call: u32, line: u64) -> Result<(), Bad> {
        let (arg, new) = match (event.f, event.value) {
            (F::Cas, Raw::Two(expected, new)) => (expected, new),
            (_, raw) => (self.whole(raw), NULL),
        };
        let op = Op {
            call,
            ret: NEVER,
            arg,
            new,
            res: NULL,
            f: event.f,
            outcome: Outcome::Info,
            seen: false,
            observed: false,
        };
        let is_pair = matches!(event.value, Raw::Two(..));
        if self.bad_operation.is_none() {
            if let Some(what) = self.model.refuses(&op, is_pair, &self.values) {
                let what = format!("the model {} cannot take it: {what}", self.model.name());
                self.bad_operation = Some(Bad { line, message: what, operation: true });
            }
        }
        let part = self.part(event.key);
        let ops = &mut self.parts[part].ops;
        self.open[slot] = Slot::Open { part: part as u32, place: ops.len() as u32 };
        ops.push(op);
        self.operations += 1;
        Ok(())
    }

    fn complete(
        &mut self,
        event: &Event,
        slot: usize,
        (part, place): (u32, u32),
        ret: u32,
        line: u64,
    ) -> Result<(), Bad> {
        let f = self.parts[part as usize].ops[place as usize].f;
        if f != event.f {
            return Err(self.bad(line, event, "completes another operation than it began"));
        }
        if event.key.is_some() && event.key != self.parts[part as usize].key {
            return Err(self.bad(line, event, "completes on another key than it began on"));
        }
        let gone = event.kind == Kind::Info && !self.rules.reuse_after_info;
        self.open[slot] = if gone { Slot::Gone } else { Slot::Free };
        let mismatched = f == F::Cas
            && event.kind == Kind::Fail
            && (event.mismatch || self.rules.every_failed_cas_mismatched);
        let res = match (event.kind, event.observed) {
            (Kind::Ok, None) if f == F::Cas => NULL,
            (Kind::Ok, None) => self.whole(event.value),
            (_, observed) => observed.unwrap_or(NULL),
        };
        let op = &mut self.parts[part as usize].ops[place as usize];
        match event.kind {
            Kind::Info | Kind::Invoke => return Ok(()),
            Kind::Fail if !mismatched => {
                op.outcome = Outcome::Failed;
                op.ret = ret;
                self.operations -= 1;
                return Ok(());
            }
            Kind::Fail => {
                op.outcome = Outcome::Mismatch;
                op.seen = event.observed.is_some();
            }
            Kind::Ok => {
                op.outcome = Outcome::Ok;
                op.seen = true;
            }
        }
        op.observed = event.observed.is_some();
        op.res = res;
        op.ret = ret;
        if let Some(order) = event.order {
            self.orders.insert(op.call, order);
        }
        let refused = self.model.refuses_result(op, &self.values);
        if let (Some(what), None) = (refused, &self.bad_operation) {
            let line = u64::from(op.call) + 1;
            self.bad_operation = Some(Bad { line, message: what.into(), operation: true });
        }
        Ok(())
    }

    /// An operation that the model does not have, among those that happened or may have.
    pub fn refused(&mut self) -> Option<Bad> {
        self.bad_operation.take()
    }
}
