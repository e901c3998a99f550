//! Values, interned: every distinct JSON value of a history becomes one number.
//!
//! Two values get the same number exactly where Python's `operations.freeze` finds them equal:
//! numbers by their value (1 is 1.0), booleans distinct from numbers, objects in any order of their
//! members.

use rustc_hash::FxHashMap;

pub type Id = u32;

/// The number of null, in every history.
pub const NULL: Id = 0;

/// Integers below this are looked up by index, not by hash.
const DENSE: usize = 1 << 24;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(Box<[u8]>),
    List(Box<[Id]>),
    /// Its elements in the order of their numbers: the same set is the same value.
    Set(Box<[Id]>),
    /// Anything else, in a canonical text: integers beyond 64 bits, fractions, objects.
    Other(Box<[u8]>),
}

#[derive(Default)]
pub struct Values {
    table: Vec<Value>,
    dense: Vec<Id>,
    ints: FxHashMap<i64, Id>,
    rest: FxHashMap<Value, Id>,
}

impl Values {
    pub fn new() -> Values {
        let mut values = Values::default();
        values.table.push(Value::Null);
        values.rest.insert(Value::Null, NULL);
        values
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn get(&self, id: Id) -> &Value {
        &self.table[id as usize]
    }

    pub fn int(&mut self, number: i64) -> Id {
        let place = number as usize;
        if number < 0 || place >= DENSE {
            return self.sparse_int(number);
        }
        if place >= self.dense.len() {
            // Grow only with actual use: one huge number must not allocate a huge table.
            if place > 4 * self.table.len() + (1 << 16) {
                return self.sparse_int(number);
            }
            let size = (place + 1).next_power_of_two().min(DENSE);
            self.dense.resize(size, NULL);
        }
        if self.dense[place] == NULL {
            // It may have been interned while the table was still too small for it.
            let known = self.ints.get(&number).copied();
            self.dense[place] = known.unwrap_or_else(|| self.push(Value::Int(number)));
        }
        self.dense[place]
    }

    fn sparse_int(&mut self, number: i64) -> Id {
        if let Some(&id) = self.ints.get(&number) {
            return id;
        }
        let id = self.push(Value::Int(number));
        self.ints.insert(number, id);
        id
    }

    pub fn intern(&mut self, value: Value) -> Id {
        if let Value::Int(number) = value {
            return self.int(number);
        }
        if let Some(&id) = self.rest.get(&value) {
            return id;
        }
        let id = self.push(value.clone());
        self.rest.insert(value, id);
        id
    }

    pub fn text(&mut self, bytes: &[u8]) -> Id {
        self.intern(Value::Text(bytes.into()))
    }

    pub fn float(&mut self, number: f64) -> Id {
        // Every whole number from -2^63 to below 2^63 is an integer of 64 bits.
        if number == number.trunc()
            && (-9223372036854775808.0..9223372036854775808.0).contains(&number)
        {
            return self.int(number as i64);
        }
        let text =
            if number == number.trunc() { format!("{number:.0}") } else { format!("{number:e}") };
        self.intern(Value::Other(text.into_bytes().into()))
    }

    /// A JSON integer of any length, as its text.
    pub fn integer(&mut self, text: &str) -> Id {
        match text.parse::<i64>() {
            Ok(number) => self.int(number),
            Err(_) => self.intern(Value::Other(text.as_bytes().into())),
        }
    }

    pub fn set(&mut self, mut items: Vec<Id>) -> Id {
        items.sort_unstable();
        items.dedup();
        self.intern(Value::Set(items.into()))
    }

    /// An object: members in the order of their names, the last one of a name wins. That of the one
    /// member "#set" with a list is a set.
    pub fn object(&mut self, mut members: Vec<(Vec<u8>, Id)>) -> Id {
        if let Some((_, last)) = members.last() {
            if members.iter().all(|(name, _)| name == b"#set") {
                if let Value::List(items) = self.get(*last) {
                    let items = items.to_vec();
                    return self.set(items);
                }
            }
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        let mut text = b"{".to_vec();
        for (i, (name, id)) in members.iter().enumerate() {
            if members.get(i + 1).is_some_and(|next| next.0 == *name) {
                continue;
            }
            text.extend((name.len() as u64).to_le_bytes());
            text.extend(name);
            text.extend(id.to_le_bytes());
        }
        self.intern(Value::Other(text.into()))
    }

    fn push(&mut self, value: Value) -> Id {
        let id = Id::try_from(self.table.len()).expect("fewer than 2^32 distinct values");
        self.table.push(value);
        id
    }
}
