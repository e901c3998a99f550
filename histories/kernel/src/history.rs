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
    Delete,
    Drain,
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
            b"delete" => F::Delete,
            b"drain" => F::Drain,
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

/// A value from the parser: lists of two are kept separate until it is clear whether they are the
/// two values of a cas.
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
    /// It failed because the object was empty.
    pub empty: bool,
    pub observed: Option<Id>,
    /// The position that the system reported for the operation.
    pub order: Option<i64>,
}

/// An error of a history, with its line (or event) from 1; 0 is the whole.
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

/// The differences of formats: the meaning of a failed cas, and of a process after `info`.
#[derive(Clone, Copy)]
pub struct Rules {
    pub every_failed_cas_mismatched: bool,
    /// A process may continue after `info`; one that completes nothing is ignored, and one of
    /// another name completes whatever is open.
    pub jepsen: bool,
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
    /// Names of processes that are not numbers.
    names: Vec<Box<[u8]>>,
    name_ids: FxHashMap<Box<[u8]>, u32>,
    pub parts: Vec<Part>,
    part_of: Vec<u32>,
    keyless: Option<u32>,
    processes: FxHashMap<i64, u32>,
    open: Vec<Slot>,
    rules: Rules,
    model: crate::models::Kind,
    pub events: u32,
    /// The position of each event in the text, where it does not follow from its number.
    pub places: Vec<(usize, usize)>,
    pub operations: u64,
    /// Operations for which the system reported a position.
    pub answered: u64,
    /// Operations that completed with another value than they were invoked with.
    pub changed: u64,
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
            names: Vec::new(),
            name_ids: FxHashMap::default(),
            parts: Vec::new(),
            part_of: Vec::new(),
            keyless: None,
            processes: FxHashMap::default(),
            open: Vec::new(),
            rules,
            model,
            events: 0,
            places: Vec::new(),
            operations: 0,
            answered: 0,
            changed: 0,
            orders: FxHashMap::default(),
            last_index: -1,
            last_time: 0,
            bad_operation: None,
        }
    }

    /// One line of a native file, as an event.
    pub fn parse_native(&mut self, line: &[u8]) -> Result<Event, String> {
        let History { values, keys, key_ids, names, name_ids, .. } = self;
        let mut process = |name: &[u8]| -2 - i64::from(number(names, name_ids, name));
        crate::json::event(line, values, |name| number(keys, key_ids, name), &mut process)
    }

    pub fn key(&mut self, name: &[u8]) -> u32 {
        number(&mut self.keys, &mut self.key_ids, name)
    }

    /// Take the next event. `line` is for messages.
    pub fn push(&mut self, event: &Event, line: u64) -> Result<(), Bad> {
        if event.f == F::Delete {
            let event = self.without_delete(event, line);
            return self.take(&event, line);
        }
        self.take(event, line)
    }

    /// A delete is a write of the value of a missing key, unless it answers whether the key was
    /// there: that is left to the reference.
    fn without_delete(&mut self, event: &Event, line: u64) -> Event {
        let (f, missing) = match self.model {
            crate::models::Kind::Kv => (F::Write, NULL),
            crate::models::Kind::StringMap => (F::Put, self.values.text(b"")),
            _ => return *event,
        };
        let says = match event.value {
            Raw::One(id) => !matches!(self.values.get(id), Value::Null),
            Raw::Two(..) => true,
        };
        if event.kind == Kind::Ok && says && self.bad_operation.is_none() {
            let message = "a delete that answers".into();
            self.bad_operation = Some(Bad { line, message, operation: true });
        }
        let value = if event.kind == Kind::Invoke { missing } else { NULL };
        Event { f, value: Raw::One(value), ..*event }
    }

    fn take(&mut self, event: &Event, line: u64) -> Result<(), Bad> {
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
        if self.rules.jepsen && event.kind == Kind::Info {
            self.open[slot] = Slot::Free;
            return Ok(());
        }
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
        match self.names.get((-2 - event.process) as usize) {
            Some(name) if event.process < NEMESIS => {
                let name = String::from_utf8_lossy(name);
                Bad::new(line, format!("process {name} {what}"))
            }
            _ => Bad::new(line, format!("process {} {what}", event.process)),
        }
    }

    /// The number of a process that has a name: from -2 downwards.
    pub fn process(&mut self, name: &[u8]) -> i64 {
        -2 - i64::from(number(&mut self.names, &mut self.name_ids, name))
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
            // The first large number: from here on every process goes through the map.
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
        self.open[slot] = if event.kind == Kind::Info { Slot::Gone } else { Slot::Free };
        let empty = event.kind == Kind::Fail && event.empty && matches!(f, F::Dequeue | F::Pop);
        let told = (event.kind == Kind::Ok).then(|| self.told(f, event.value)).flatten();
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
            Kind::Fail if empty => {
                op.outcome = Outcome::Ok;
                op.seen = true;
            }
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
        op.res = if empty { NULL } else { res };
        op.ret = ret;
        if let Some((arg, new)) = told {
            let silent = op.arg == NULL && op.new == NULL;
            let puts = matches!(f, F::Write | F::Enqueue | F::Push | F::Cas);
            if (op.arg, op.new) != (arg, new) && (puts || silent) {
                (op.arg, op.new) = (arg, new);
                self.changed += 1;
                if let Some(what) = self.model.refuses(op, f == F::Cas, &self.values) {
                    let line = u64::from(op.call) + 1;
                    self.bad_operation = Some(Bad { line, message: what.into(), operation: true });
                }
            }
        }
        self.answered += 1;
        if let Some(order) = event.order {
            self.orders.insert(op.call, order);
        }
        let refused = self.model.refuses_result(op, &self.values);
        if let (Some(what), None) = (refused, &self.bad_operation) {
            let line = u64::from(op.call) + 1;
            self.bad_operation = Some(Bad { line, message: what.into(), operation: true });
        }
        // An answer without information must not distinguish two operations that do the same.
        let silent = matches!(f, F::Add | F::Inc | F::Dec | F::Remove | F::Release);
        if silent && (op.res == op.arg || !matches!(self.values.get(op.res), Value::Bool(_))) {
            op.res = NULL;
        }
        Ok(())
    }

    /// The value that an operation writes, by its completion: `operations.argument` in Python.
    fn told(&mut self, f: F, value: Raw) -> Option<(Id, Id)> {
        match (f, value) {
            (_, Raw::One(NULL)) => None,
            (F::Cas, Raw::Two(expected, new)) => Some((expected, new)),
            (F::Write | F::Enqueue | F::Push, raw) => Some((self.whole(raw), NULL)),
            (F::Put, Raw::One(id)) => {
                let text = matches!(self.values.get(id), Value::Text(_));
                text.then_some((id, NULL))
            }
            (F::Append | F::Add, raw) => {
                let value = self.whole(raw);
                let says = matches!(self.values.get(value), Value::Bool(_));
                (!says).then_some((value, NULL))
            }
            _ => None,
        }
    }

    /// An operation that the model does not have, among those that happened or may have.
    pub fn refused(&mut self) -> Option<Bad> {
        self.bad_operation.take()
    }
}
