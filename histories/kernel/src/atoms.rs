//! EDN's numbers, strings, characters, keywords and symbols. `formats/edn_atoms.py` is the
//! definition; rare and invalid atoms are left to it (by None).

use std::borrow::Cow;

/// Texts are as Python's reader has them: keywords with their colon, symbols behind a quote.
#[derive(Clone, Debug)]
pub enum Atom<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// A floating-point number that is not whole.
    Fraction(f64),
    /// One that is whole.
    Whole(f64),
    Text(Cow<'a, [u8]>),
}

/// The atom at the beginning of a text, and its size.
pub fn atom(text: &[u8]) -> Option<(Atom<'_>, usize)> {
    let size = size(text)?;
    let token = &text[..size];
    let atom = match token {
        b"nil" => Atom::Nil,
        b"true" => Atom::Bool(true),
        b"false" => Atom::Bool(false),
        [b'0'..=b'9', ..] | [b'-' | b'+', b'0'..=b'9', ..] => number(token)?,
        [b':'] | [b'\'', ..] | [] => return None,
        [b':', ..] => Atom::Text(Cow::Borrowed(token)),
        _ => Atom::Text(Cow::Owned([b"'", token].concat())),
    };
    Some((atom, size))
}

/// The length of the token; None where it holds what Python may read differently.
fn size(text: &[u8]) -> Option<usize> {
    let mut size = 0;
    for &byte in text {
        if b" ,\n\r\t;\"()[]{}\\".contains(&byte) {
            break;
        }
        if !(0x21..0x7f).contains(&byte) || b"^`~@".contains(&byte) {
            return None;
        }
        size += 1;
    }
    Some(size)
}

fn number(token: &[u8]) -> Option<Atom<'static>> {
    let text = std::str::from_utf8(token).ok()?;
    let (sign, digits) = match text.as_bytes()[0] {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        let hex = hex.strip_suffix('N').unwrap_or(hex);
        let is_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let number = is_hex.then(|| i64::from_str_radix(&format!("{sign}{hex}"), 16).ok())?;
        return number.map(Atom::Int);
    }
    let whole = digits.strip_suffix('N').unwrap_or(digits);
    let leads = whole.len() > 1 && whole.starts_with('0');
    if is_digits(whole) && !leads {
        return format!("{sign}{whole}").parse().ok().map(Atom::Int);
    }
    let (before, after) = digits.split_once('.')?;
    let leads = before.len() > 1 && before.starts_with('0');
    if leads || !is_digits(before) || !is_digits(after) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    match number.is_finite() {
        true if number == number.trunc() => Some(Atom::Whole(number)),
        true => Some(Atom::Fraction(number)),
        false => None,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The string at the beginning of a text, and the size of its token; None for one that looks like
/// another kind of value.
pub fn string(text: &[u8]) -> Option<(Cow<'_, [u8]>, usize)> {
    let rest = &text[1..];
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    if rest[end] == b'"' {
        let found = &rest[..end];
        return (!is_marked(found)).then_some((Cow::Borrowed(found), end + 2));
    }
    let mut found = rest[..end].to_vec();
    let mut at = end;
    loop {
        match *rest.get(at)? {
            b'"' => break,
            b'\\' => {
                let (letter, size) = escape(&rest[at + 1..])?;
                found.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
                at += 1 + size;
            }
            byte => {
                found.push(byte);
                at += 1;
            }
        }
    }
    (!is_marked(&found)).then_some((Cow::Owned(found), at + 2))
}

/// The character after a backslash in a string, and the length of the escape in bytes.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let plain = match *text.first()? {
        b't' => '\t',
        b'r' => '\r',
        b'n' => '\n',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        byte @ (b'\\' | b'"' | b'/') => byte as char,
        b'u' => {
            let digits = text.get(1..5).filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
            let digits = std::str::from_utf8(digits).ok()?;
            // Surrogates of a character beyond 16 bits are left to Python.
            return char::from_u32(u32::from_str_radix(digits, 16).ok()?).map(|c| (c, 5));
        }
        _ => return None,
    };
    Some((plain, 1))
}

/// The character after a backslash, by itself or by its name, and the size of the token.
pub fn character(text: &[u8]) -> Option<(u8, usize)> {
    let size = 1 + size(&text[1..])?;
    let letter = match &text[1..size] {
        [letter] => *letter,
        b"newline" => b'\n',
        b"space" => b' ',
        b"tab" => b'\t',
        b"return" => b'\r',
        _ => return None,
    };
    Some((letter, size))
}

/// Whether a string looks like a keyword, a symbol, or a quoted string of that kind.
fn is_marked(text: &[u8]) -> bool {
    matches!(text.first(), Some(b':' | b'\'' | b'"'))
}

/// Whether a name looks like the written form of a value other than a string.
pub fn is_literal(name: &[u8]) -> bool {
    match name {
        b"nil" | b"true" | b"false" => true,
        [b'0'..=b'9' | b'[' | b'{' | b'(' | b'#' | b'\\' | b'^' | b'"', ..] => true,
        [b'+' | b'-', next, ..] => next.is_ascii_digit(),
        _ => false,
    }
}
