//! Logs, and keys that are only appended to, whose elements are all different: exact, in linear time.
//! A list only grows, so every read is a prefix of the longest one, or the two contradict each
//! other; the longest read gives the order of the elements in it, and all others were appended later.
//! A read comes between the last element that it holds and the next. So the groups
//!
//! ```text
//! reads of 0 elements | append of the 1st | reads of 1 | append of the 2nd | ... | appends unseen
//! ```
//! come in this order in any linearization, and they can unless something in a later group returned
//! before something in an earlier one was called. An invalid answer names the few operations that
//! prove it by themselves once the lists in them are cut down to the elements appended among them
//! (and, where there is none, to the one that was never appended).

use crate::history::{F, Op, Outcome};
use crate::models::Kind;
use crate::monitors::{Group, in_order, list};
use crate::values::{Id, NULL, Value, Values};
use crate::zones::Zoned;
use rustc_hash::{FxHashMap, FxHashSet};

/// Whether the operations are about one list.
pub fn are_lists(kind: Kind, ops: &[Op]) -> bool {
    kind == Kind::Log || (kind == Kind::Kv && ops.iter().any(|op| op.f == F::Append))
}

struct Lists<'a> {
    ops: &'a [Op],
    values: &'a Values,
    /// The operation that appends an element.
    writer: FxHashMap<Id, u32>,
    /// The longest read, from the initial list on, and its operation.
    longest: &'a [Id],
    of_longest: Option<u32>,
    start: usize,
    reads: Vec<u32>,
}

/// Judge appends and reads; hands over histories whose elements are not all different.
pub fn lists(kind: Kind, ops: &[Op], initial: Id, values: &Values) -> Zoned {
    match Lists::gather(kind, ops, initial, values) {
        Ok(lists) => lists.judge(),
        Err(why) => Zoned::Handover(why),
    }
}

impl<'a> Lists<'a> {
    fn gather(
        kind: Kind,
        ops: &'a [Op],
        initial: Id,
        values: &'a Values,
    ) -> Result<Self, &'static str> {
        let longest = list(values, initial).ok_or("it is not a list at first")?;
        if kind == Kind::Kv && initial != NULL {
            return Err("it is not empty at first");
        }
        let (writer, start) = (FxHashMap::default(), longest.len());
        let (of_longest, reads) = (None, Vec::new());
        let mut lists = Self { ops, values, writer, longest, of_longest, start, reads };
        for (i, op) in ops.iter().enumerate() {
            match op.f {
                F::Append if op.observed => return Err("appends say their offsets"),
                F::Append => {
                    if lists.writer.insert(op.arg, i as u32).is_some() {
                        return Err("an element is appended twice");
                    }
                }
                F::Read => lists.take(kind, i as u32)?,
                _ => return Err("an operation that lists do not have"),
            }
        }
        if lists.longest[..start].iter().any(|id| lists.writer.contains_key(id)) {
            return Err("an element of the initial list is appended");
        }
        Ok(lists)
    }

    fn take(&mut self, kind: Kind, i: u32) -> Result<(), &'static str> {
        let res = self.ops[i as usize].res;
        // A key that holds no list yet holds null; in a log that is the same.
        let is_empty_list = matches!(self.values.get(res), Value::List(items) if items.is_empty());
        if kind == Kind::Kv && is_empty_list {
            return Err("an empty list is not null");
        }
        let items = list(self.values, res).ok_or("a read that is no list")?;
        if items.len() > self.longest.len() {
            (self.longest, self.of_longest) = (items, Some(i));
        }
        self.reads.push(i);
        Ok(())
    }

    fn items(&self, read: u32) -> &'a [Id] {
        list(self.values, self.ops[read as usize].res).unwrap_or(&[])
    }

    fn judge(self) -> Zoned {
        if let Some(bad) = self.of_longest.and_then(|read| self.odd(read)) {
            return Zoned::Invalid(bad);
        }
        for &read in &self.reads {
            let items = self.items(read);
            let begins = items.len() >= self.start && self.longest[..items.len()] == *items;
            if begins {
                continue;
            }
            if self.start > 0 {
                return Zoned::Handover("a read disagrees, and the list was not empty at first");
            }
            return Zoned::Invalid(self.odd(read).unwrap_or_else(|| self.apart(read)));
        }
        let groups = self.groups();
        match in_order(self.ops, &groups) {
            Ok(()) => Zoned::Valid(groups.concat()),
            Err(_) if self.start > 0 => Zoned::Handover("an order that time forbids"),
            Err([early, late]) => Zoned::Invalid(self.forbidden(early, late)),
        }
    }

    /// What is wrong with one read by itself: an element that was never appended, or that occurs
    /// twice.
    fn odd(&self, read: u32) -> Option<Vec<u32>> {
        let mut seen: FxHashSet<Id> = self.longest[..self.start].iter().copied().collect();
        for element in self.items(read).iter().skip(self.start) {
            match self.writer.get(element) {
                None => return Some(vec![read]),
                Some(&append) if !seen.insert(*element) => return Some(vec![append, read]),
                Some(_) => {}
            }
        }
        None
    }

    /// What proves that this read and the longest one contradict each other: an element that one of
    /// them lacks, though its append had returned; otherwise two elements that they hold in two
    /// orders.
    fn apart(&self, read: u32) -> Vec<u32> {
        let items = self.items(read);
        let place = (0..items.len()).find(|&p| items[p] != self.longest[p]).unwrap_or(0);
        let other = self.of_longest.unwrap_or(read);
        let (mine, its) = (items[place], self.longest[place]);
        for (element, reader, held) in [(its, read, items), (mine, other, self.longest)] {
            let append = self.writer[&element];
            let was_there = self.ops[append as usize].ret < self.ops[reader as usize].call;
            if was_there && !held.contains(&element) {
                return vec![append, reader];
            }
        }
        let mut part = vec![self.writer[&mine], self.writer[&its], read, other];
        part.sort_unstable();
        part
    }

    fn groups(&self) -> Vec<Group> {
        let seen = &self.longest[self.start..];
        let mut groups: Vec<Group> = vec![Vec::new(); 2 * seen.len() + 2];
        for &read in &self.reads {
            groups[2 * (self.items(read).len() - self.start)].push(read);
        }
        let mut unseen: FxHashSet<u32> = self.writer.values().copied().collect();
        for (place, element) in seen.iter().enumerate() {
            let append = self.writer[element];
            unseen.remove(&append);
            groups[2 * place + 1].push(append);
        }
        let last = groups.last_mut().expect("there is a group for the rest");
        let happened = |i: &u32| self.ops[*i as usize].outcome == Outcome::Ok;
        last.extend(unseen.into_iter().filter(happened));
        last.sort_unstable();
        groups
    }

    /// What proves that `late`, which is later in the list's order, returned before `early` began.
    fn forbidden(&self, early: u32, late: u32) -> Vec<u32> {
        let is_read = |i: u32| self.ops[i as usize].f == F::Read;
        let mut part = vec![early, late];
        if is_read(early) && is_read(late) {
            // The later list has this element, and the earlier one does not.
            part.push(self.writer[&self.longest[self.items(early).len()]]);
        } else if !is_read(early) && !is_read(late) {
            part.extend(self.of_longest);
        }
        part.sort_unstable();
        part
    }
}
