//! Our own format, one JSON object a line: parsed from bytes into an `Event`, values interned.
//!
//! It accepts and refuses the same files as Python's reader (`formats/native.py`); a fuzzer compares
//! the two. There is no intermediate tree, which makes it fast.

use crate::fields::{self, FIELDS};
use crate::history::{Event, F, Kind, NEMESIS, Raw};
use crate::values::{Id, NULL, Value, Values};
use std::borrow::Cow;

/// Lists and objects may be nested this deeply: `operations.DEPTH_MAX` in Python.
pub const DEPTH: u32 = 100;

/// Python refuses to read longer integers, so this must refuse them as well.
const DIGITS: usize = 4300;

const COUNT_END: i64 = 1 << 62;

pub struct Line<'a, 'v> {
    bytes: &'a [u8],
    at: usize,
    values: &'v mut Values,
}

type Res<T> = Result<T, String>;

/// A scalar or a list of two, before its field is known.
enum Token<'a> {
    Null,
    Text(Cow<'a, [u8]>),
    Count(i64),
    Other,
}

/// One line as an event. `key` turns a key's name into its number, `process` a process's.
pub fn event(
    line: &[u8],
    values: &mut Values,
    mut key: impl FnMut(&[u8]) -> u32,
    process: &mut impl FnMut(&[u8]) -> i64,
) -> Res<Event> {
    let mut line = Line { bytes: line, at: 0, values };
    let mut event = Event {
        index: None,
        time: None,
        process: i64::MIN,
        kind: Kind::Invoke,
        f: F::Unknown,
        key: None,
        value: Raw::One(NULL),
        mismatch: false,
        empty: false,
        observed: None,
        order: None,
    };
    let (mut has_kind, mut has_f, mut given) = (false, false, 0_u32);
    let mut misspelt = Vec::new();
    line.space();
    line.expect(b'{', "is not a JSON object")?;
    line.space();
    if line.peek() == Some(b'}') {
        line.at += 1;
    } else {
        loop {
            line.space();
            let name = line.string()?;
            line.space();
            line.expect(b':', "is not JSON: a name without a value")?;
            line.space();
            if let Some(field) = FIELDS.iter().position(|&field| field == &*name) {
                if given & (1 << field) != 0 {
                    return Err("has a field that is given twice".into());
                }
                given |= 1 << field;
            }
            match &*name {
                b"index" => event.index = Some(line.count("index")?),
                b"time" => event.time = Some(line.count("time")?),
                b"process" => event.process = line.process(process)?,
                b"type" => {
                    event.kind = line.kind()?;
                    has_kind = true;
                }
                b"f" => {
                    event.f = line.f()?;
                    has_f = true;
                }
                b"key" => event.key = line.key(&mut key)?,
                b"value" => event.value = line.top_value()?,
                b"error" => {
                    if let Token::Text(text) = line.token()? {
                        event.mismatch = &*text == b"mismatch";
                        event.empty = matches!(&*text, b"empty" | b":empty");
                    }
                }
                b"observed" => event.observed = Some(line.value(0)?),
                b"order" => {
                    event.order = match line.token()? {
                        Token::Count(place) => Some(place),
                        _ => None,
                    }
                }
                b"client" | b"seq" => line.skip(0)?, // what our own runs add to every event
                _ => {
                    line.skip(0)?;
                    if fields::may_be_misspelt(&name) {
                        misspelt.push(name);
                    }
                }
            }
            line.space();
            match line.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err("is not JSON: it ends in the middle of an object".into()),
            }
        }
    }
    line.space();
    if line.at != line.bytes.len() {
        return Err("is not JSON: there is more after the object".into());
    }
    if !has_kind {
        return Err("has no type".into());
    }
    if event.process == i64::MIN {
        return Err("has no process".into());
    }
    if !has_f {
        return Err("has no f".into());
    }
    if event.process != NEMESIS {
        fields::check(event.kind, event.f, given, &misspelt)?;
    }
    Ok(event)
}

impl<'a> Line<'a, '_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, message: &str) -> Res<()> {
        if self.next() == Some(byte) { Ok(()) } else { Err(message.into()) }
    }

    fn literal(&mut self, text: &[u8]) -> Res<()> {
        if self.bytes[self.at..].starts_with(text) {
            self.at += text.len();
            return Ok(());
        }
        Err("is not JSON: an unknown literal".into())
    }

    /// A string without its quotes and with escapes resolved.
    fn string(&mut self) -> Res<Cow<'a, [u8]>> {
        self.expect(b'"', "is not JSON: a quote is missing")?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Borrowed(&self.bytes[start..self.at - 1]));
                }
                Some(b'\\') => break,
                Some(byte) if byte >= 0x20 => self.at += 1,
                Some(_) => return Err("is not JSON: a control character in a text".into()),
                None => return Err("is not JSON: a text without its end".into()),
            }
        }
        let mut text = self.bytes[start..self.at].to_vec();
        loop {
            match self.next() {
                Some(b'"') => return Ok(Cow::Owned(text)),
                Some(b'\\') => self.escape(&mut text)?,
                Some(byte) if byte >= 0x20 => text.push(byte),
                Some(_) => return Err("is not JSON: a control character in a text".into()),
                None => return Err("is not JSON: a text without its end".into()),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Res<()> {
        let plain = match self.next() {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'u') => {
                let mut code = self.hex()?;
                if (0xd800..0xdc00).contains(&code) && self.bytes[self.at..].starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    } else {
                        self.at = back;
                    }
                }
                push_code(text, code);
                return Ok(());
            }
            _ => return Err("is not JSON: an unknown escape".into()),
        };
        text.push(plain);
        Ok(())
    }

    fn hex(&mut self) -> Res<u32> {
        let digits = self.bytes.get(self.at..self.at + 4);
        self.at += 4;
        let mut code = 0;
        for &digit in digits.ok_or("is not JSON: a short escape")? {
            let digit = (digit as char).to_digit(16).ok_or("is not JSON: a bad escape")?;
            code = code * 16 + digit;
        }
        Ok(code)
    }

    /// The text of a number, and whether it is an integer.
    fn number(&mut self) -> Res<(&'a str, bool)> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err("is not JSON: an unknown literal".into()),
        }
        let mut integer = true;
        if self.peek() == Some(b'.') && self.digit_at(self.at + 1) {
            integer = false;
            self.at += 1;
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            let sign = matches!(self.bytes.get(self.at + 1), Some(b'+' | b'-'));
            let first = self.at + 1 + usize::from(sign);
            if self.digit_at(first) {
                integer = false;
                self.at = first;
                self.digits();
            }
        }
        let text = &self.bytes[start..self.at];
        if integer && text.len() > DIGITS {
            return Err("is not JSON: an integer of more than 4300 digits".into());
        }
        let text = std::str::from_utf8(text).expect("digits");
        if !integer && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err("is not JSON: a number is too large".into());
        }
        Ok((text, integer))
    }

    fn digit_at(&self, place: usize) -> bool {
        self.bytes.get(place).is_some_and(u8::is_ascii_digit)
    }

    fn digits(&mut self) {
        while self.digit_at(self.at) {
            self.at += 1;
        }
    }

    /// A count in plain decimal form: the common case, digit by digit.
    fn short_count(&mut self) -> Option<i64> {
        let start = self.at;
        let mut number: i64 = 0;
        while self.digit_at(self.at) && self.at - start < 18 {
            number = number * 10 + i64::from(self.bytes[self.at] - b'0');
            self.at += 1;
        }
        let ends = !matches!(self.peek(), Some(b'0'..=b'9' | b'.' | b'e' | b'E'));
        let whole = self.at > start && (self.bytes[start] != b'0' || self.at == start + 1);
        if ends && whole {
            return Some(number);
        }
        self.at = start;
        None
    }

    fn token(&mut self) -> Res<Token<'a>> {
        match self.peek() {
            Some(b'"') => Ok(Token::Text(self.string()?)),
            Some(b'n') => self.literal(b"null").map(|()| Token::Null),
            Some(b'-' | b'0'..=b'9') => {
                if let Some(number) = self.short_count() {
                    return Ok(Token::Count(number));
                }
                let (text, integer) = self.number()?;
                match text.parse::<i64>() {
                    Ok(number) if integer && (0..COUNT_END).contains(&number) => {
                        Ok(Token::Count(number))
                    }
                    _ => Ok(Token::Other),
                }
            }
            _ => self.skip(0).map(|()| Token::Other),
        }
    }

    fn count(&mut self, name: &str) -> Res<i64> {
        match self.token()? {
            Token::Count(number) => Ok(number),
            _ => Err(format!("{name} is not a number from 0 to 2^62")),
        }
    }

    fn process(&mut self, named: &mut impl FnMut(&[u8]) -> i64) -> Res<i64> {
        match self.token()? {
            Token::Count(number) => Ok(number),
            Token::Text(text) if &*text == b"nemesis" => Ok(NEMESIS),
            Token::Text(text) if !text.is_empty() => Ok(named(&text)),
            _ => Err("process is not a number, nor a name".into()),
        }
    }

    fn kind(&mut self) -> Res<Kind> {
        if let Token::Text(text) = self.token()? {
            match &*text {
                b"invoke" => return Ok(Kind::Invoke),
                b"ok" => return Ok(Kind::Ok),
                b"fail" => return Ok(Kind::Fail),
                b"info" => return Ok(Kind::Info),
                _ => {}
            }
        }
        Err("type is none of invoke, ok, fail, info".into())
    }

    fn f(&mut self) -> Res<F> {
        match self.token()? {
            Token::Text(text) if !text.is_empty() => Ok(F::named(&text)),
            _ => Err("f is not the name of an operation".into()),
        }
    }

    fn key(&mut self, number: &mut impl FnMut(&[u8]) -> u32) -> Res<Option<u32>> {
        match self.token()? {
            Token::Null => Ok(None),
            Token::Text(text) => Ok(Some(number(&text))),
            Token::Count(count) => Ok(Some(number(count.to_string().as_bytes()))),
            Token::Other => Err("key is neither a text nor a whole number from 0 to 2^62".into()),
        }
    }

    fn top_value(&mut self) -> Res<Raw> {
        if self.peek() != Some(b'[') {
            return Ok(Raw::One(self.value(0)?));
        }
        let items = self.list(0)?;
        if let [a, b] = items[..] {
            return Ok(Raw::Two(a, b));
        }
        Ok(Raw::One(self.values.intern(Value::List(items.into()))))
    }

    fn value(&mut self, depth: u32) -> Res<Id> {
        if depth > DEPTH {
            return Err("is nested too deeply".into());
        }
        match self.peek() {
            Some(b'0'..=b'9') => {
                if let Some(number) = self.short_count() {
                    return Ok(self.values.int(number));
                }
                self.any_number()
            }
            Some(b'-') => self.any_number(),
            Some(b'n') => self.literal(b"null").map(|()| NULL),
            Some(b't') => self.literal(b"true").map(|()| self.values.intern(Value::Bool(true))),
            Some(b'f') => self.literal(b"false").map(|()| self.values.intern(Value::Bool(false))),
            Some(b'"') => {
                let text = self.string()?;
                Ok(self.values.text(&text))
            }
            Some(b'[') => {
                let items = self.list(depth)?;
                Ok(self.values.intern(Value::List(items.into())))
            }
            Some(b'{') => self.object(depth),
            _ => Err("is not JSON: a value is missing".into()),
        }
    }

    fn any_number(&mut self) -> Res<Id> {
        let (text, integer) = self.number()?;
        if integer {
            return Ok(self.values.integer(text));
        }
        let number: f64 = text.parse().map_err(|_| "is not JSON: a bad number".to_string())?;
        Ok(self.values.float(number))
    }

    fn list(&mut self, depth: u32) -> Res<Vec<Id>> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(items),
                _ => return Err("is not JSON: a list without its end".into()),
            }
        }
    }

    fn object(&mut self, depth: u32) -> Res<Id> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(self.values.object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.expect(b':', "is not JSON: a name without a value")?;
            self.space();
            members.push((name.into_owned(), self.value(depth + 1)?));
            self.space();
            match self.next() {
                Some(b',') => {}
                Some(b'}') => return Ok(self.values.object(members)),
                _ => return Err("is not JSON: an object without its end".into()),
            }
        }
    }

    /// Skip a value that is not needed, as strictly as one that is.
    fn skip(&mut self, depth: u32) -> Res<()> {
        if depth > DEPTH {
            return Err("is nested too deeply".into());
        }
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            Some(b'n') => self.literal(b"null"),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(open @ (b'[' | b'{')) => self.skip_all(open, depth),
            _ => Err("is not JSON: a value is missing".into()),
        }
    }

    fn skip_all(&mut self, open: u8, depth: u32) -> Res<()> {
        self.at += 1;
        let close = if open == b'[' { b']' } else { b'}' };
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            if open == b'{' {
                self.string()?;
                self.space();
                self.expect(b':', "is not JSON: a name without a value")?;
                self.space();
            }
            self.skip(depth + 1)?;
            self.space();
            match self.next() {
                Some(b',') => {}
                Some(byte) if byte == close => return Ok(()),
                _ => return Err("is not JSON: a list or an object without its end".into()),
            }
        }
    }
}

/// UTF-8 for a code point; lone surrogates are kept as three bytes, since Python distinguishes
/// them.
fn push_code(text: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(c) => text.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let (a, b, c) = (code >> 12, (code >> 6) & 63, code & 63);
            text.extend([0xe0 | a as u8, 0x80 | b as u8, 0x80 | c as u8]);
        }
    }
}

/// Whether a piece of text is one JSON object, whatever is in it.
pub fn is_object(text: &[u8]) -> bool {
    let mut values = Values::new();
    let mut line = Line { bytes: text, at: 0, values: &mut values };
    line.space();
    if line.peek() != Some(b'{') || line.skip(0).is_err() {
        return false;
    }
    line.space();
    line.at == text.len()
}
