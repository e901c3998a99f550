//! The models: the same rules as `models.py`, over numbered states.
//!
//! A state is a number: of a value for registers, a small code for locks, and for everything that
//! grows the number of an interned sequence. `step` gives the next state, or None where the object
//! could not have answered as the operation says.

use crate::history::{F, NEVER, Op, Outcome};
use crate::values::{Id, NULL, Value, Values};
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::hash::BuildHasher;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Register,
    CasRegister,
    Kv,
    StringMap,
    Counter,
    Set,
    Queue,
    Stack,
    Mutex,
    FencedLock,
    Log,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::Register,
        Kind::CasRegister,
        Kind::Kv,
        Kind::StringMap,
        Kind::Counter,
        Kind::Set,
        Kind::Queue,
        Kind::Stack,
        Kind::Mutex,
        Kind::FencedLock,
        Kind::Log,
    ];

    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Register => "register",
            Kind::CasRegister => "cas-register",
            Kind::Kv => "kv",
            Kind::StringMap => "string-map",
            Kind::Counter => "counter",
            Kind::Set => "set",
            Kind::Queue => "queue",
            Kind::Stack => "stack",
            Kind::Mutex => "mutex",
            Kind::FencedLock => "fenced-lock",
            Kind::Log => "log",
        }
    }

    pub fn is_register(self) -> bool {
        matches!(self, Kind::Register | Kind::CasRegister | Kind::Kv)
    }

    fn knows(self, f: F) -> bool {
        match self {
            Kind::Register => matches!(f, F::Read | F::Write),
            Kind::CasRegister => matches!(f, F::Read | F::Write | F::Cas),
            Kind::Kv => matches!(f, F::Read | F::Write | F::Cas | F::Append),
            Kind::StringMap => matches!(f, F::Get | F::Put | F::Append | F::Read | F::Write),
            Kind::Counter => matches!(f, F::Add | F::Inc | F::Dec | F::Read),
            Kind::Set => matches!(f, F::Add | F::Remove | F::Contains | F::Read),
            Kind::Queue => matches!(f, F::Enqueue | F::Dequeue | F::Drain),
            Kind::Stack => matches!(f, F::Push | F::Pop),
            Kind::Mutex | Kind::FencedLock => matches!(f, F::Acquire | F::Release),
            Kind::Log => matches!(f, F::Append | F::Read),
        }
    }

    /// Why the model cannot take this operation, if it cannot.
    pub fn refuses(self, op: &Op, is_pair: bool, values: &Values) -> Option<&'static str> {
        if !self.knows(op.f) {
            return Some("it has no such operation");
        }
        match self {
            _ if op.f == F::Cas && !is_pair => Some("a cas needs the value [expected, new]"),
            Kind::StringMap if !self.is_read(op) => {
                let text = matches!(values.get(op.arg), Value::Text(_));
                (!text).then_some("its value must be a string")
            }
            Kind::Counter if op.f != F::Read => match values.get(op.arg) {
                // 2^32 of these, with an initial value below 2^61, stay below 2^63.
                Value::Int(n) if n.unsigned_abs() < 1 << 30 => None,
                Value::Null if op.f != F::Add => None,
                _ => Some("its value must be a whole number"),
            },
            _ => None,
        }
    }

    /// Why the model's steps below cannot handle the operation's answer, if they cannot: the
    /// reference accepts more kinds of answers, or reports the error.
    pub fn refuses_result(self, op: &Op, values: &Values) -> Option<&'static str> {
        if op.outcome != Outcome::Ok {
            return None;
        }
        let is_string = |value: &Value| matches!(value, Value::Text(_) | Value::Null);
        let is_list = |value: &Value| matches!(value, Value::List(_) | Value::Null);
        match (self, op.f, values.get(op.res)) {
            (Kind::StringMap, F::Read | F::Get, answer) if !is_string(answer) => {
                Some("what it answers must be a string or null")
            }
            (Kind::Set, F::Read, Value::Set(_)) => None,
            (Kind::Set | Kind::Log, F::Read, answer) if !is_list(answer) => {
                Some("what it answers must be a list")
            }
            (Kind::Queue, F::Drain, answer) if !is_list(answer) => {
                Some("what it answers must be a list")
            }
            (Kind::Set, F::Contains, Value::Bool(_)) => None,
            (Kind::Set, F::Contains, _) => Some("what it answers must be true or false"),
            (Kind::Set, F::Add | F::Remove, answer) => {
                let says = *answer != Value::Null && op.res != op.arg;
                let wrong = says && !matches!(answer, Value::Bool(_));
                wrong.then_some("what it answers must be true or false")
            }
            (Kind::Log, F::Append, Value::Int(_)) => None,
            (Kind::Log, F::Append, _) if op.observed => Some("an offset must be a whole number"),
            (Kind::FencedLock, F::Acquire, Value::Bool(false)) => None,
            (Kind::Counter, F::Read, Value::Int(_)) => None,
            (Kind::Counter, F::Read, _) => Some("the value of read must be a whole number"),
            (Kind::FencedLock, F::Acquire, Value::Int(n)) if n.unsigned_abs() < 1 << 62 => None,
            (Kind::FencedLock, F::Acquire, _) => Some("its token is not a number below 2^62"),
            _ => None,
        }
    }

    /// Operations that never change a state.
    pub fn is_read(self, op: &Op) -> bool {
        matches!(op.f, F::Read | F::Get | F::Contains) || op.outcome == Outcome::Mismatch
    }
}

/// The states of one partition, and how operations lead from one to the next.
pub struct Machine<'v> {
    pub kind: Kind,
    pub values: &'v Values,
    sequences: Sequences,
    texts: Texts,
    moves: FxHashMap<(u32, F, Id, Id), Option<u32>>,
}

const LIST: u32 = 1 << 31;

impl<'v> Machine<'v> {
    pub fn new(kind: Kind, values: &'v Values) -> Machine<'v> {
        Machine {
            kind,
            values,
            sequences: Sequences::default(),
            texts: Texts::default(),
            moves: FxHashMap::default(),
        }
    }

    /// The first state; `initial` is the value that the user gave, or null.
    pub fn initial(&mut self, initial: Id) -> u32 {
        match self.kind {
            Kind::Register | Kind::CasRegister | Kind::Kv => self.value_state(initial),
            Kind::StringMap => match self.values.get(initial) {
                Value::Text(text) => self.texts.number(text),
                _ => self.texts.number(b""),
            },
            Kind::Counter => match self.values.get(initial) {
                Value::Int(n) => self.sequences.number(&split(*n)),
                _ => self.sequences.number(&split(0)),
            },
            Kind::Mutex => match self.values.get(initial) {
                Value::Null | Value::Bool(false) | Value::Int(0) => 0,
                _ => 1,
            },
            Kind::FencedLock => match self.values.get(initial) {
                Value::Int(n) => self.lock(false, *n),
                _ => self.lock(false, -1),
            },
            Kind::Set | Kind::Queue | Kind::Stack | Kind::Log => {
                let mut items: Vec<u32> = self.items(initial).to_vec();
                if self.kind == Kind::Set {
                    items.sort_unstable();
                    items.dedup();
                }
                self.sequences.number(&items)
            }
        }
    }

    fn items(&self, id: Id) -> &'v [Id] {
        match self.values.get(id) {
            Value::List(items) | Value::Set(items) => items,
            _ => &[],
        }
    }

    pub fn step(&mut self, state: u32, op: &Op) -> Option<u32> {
        match self.kind {
            Kind::Register | Kind::CasRegister => register(state, op),
            Kind::Kv => self.kv(state, op),
            Kind::StringMap => self.string_map(state, op),
            Kind::Counter => self.counter(state, op),
            Kind::Set => self.set(state, op),
            Kind::Queue | Kind::Stack => self.line(state, op),
            Kind::Mutex => self.mutex(state, op),
            Kind::FencedLock => self.fenced_lock(state, op),
            Kind::Log => self.log(state, op),
        }
    }

    /// How many bytes the tables that are almost full will allocate when they grow.
    pub fn growth(&self) -> usize {
        let s = &self.sequences;
        soon(s.items.len(), s.items.capacity(), 4)
            + soon(s.starts.len(), s.starts.capacity(), 8)
            + soon(s.before.len(), s.before.capacity(), 4)
            + soon(s.heads.len(), s.heads.capacity(), 17)
            + soon(s.pushes.len(), s.pushes.capacity(), 13)
    }

    /// The text of a string-map's state.
    pub fn text(&self, state: u32) -> &[u8] {
        self.texts.get(state)
    }

    /// The state in which a register holds a value: the value's number, or a list's as a sequence.
    pub fn value_state(&mut self, id: Id) -> u32 {
        if self.kind == Kind::Kv && matches!(self.values.get(id), Value::List(_)) {
            return LIST | self.sequences.number(self.items(id));
        }
        id
    }

    fn kv(&mut self, state: u32, op: &Op) -> Option<u32> {
        if op.f == F::Append {
            if state == NULL {
                return Some(LIST | self.sequences.number(&[op.arg]));
            }
            if state & LIST == 0 {
                return (op.outcome == Outcome::Info).then_some(state);
            }
            return Some(LIST | self.sequences.pushed(state & !LIST, op.arg));
        }
        let mut known = *op;
        known.arg = self.value_state(op.arg);
        known.new = self.value_state(op.new);
        known.res = self.value_state(op.res);
        register(state, &known)
    }

    fn log(&mut self, state: u32, op: &Op) -> Option<u32> {
        if op.f == F::Read {
            let same = !op.seen || self.sequences.number(self.items(op.res)) == state;
            let is_list = matches!(self.values.get(op.res), Value::List(_) | Value::Null);
            return (same && (is_list || !op.seen)).then_some(state);
        }
        if op.observed && op.outcome == Outcome::Ok {
            let length = self.sequences.length(state) as i64;
            if *self.values.get(op.res) != Value::Int(length) {
                return None;
            }
        }
        Some(self.sequences.pushed(state, op.arg))
    }

    fn string_map(&mut self, state: u32, op: &Op) -> Option<u32> {
        match op.f {
            F::Read | F::Get => {
                if !op.seen {
                    return Some(state);
                }
                let same = match self.values.get(op.res) {
                    Value::Text(text) => self.texts.get(state) == &**text,
                    Value::Null => self.texts.get(state).is_empty(),
                    _ => false,
                };
                same.then_some(state)
            }
            F::Append => {
                let values = self.values;
                let Value::Text(more) = values.get(op.arg) else { return None };
                if let Some(&next) = self.moves.get(&(state, F::Append, op.arg, NULL)) {
                    return next;
                }
                let text = [self.texts.get(state), more].concat();
                let next = Some(self.texts.number(&text));
                self.moves.insert((state, F::Append, op.arg, NULL), next);
                next
            }
            _ => match self.values.get(op.arg) {
                Value::Text(text) => Some(self.texts.number(text)),
                _ => None,
            },
        }
    }

    fn counter(&mut self, state: u32, op: &Op) -> Option<u32> {
        let now = join(self.sequences.items(state));
        if op.f == F::Read {
            return (!op.seen || *self.values.get(op.res) == Value::Int(now)).then_some(state);
        }
        let amount = match self.values.get(op.arg) {
            Value::Int(n) => *n,
            _ => 1,
        };
        let next = if op.f == F::Dec { now - amount } else { now + amount };
        Some(self.sequences.number(&split(next)))
    }

    fn set(&mut self, state: u32, op: &Op) -> Option<u32> {
        let items = self.sequences.items(state);
        let place = items.binary_search(&op.arg);
        match op.f {
            F::Contains => {
                let said = *self.values.get(op.res) == Value::Bool(true);
                (!op.seen || said == place.is_ok()).then_some(state)
            }
            F::Read => {
                if !op.seen {
                    return Some(state);
                }
                let answer = self.values.get(op.res);
                if !matches!(answer, Value::List(_) | Value::Set(_) | Value::Null) {
                    return None;
                }
                let mut said = self.items(op.res).to_vec();
                said.sort_unstable();
                (said == items).then_some(state)
            }
            F::Add | F::Remove if op.seen && op.res != op.arg && self.says_otherwise(op, place) => {
                None
            }
            F::Add => match place {
                Ok(_) => Some(state),
                Err(place) => {
                    let mut more = items.to_vec();
                    more.insert(place, op.arg);
                    Some(self.sequences.number(&more))
                }
            },
            _ => match place {
                Err(_) => Some(state),
                Ok(place) => {
                    let mut rest = items.to_vec();
                    rest.remove(place);
                    Some(self.sequences.number(&rest))
                }
            },
        }
    }

    /// Whether the answer of an add or a remove contradicts whether it changed anything.
    fn says_otherwise(&self, op: &Op, place: Result<usize, usize>) -> bool {
        match *self.values.get(op.res) {
            Value::Bool(changed) => changed != (place.is_ok() == (op.f == F::Remove)),
            _ => false,
        }
    }

    /// Queue and stack: put at the end; take from the front or from the end.
    fn line(&mut self, state: u32, op: &Op) -> Option<u32> {
        if matches!(op.f, F::Enqueue | F::Push) {
            return Some(self.sequences.pushed(state, op.arg));
        }
        let items = self.sequences.items(state);
        if op.f == F::Drain {
            let same = !op.seen || self.items(op.res) == items;
            return same.then(|| self.sequences.number(&[]));
        }
        if items.is_empty() {
            return (!op.seen || op.res == NULL).then_some(state);
        }
        let place = if self.kind == Kind::Queue { 0 } else { items.len() - 1 };
        if op.seen && items[place] != op.res {
            return None;
        }
        let mut rest = items.to_vec();
        rest.remove(place);
        Some(self.sequences.number(&rest))
    }

    fn lock(&mut self, held: bool, token: i64) -> u32 {
        let [low, high] = split(token);
        self.sequences.number(&[u32::from(held), low, high])
    }

    /// Whether an operation on a lock answered that it changed nothing.
    fn refused(&self, op: &Op) -> bool {
        op.seen && *self.values.get(op.res) == Value::Bool(false)
    }

    fn mutex(&self, state: u32, op: &Op) -> Option<u32> {
        let wanted = u32::from(op.f == F::Acquire);
        if self.refused(op) {
            return (state == wanted).then_some(state);
        }
        if state == wanted {
            return (op.outcome == Outcome::Info).then_some(state);
        }
        Some(wanted)
    }

    fn fenced_lock(&mut self, state: u32, op: &Op) -> Option<u32> {
        let items = self.sequences.items(state);
        let (held, token) = (items[0] == 1, join(&items[1..]));
        let nothing = (op.outcome == Outcome::Info).then_some(state);
        if self.refused(op) {
            return (held == (op.f == F::Acquire)).then_some(state);
        }
        match (op.f, held) {
            (F::Release, true) => Some(self.lock(false, token)),
            (F::Release, false) | (_, true) => nothing,
            (_, false) if !op.seen => Some(self.lock(true, token.saturating_add(1))),
            (_, false) => match self.values.get(op.res) {
                Value::Int(next) if *next > token => Some(self.lock(true, *next)),
                _ => None,
            },
        }
    }
}

fn register(state: u32, op: &Op) -> Option<u32> {
    match op.f {
        F::Read => (!op.seen || op.res == state).then_some(state),
        F::Write => Some(op.arg),
        _ if op.outcome == Outcome::Mismatch => {
            let possible = op.arg != state && (!op.seen || op.res == state);
            possible.then_some(state)
        }
        _ if op.arg == state => Some(op.new),
        _ => (op.outcome == Outcome::Info).then_some(state),
    }
}

fn split(number: i64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

fn join(items: &[u32]) -> i64 {
    i64::from(items[0]) | (i64::from(items[1]) << 32)
}

/// Sequences of numbers, each stored once, contiguously: many short ones take little more memory
/// than their numbers, and are freed at once.
struct Sequences {
    items: Vec<u32>,
    /// The start of each, and the end of the last.
    starts: Vec<usize>,
    /// By hash: the last sequence that has it; and for each sequence the one before.
    heads: FxHashMap<u64, u32>,
    before: Vec<u32>,
    pushes: FxHashMap<(u32, u32), u32>,
}

impl Default for Sequences {
    fn default() -> Sequences {
        Sequences {
            items: Vec::new(),
            starts: vec![0],
            heads: FxHashMap::default(),
            before: Vec::new(),
            pushes: FxHashMap::default(),
        }
    }
}

impl Sequences {
    fn number(&mut self, items: &[u32]) -> u32 {
        let hash = FxBuildHasher.hash_one(items);
        let mut at = self.heads.get(&hash).copied();
        while let Some(number) = at {
            if self.items(number) == items {
                return number;
            }
            at = Some(self.before[number as usize]).filter(|&before| before != u32::MAX);
        }
        let number = self.before.len() as u32;
        self.items.extend_from_slice(items);
        self.starts.push(self.items.len());
        self.before.push(self.heads.insert(hash, number).unwrap_or(u32::MAX));
        number
    }

    fn items(&self, number: u32) -> &[u32] {
        let place = number as usize;
        &self.items[self.starts[place]..self.starts[place + 1]]
    }

    fn length(&self, number: u32) -> usize {
        self.items(number).len()
    }

    fn pushed(&mut self, number: u32, item: u32) -> u32 {
        if let Some(&next) = self.pushes.get(&(number, item)) {
            return next;
        }
        let mut items = self.items(number).to_vec();
        items.push(item);
        let next = self.number(&items);
        self.pushes.insert((number, item), next);
        next
    }
}

/// The memory that a table of entries of this size is about to allocate, if it is almost full.
pub fn soon(len: usize, capacity: usize, size: usize) -> usize {
    if len + len / 16 + 4096 > capacity { 2 * capacity * size } else { 0 }
}

/// Texts, each stored once.
#[derive(Default)]
struct Texts {
    known: FxHashMap<Box<[u8]>, u32>,
    all: Vec<Box<[u8]>>,
}

impl Texts {
    fn number(&mut self, text: &[u8]) -> u32 {
        if let Some(&number) = self.known.get(text) {
            return number;
        }
        let number = self.all.len() as u32;
        self.all.push(text.into());
        self.known.insert(text.into(), number);
        number
    }

    fn get(&self, number: u32) -> &[u8] {
        &self.all[number as usize]
    }
}

/// The operations of a partition that constrain anything: without failures, and without reads of
/// unknown outcome.
pub fn constraining(kind: Kind, ops: &[Op]) -> Vec<Op> {
    let says = |op: &&Op| match op.outcome {
        Outcome::Failed => false,
        Outcome::Info => !kind.is_read(op),
        _ => true,
    };
    let mut found: Vec<Op> = ops.iter().filter(says).copied().collect();
    for op in &mut found {
        if op.outcome == Outcome::Info {
            op.ret = NEVER;
            op.seen = false;
        }
    }
    found
}
