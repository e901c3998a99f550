//! Jepsen's history.edn, as far as it is plain: maps of keywords, in a vector, in a list, or one after
//! the other.
//!
//! Python's reader (`formats/jepsen.py`) is the definition. Whatever is not plain here (escapes, tags,
//! sets, big numbers, and anything that is wrong) is not judged but left to it, by `None`.

use crate::files::LOOK;
use crate::history::{Event, F, History, Kind, NEMESIS, Raw};
use crate::json::DEPTH;
use crate::memory::{Limits, Stop};
use crate::values::{Id, NULL, Value};

struct Reader<'a, 'h> {
    text: &'a [u8],
    at: usize,
    history: &'h mut History,
    limits: &'h Limits,
    stopped: Option<Stop>,
}

/// A value, with what an event's fields need to know of it.
#[derive(Clone, Copy)]
enum Form<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
    List(Raw),
    /// A map that is not an event.
    Map(Id),
}

/// Read the whole text into the history: whether it could be, or Python has to read it.
pub fn read(text: &[u8], history: &mut History, limits: &Limits) -> Result<bool, Stop> {
    let mut reader = Reader { text, at: 0, history, limits, stopped: None };
    let plain = std::str::from_utf8(text).is_ok() && reader.events().is_some();
    match reader.stopped {
        Some(stop) => Err(stop),
        None => Ok(plain),
    }
}

impl<'a> Reader<'a, '_> {
    fn events(&mut self) -> Option<()> {
        let mut latest = 0;
        loop {
            self.space();
            let Some(byte) = self.peek() else { break };
            match byte {
                b'[' | b'(' => {
                    let close = if byte == b'[' { b']' } else { b')' };
                    self.at += 1;
                    loop {
                        self.space();
                        if self.peek()? == close {
                            self.at += 1;
                            break;
                        }
                        self.event(&mut latest)?;
                    }
                }
                _ => self.event(&mut latest)?,
            }
        }
        (self.history.events > 0).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b',' | b'\n' | b'\r' | b'\t' => self.at += 1,
                b';' => {
                    let rest = &self.text[self.at..];
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                _ => break,
            }
        }
    }

    fn event(&mut self, latest: &mut i64) -> Option<()> {
        if self.peek()? != b'{' {
            return None;
        }
        self.at += 1;
        let (mut kind, mut f, mut process) = (None, None, None);
        let (mut key, mut value, mut time) = (None, Raw::One(NULL), 0);
        let (mut mismatch, mut empty, mut observed) = (false, false, None);
        let mut given: Vec<&[u8]> = Vec::with_capacity(8);
        loop {
            self.space();
            if self.peek()? == b'}' {
                self.at += 1;
                break;
            }
            let Form::Text(name) = self.form(0)? else { return None };
            if given.contains(&name) {
                return None;
            }
            given.push(name);
            self.space();
            let form = self.form(0)?;
            match name {
                b":type" => kind = Some(kind_of(form)?),
                b":f" => f = Some(f_of(form)?),
                b":process" => {
                    process = Some(match form {
                        Form::Int(number) if number >= 0 => number,
                        Form::Text(b":nemesis") => NEMESIS,
                        _ => return None,
                    })
                }
                b":key" => {
                    key = match form {
                        Form::Nil => None,
                        Form::Int(number) => Some(self.history.key(number.to_string().as_bytes())),
                        Form::Text(text) => Some(self.history.key(text)),
                        _ => return None,
                    }
                }
                b":time" => {
                    time = match form {
                        Form::Nil => 0,
                        Form::Int(number) => number,
                        _ => return None,
                    }
                }
                b":value" => value = self.raw(form),
                b":error" => {
                    mismatch = matches!(form, Form::Text(b"mismatch" | b":mismatch"));
                    empty = matches!(form, Form::Text(b"empty" | b":empty"));
                }
                b":observed" => observed = Some(self.id(form)),
                _ => {}
            }
        }
        let reads = matches!(f, Some(F::Read | F::Get));
        if kind == Some(Kind::Invoke) && reads && !matches!(value, Raw::One(NULL)) {
            return None; // a key, perhaps: `jepsen.independent`
        }
        if u64::from(self.history.events) % LOOK == 0 {
            if let Err(stop) = self.limits.check() {
                self.stopped = Some(stop);
                return None;
            }
        }
        *latest = time.max(*latest);
        let event = Event {
            index: None,
            time: Some(*latest),
            process: process?,
            kind: kind?,
            f: f?,
            key,
            value,
            mismatch,
            empty,
            observed,
            order: None,
        };
        let line = u64::from(self.history.events) + 1;
        self.history.push(&event, line).ok()
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
            Form::Nil => NULL,
            Form::Bool(flag) => values.intern(Value::Bool(flag)),
            Form::Int(number) => values.int(number),
            Form::Float(number) => values.float(number),
            Form::Text(text) => values.text(text),
            Form::Map(id) | Form::List(Raw::One(id)) => id,
            Form::List(Raw::Two(a, b)) => values.intern(Value::List([a, b].into())),
        }
    }

    fn form(&mut self, depth: u32) -> Option<Form<'a>> {
        if depth > DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => self.string(),
            b'[' => self.list(b']', depth),
            b'(' => self.list(b')', depth),
            b'{' => self.map(depth),
            b'#' | b'\\' | b'^' | b'\'' | b'@' | b'`' | b'~' | b')' | b']' | b'}' => None,
            _ => self.atom(),
        }
    }

    fn string(&mut self) -> Option<Form<'a>> {
        let rest = &self.text[self.at + 1..];
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        // Escapes, and characters that have to be, are Python's.
        if rest[end] == b'\\' || rest[..end].iter().any(|&b| b < 0x20) {
            return None;
        }
        self.at += end + 2;
        Some(Form::Text(&rest[..end]))
    }

    fn atom(&mut self) -> Option<Form<'a>> {
        let start = self.at;
        let ends = |b: u8| b" ,\n\r\t;\"()[]{}\\".contains(&b);
        while self.peek().is_some_and(|b| !ends(b)) {
            if !(0x21..0x7f).contains(&self.text[self.at]) {
                return None; // other spaces than these, other letters than these
            }
            self.at += 1;
        }
        let atom = &self.text[start..self.at];
        let text = std::str::from_utf8(atom).ok()?;
        Some(match atom {
            b"nil" => Form::Nil,
            b"true" => Form::Bool(true),
            b"false" => Form::Bool(false),
            [b'0'..=b'9', ..] | [b'-' | b'+', b'0'..=b'9', ..] => match text.parse::<i64>() {
                Ok(number) => Form::Int(number),
                Err(_) => Form::Float(float(text)?),
            },
            _ => Form::Text(atom),
        })
    }

    fn list(&mut self, close: u8, depth: u32) -> Option<Form<'a>> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.space();
            if self.peek()? == close {
                self.at += 1;
                break;
            }
            let form = self.form(depth + 1)?;
            items.push(self.id(form));
        }
        Some(Form::List(match items[..] {
            [a, b] => Raw::Two(a, b),
            _ => Raw::One(self.history.values.intern(Value::List(items.into()))),
        }))
    }

    fn map(&mut self, depth: u32) -> Option<Form<'a>> {
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.space();
            if self.peek()? == b'}' {
                self.at += 1;
                return Some(Form::Map(self.history.values.object(members)));
            }
            let Form::Text(name) = self.form(depth + 1)? else { return None };
            if members.iter().any(|(known, _): &(Vec<u8>, Id)| known == name) {
                return None;
            }
            self.space();
            let form = self.form(depth + 1)?;
            members.push((name.to_vec(), self.id(form)));
        }
    }
}

/// Digits, a point, digits: nothing that two readers could take differently.
fn float(text: &str) -> Option<f64> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, rest) = text.trim_start_matches('-').split_once('.')?;
    (digits(whole) && digits(rest)).then(|| text.parse().ok())?
}

fn kind_of(form: Form) -> Option<Kind> {
    match form {
        Form::Text(b":invoke") => Some(Kind::Invoke),
        Form::Text(b":ok") => Some(Kind::Ok),
        Form::Text(b":fail") => Some(Kind::Fail),
        Form::Text(b":info") => Some(Kind::Info),
        _ => None,
    }
}

fn f_of(form: Form) -> Option<F> {
    match form {
        Form::Text([b':', name @ ..]) if !name.is_empty() => Some(F::named(name)),
        _ => None,
    }
}
