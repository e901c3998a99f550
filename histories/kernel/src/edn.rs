//! Jepsen's history.edn: maps, records or vectors `[process type f value]`, in a vector, in a list, or
//! one after the other.
//! Python's reader (`formats/jepsen.py`, `formats/edn.py`) is the definition, also of values: which
//! are equal, and how sets, tags and floats are represented. Rare forms (ratios, namespaced maps,
//! strings that look like keywords) and errors are left to it, by `None`.

use crate::atoms::{self, Atom};
use crate::files::LOOK;
use crate::history::{Event, F, History, Kind, NEMESIS, Raw};
use crate::json::DEPTH;
use crate::memory::{Limits, Stop};
use crate::values::{Id, NULL, Value};
use std::borrow::Cow;

/// The result of reading a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Whole,
    /// Python has to read it.
    Left,
    /// Its values are certainly `[key value]`: it has to be read again as such.
    Independent,
}

struct Reader<'a, 'h> {
    text: &'a [u8],
    at: usize,
    history: &'h mut History,
    limits: &'h Limits,
    /// Whether values are `[key value]`; None: detect it.
    independent: Option<bool>,
    /// Every client's value so far is a pair.
    all_pairs: bool,
    stop: Option<Result<Stop, Reading>>,
}

/// A value, in the form that an event's fields need.
#[derive(Clone)]
enum Form<'a> {
    Atom(Atom<'a>),
    List(Raw),
    /// A map that is not an event, a set, or something tagged.
    Other(Id),
}

/// The fields of an operation, as they are found.
#[derive(Default)]
struct Fields {
    kind: Option<Kind>,
    f: Option<F>,
    process: Option<i64>,
    key: Option<u32>,
    value: Option<Raw>,
    time: i64,
    mismatch: bool,
    empty: bool,
    observed: Option<Id>,
}

/// Read the whole text into the history.
pub fn read(
    text: &[u8],
    history: &mut History,
    limits: &Limits,
    independent: Option<bool>,
) -> Result<Reading, Stop> {
    if std::str::from_utf8(text).is_err() {
        return Ok(Reading::Left);
    }
    let mut reader =
        Reader { text, at: 0, history, limits, independent, all_pairs: true, stop: None };
    let plain = reader.events().is_some();
    match reader.stop {
        Some(Ok(stop)) => Err(stop),
        Some(Err(reading)) => Ok(reading),
        // Pairs that may be keys or values: Python notes it.
        None if independent.is_none() && reader.all_pairs => Ok(Reading::Left),
        None => Ok(if plain { Reading::Whole } else { Reading::Left }),
    }
}

impl<'a> Reader<'a, '_> {
    fn events(&mut self) -> Option<()> {
        let mut latest = 0;
        loop {
            self.space()?;
            let Some(byte) = self.peek() else { break };
            if !matches!(byte, b'[' | b'(') || self.is_operation() {
                self.event(&mut latest)?;
                continue;
            }
            let close = if byte == b'[' { b']' } else { b')' };
            self.at += 1;
            loop {
                self.space()?;
                if self.peek()? == close {
                    self.at += 1;
                    break;
                }
                self.event(&mut latest)?;
            }
        }
        (self.history.events > 0).then_some(())
    }

    /// Whether the list that begins here is an operation, and not a list of them.
    fn is_operation(&self) -> bool {
        let next = self.text[self.at + 1..].iter().find(|b| !b" ,\n\r\t".contains(b));
        !matches!(next, None | Some(b'{' | b'[' | b'(' | b'#' | b']' | b')' | b';' | b'^'))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Skip white space, comments, and forms discarded by `#_`.
    fn space(&mut self) -> Option<()> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b',' | b'\n' | b'\r' | b'\t' => self.at += 1,
                b';' => {
                    let rest = &self.text[self.at..];
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                b'#' if self.text.get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.space()?;
                    self.form(1)?;
                }
                _ => break,
            }
        }
        Some(())
    }

    fn event(&mut self, latest: &mut i64) -> Option<()> {
        let start = self.at;
        while self.peek()? == b'#' {
            self.tag()?; // a record
            self.space()?;
        }
        let fields = match self.peek()? {
            b'{' => self.record()?,
            b'[' => self.vector()?,
            _ => return None,
        };
        if u64::from(self.history.events) % LOOK == 0 {
            if let Err(stop) = self.limits.check() {
                self.stop = Some(Ok(stop));
                return None;
            }
        }
        *latest = fields.time.max(*latest);
        let mut event = Event {
            index: None,
            time: Some(*latest),
            process: fields.process?,
            kind: fields.kind?,
            f: fields.f?,
            key: fields.key,
            value: fields.value.unwrap_or(Raw::One(NULL)),
            mismatch: fields.mismatch,
            empty: fields.empty,
            observed: fields.observed,
            order: None,
        };
        if event.process != NEMESIS {
            self.lift(&mut event)?;
        }
        let line = u64::from(self.history.events) + 1;
        self.history.places.push((start, self.at));
        self.history.push(&event, line).ok()
    }

    fn record(&mut self) -> Option<Fields> {
        self.at += 1;
        let mut fields = Fields::default();
        let mut given: Vec<Cow<'a, [u8]>> = Vec::with_capacity(8);
        loop {
            self.space()?;
            if self.peek()? == b'}' {
                self.at += 1;
                return Some(fields);
            }
            let Form::Atom(Atom::Text(name)) = self.form(0)? else { return None };
            if given.contains(&name) {
                return None;
            }
            self.space()?;
            let form = self.form(0)?;
            match &*name {
                b":type" => fields.kind = Some(kind_of(&form)?),
                b":f" => fields.f = Some(f_of(&form)?),
                b":process" => fields.process = Some(self.process(&form)?),
                b":key" => fields.key = self.key(&form)?,
                b":time" => fields.time = time(&form)?,
                b":value" => fields.value = Some(self.raw(form)),
                b":error" => fields.failed(&form),
                b":observed" => fields.observed = Some(self.id(form)),
                _ => {}
            }
            given.push(name);
        }
    }

    /// `[process type f value]`, and perhaps an error.
    fn vector(&mut self) -> Option<Fields> {
        self.at += 1;
        let mut fields = Fields::default();
        for place in 0.. {
            self.space()?;
            if self.peek()? == b']' {
                self.at += 1;
                return (place >= 3).then_some(fields);
            }
            let form = self.form(0)?;
            match place {
                0 => fields.process = Some(self.process(&form)?),
                1 => fields.kind = Some(kind_of(&form)?),
                2 => fields.f = Some(f_of(&form)?),
                3 => fields.value = Some(self.raw(form)),
                4 => fields.failed(&form),
                _ => return None,
            }
        }
        None
    }

    /// Move the key out of the value, where keys are in the values.
    fn lift(&mut self, event: &mut Event) -> Option<()> {
        let (reads, invokes) = (matches!(event.f, F::Read | F::Get), event.kind == Kind::Invoke);
        let pair = match event.value {
            Raw::Two(key, value) => Some((key, value)),
            Raw::One(_) => None,
        };
        match self.independent {
            Some(false) => return Some(()),
            None => {
                let beside = event.kind == Kind::Info && pair.is_none();
                self.all_pairs &= beside || (pair.is_some() && event.key.is_none());
                let Some((key, value)) = pair else {
                    // The value of a read's invocation may be a key, but not in a pair.
                    let odd = invokes && reads && !matches!(event.value, Raw::One(NULL));
                    return (!odd).then_some(());
                };
                let lifted = event.f == F::Cas && self.is_pair(value) && !self.is_pair(key);
                if self.all_pairs && invokes && ((reads && value == NULL) || lifted) {
                    self.stop = Some(Err(Reading::Independent));
                    return None;
                }
                return (!(invokes && reads)).then_some(());
            }
            Some(true) => {}
        }
        let Some((key, value)) = pair else {
            return (event.kind == Kind::Info).then_some(());
        };
        let name = match self.history.values.get(key) {
            Value::Int(number) => number.to_string().into_bytes(),
            Value::Text(text) if !atoms::is_literal(text) => text.to_vec(),
            _ => return None,
        };
        if event.key.is_some() || (invokes && reads && value != NULL) {
            return None;
        }
        if invokes && event.f == F::Cas && !self.is_pair(value) {
            return None;
        }
        event.key = Some(self.history.key(&name));
        event.value = match self.history.values.get(value) {
            Value::List(items) if items.len() == 2 => Raw::Two(items[0], items[1]),
            _ => Raw::One(value),
        };
        Some(())
    }

    fn is_pair(&self, id: Id) -> bool {
        matches!(self.history.values.get(id), Value::List(items) if items.len() == 2)
    }

    fn process(&mut self, form: &Form) -> Option<i64> {
        match form {
            Form::Atom(Atom::Int(number)) if *number >= 0 => Some(*number),
            Form::Atom(Atom::Text(name)) => match &**name {
                b":nemesis" | b"nemesis" | b"'nemesis" => Some(NEMESIS),
                b"" => None,
                name => Some(self.history.process(name)),
            },
            _ => None,
        }
    }

    fn key(&mut self, form: &Form) -> Option<Option<u32>> {
        match form {
            Form::Atom(Atom::Nil) => Some(None),
            Form::Atom(Atom::Int(number)) => {
                Some(Some(self.history.key(number.to_string().as_bytes())))
            }
            Form::Atom(Atom::Text(name)) if !atoms::is_literal(name) => {
                Some(Some(self.history.key(name)))
            }
            _ => None,
        }
    }

    fn raw(&mut self, form: Form) -> Raw {
        match form {
            Form::List(raw) => raw,
            other => Raw::One(self.id(other)),
        }
    }

    fn id(&mut self, form: Form) -> Id {
        let values = &mut self.history.values;
        match form {
            Form::Atom(Atom::Nil) => NULL,
            Form::Atom(Atom::Bool(flag)) => values.intern(Value::Bool(flag)),
            Form::Atom(Atom::Int(number)) => values.int(number),
            Form::Atom(Atom::Fraction(number)) => values.float(number),
            Form::Atom(Atom::Whole(number)) => {
                let number = values.float(number);
                values.object(vec![(b"#double".to_vec(), number)])
            }
            Form::Atom(Atom::Text(text)) => values.text(&text),
            Form::Other(id) | Form::List(Raw::One(id)) => id,
            Form::List(Raw::Two(a, b)) => values.intern(Value::List([a, b].into())),
        }
    }

    fn form(&mut self, depth: u32) -> Option<Form<'a>> {
        if depth > DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => {
                let (text, size) = atoms::string(&self.text[self.at..])?;
                self.at += size;
                Some(Form::Atom(Atom::Text(text)))
            }
            b'[' => self.list(b']', depth),
            b'(' => self.list(b')', depth),
            b'{' => self.map(depth),
            b'#' if self.text.get(self.at + 1) == Some(&b'{') => self.set(depth),
            b'#' => {
                let name = self.tag()?;
                self.space()?;
                let form = self.form(depth + 1)?;
                let value = self.id(form);
                let values = &mut self.history.values;
                let pair = [values.text(name), value];
                let pair = values.intern(Value::List(pair.into()));
                Some(Form::Other(values.object(vec![(b"#tag".to_vec(), pair)])))
            }
            b'\\' => {
                let (letter, size) = atoms::character(&self.text[self.at..])?;
                self.at += size;
                let values = &mut self.history.values;
                let letter = values.text(&[letter]);
                Some(Form::Other(values.object(vec![(b"#char".to_vec(), letter)])))
            }
            _ => {
                let (atom, size) = atoms::atom(&self.text[self.at..])?;
                self.at += size;
                Some(Form::Atom(atom))
            }
        }
    }

    /// The name of a tag; None for anything else after a hash.
    fn tag(&mut self) -> Option<&'a [u8]> {
        let rest = &self.text[self.at + 1..];
        let inside = |b: &u8| b.is_ascii_alphanumeric() || b"_.*+!?$%&=<>/-".contains(b);
        let size = rest.iter().position(|b| !inside(b)).unwrap_or(rest.len());
        if !rest.first()?.is_ascii_alphabetic() || rest.get(size).is_some_and(|b| !b.is_ascii()) {
            return None;
        }
        self.at += 1 + size;
        Some(&rest[..size])
    }

    fn items(&mut self, close: u8, depth: u32) -> Option<Vec<Id>> {
        let mut items = Vec::new();
        loop {
            self.space()?;
            if self.peek()? == close {
                self.at += 1;
                return Some(items);
            }
            let form = self.form(depth + 1)?;
            items.push(self.id(form));
        }
    }

    fn list(&mut self, close: u8, depth: u32) -> Option<Form<'a>> {
        self.at += 1;
        let items = self.items(close, depth)?;
        Some(Form::List(match items[..] {
            [a, b] => Raw::Two(a, b),
            _ => Raw::One(self.history.values.intern(Value::List(items.into()))),
        }))
    }

    fn set(&mut self, depth: u32) -> Option<Form<'a>> {
        self.at += 2;
        let items = self.items(b'}', depth)?;
        let size = items.len();
        let set = self.history.values.set(items);
        match self.history.values.get(set) {
            Value::Set(items) if items.len() == size => Some(Form::Other(set)),
            _ => None, // an element twice
        }
    }

    fn map(&mut self, depth: u32) -> Option<Form<'a>> {
        self.at += 1;
        let mut members: Vec<(Vec<u8>, Id)> = Vec::new();
        loop {
            self.space()?;
            if self.peek()? == b'}' {
                self.at += 1;
                return Some(Form::Other(self.history.values.object(members)));
            }
            let name = match self.form(depth + 1)? {
                Form::Atom(Atom::Text(name)) if !atoms::is_literal(&name) => name.into_owned(),
                Form::Atom(Atom::Int(number)) => number.to_string().into_bytes(),
                _ => return None,
            };
            if members.iter().any(|(known, _)| *known == name) {
                return None;
            }
            self.space()?;
            let form = self.form(depth + 1)?;
            members.push((name, self.id(form)));
        }
    }
}

impl Fields {
    fn failed(&mut self, form: &Form) {
        if let Form::Atom(Atom::Text(text)) = form {
            self.mismatch = matches!(&**text, b"mismatch" | b":mismatch");
            self.empty = matches!(&**text, b"empty" | b":empty");
        }
    }
}

fn time(form: &Form) -> Option<i64> {
    match form {
        Form::Atom(Atom::Nil | Atom::Fraction(_)) => Some(0),
        Form::Atom(Atom::Int(number)) => Some((*number).max(0)),
        _ => None,
    }
}

fn kind_of(form: &Form) -> Option<Kind> {
    let Form::Atom(Atom::Text(name)) = form else { return None };
    match &**name {
        b":invoke" => Some(Kind::Invoke),
        b":ok" => Some(Kind::Ok),
        b":fail" => Some(Kind::Fail),
        b":info" => Some(Kind::Info),
        _ => None,
    }
}

fn f_of(form: &Form) -> Option<F> {
    match form {
        Form::Atom(Atom::Text(name)) => match &**name {
            [b':', name @ ..] if !name.is_empty() => Some(F::named(name)),
            _ => None,
        },
        _ => None,
    }
}
