//! The fields of an event in our own format: which must be given, and which were probably misspelt.
//!
//! The same rules as in Python (`formats/native.py`). A misspelt field would otherwise be read as
//! one that is missing: a value as null, a key as another object.

use crate::history::{F, Kind};
use std::borrow::Cow;

/// The fields of an event. One that is given twice is ambiguous, and refused.
pub const FIELDS: [&[u8]; 11] = [
    b"index",
    b"time",
    b"process",
    b"type",
    b"f",
    b"key",
    b"value",
    b"node",
    b"error",
    b"observed",
    b"order",
];

/// The fields that decide what an event means: their names are compared less strictly.
const DECISIVE: [&[u8]; 5] = [b"key", b"value", b"error", b"observed", b"order"];

const SHORT: [(&[u8], &[u8]); 4] =
    [(b"k", b"key"), (b"v", b"value"), (b"val", b"value"), (b"err", b"error")];

const SHORT_MAX: usize = 3;

fn is_given(given: u32, field: &[u8]) -> bool {
    FIELDS.iter().position(|&known| known == field).is_some_and(|at| given & (1 << at) != 0)
}

/// Whether a name that is none of FIELDS may be meant to be one of them.
pub fn may_be_misspelt(name: &[u8]) -> bool {
    FIELDS.iter().any(|field| is_near(name, field))
}

/// Check the fields of a client's event: `given` are those of FIELDS that are there, a bit for
/// each, `misspelt` the other names that may be meant to be one of them.
pub fn check(kind: Kind, f: F, given: u32, misspelt: &[Cow<'_, [u8]>]) -> Result<(), String> {
    for name in misspelt {
        if let Some(field) = FIELDS.iter().find(|&&f| !is_given(given, f) && is_near(name, f)) {
            let (name, field) = (String::from_utf8_lossy(name), String::from_utf8_lossy(field));
            return Err(format!("{name:?} is not a field of an event: is {field:?} meant?"));
        }
    }
    if is_given(given, b"value") {
        return Ok(());
    }
    if kind == Kind::Invoke && takes_value(f) {
        return Err("has no value, which this operation is invoked with".into());
    }
    if kind == Kind::Ok && answers(f) && !is_given(given, b"observed") {
        return Err("has no value: what this operation answers, or null".into());
    }
    Ok(())
}

/// Whether `name` is probably meant to be `field`: the same in another case, or, for those that
/// decide, a short form, or one letter missing, added, replaced or swapped with the next.
fn is_near(name: &[u8], field: &[u8]) -> bool {
    if name.len() < field.len() && name.len() <= SHORT_MAX {
        let short =
            |&(short, long): &(&[u8], &[u8])| long == field && name.eq_ignore_ascii_case(short);
        if SHORT.iter().any(short) {
            return true;
        }
    }
    if name.len().abs_diff(field.len()) > 1 {
        return false;
    }
    name.eq_ignore_ascii_case(field) || DECISIVE.contains(&field) && differ_by_one(name, field)
}

fn differ_by_one(name: &[u8], field: &[u8]) -> bool {
    let equal = |(a, b): &(&u8, &u8)| a.eq_ignore_ascii_case(b);
    let same = name.iter().zip(field).take_while(equal).count();
    let (a, b) = (&name[same..], &field[same..]);
    let same = a.iter().rev().zip(b.iter().rev()).take_while(equal).count();
    match (&a[..a.len() - same], &b[..b.len() - same]) {
        ([_], [_] | []) | ([], [_]) => true,
        ([x, y], [p, q]) => x.eq_ignore_ascii_case(q) && y.eq_ignore_ascii_case(p),
        _ => false,
    }
}

fn takes_value(f: F) -> bool {
    matches!(
        f,
        F::Write
            | F::Cas
            | F::Append
            | F::Add
            | F::Enqueue
            | F::Push
            | F::Put
            | F::Remove
            | F::Contains
    )
}

fn answers(f: F) -> bool {
    matches!(f, F::Read | F::Get | F::Dequeue | F::Pop | F::Contains | F::Drain)
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn near_names_are_recognised() {
        for (name, field) in [
            ("Key", "key"),
            ("kye", "key"),
            ("keyy", "key"),
            ("val", "value"),
            ("vlaue", "value"),
            ("Time", "time"),
            ("oberved", "observed"),
        ] {
            assert!(is_near(name.as_bytes(), field.as_bytes()), "{name}");
        }
        for (name, field) in [("note", "node"), ("client", "key"), ("seq", "key"), ("x", "key")] {
            assert!(!is_near(name.as_bytes(), field.as_bytes()), "{name}");
        }
    }
}
