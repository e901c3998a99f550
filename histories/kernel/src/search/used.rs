//! The operations of unknown outcome that a configuration has used: how many of each class. Each
//! such combination is stored once and has a number.

use super::plan::{NONE, Plan};
use crate::history::F;
use rustc_hash::FxHashMap;

/// (class, how many of it), by class.
type Counts = Box<[(u32, u32)]>;

pub struct Used {
    all: Vec<Counts>,
    known: FxHashMap<Counts, u32>,
    next: FxHashMap<(u32, u32), u32>,
    /// The weight of each: a write, which can replace a cas to the same value, weighs more than a
    /// cas.
    weights: Vec<u32>,
    is_cas: Vec<bool>,
    stronger: Vec<u32>,
}

impl Used {
    pub fn new(plan: &Plan) -> Used {
        let mut is_cas = vec![false; plan.endless.len()];
        for &class in &plan.endless_classes {
            let first = plan.endless[class as usize][0];
            is_cas[class as usize] = plan.ops[first as usize].f == F::Cas;
        }
        let nothing = Counts::default();
        Used {
            all: vec![nothing.clone()],
            known: FxHashMap::from_iter([(nothing, 0)]),
            next: FxHashMap::default(),
            weights: vec![0],
            is_cas,
            stronger: plan.stronger.clone(),
        }
    }

    pub fn counts(&self, used: u32) -> &[(u32, u32)] {
        &self.all[used as usize]
    }

    pub fn weight(&self, used: u32) -> u32 {
        self.weights[used as usize]
    }

    /// One more of a class.
    pub fn with(&mut self, used: u32, class: u32) -> u32 {
        if let Some(&next) = self.next.get(&(used, class)) {
            return next;
        }
        let mut counts = self.all[used as usize].to_vec();
        match counts.binary_search_by_key(&class, |u| u.0) {
            Ok(place) => counts[place].1 += 1,
            Err(place) => counts.insert(place, (class, 1)),
        }
        let counts = Counts::from(counts);
        let number = match self.known.get(&counts) {
            Some(&number) => number,
            None => {
                let number = self.all.len() as u32;
                let more = if self.is_cas[class as usize] { 2 } else { 3 };
                self.weights.push(self.weight(used) + more);
                self.all.push(counts.clone());
                self.known.insert(counts, number);
                number
            }
        };
        self.next.insert((used, class), number);
        number
    }

    /// Whether a configuration that used `a` can do all that one that used `b` can.
    /// The operations left for `b` must be matched by those left for `a`, each by its own class, or
    /// a cas by a write that leaves the same value: in its place in any order, the write does what
    /// the cas did (and a cas that did nothing need not be replaced).
    pub fn covers(&self, a: u32, b: u32) -> bool {
        if a == b || a == 0 {
            return true;
        }
        if self.weight(a) > self.weight(b) {
            return false;
        }
        let (a, b) = (&self.all[a as usize], &self.all[b as usize]);
        let mut place = 0;
        for &(class, n) in a.iter() {
            while place < b.len() && b[place].0 < class {
                place += 1;
            }
            let other = if place < b.len() && b[place].0 == class { b[place].1 } else { 0 };
            if n > other && !self.replaced(a, b, self.stronger[class as usize]) {
                return false;
            }
        }
        true
    }

    /// Whether `a` has so many more writes of a class left than `b` that they make up for all the
    /// cas to the same value that it has fewer of.
    fn replaced(&self, a: &[(u32, u32)], b: &[(u32, u32)], write: u32) -> bool {
        if write == NONE {
            return false;
        }
        let count = |counts: &[(u32, u32)], class: u32| {
            counts.binary_search_by_key(&class, |u| u.0).map_or(0, |place| counts[place].1)
        };
        let spare = i64::from(count(b, write)) - i64::from(count(a, write));
        let missing = a.iter().filter(|(class, _)| self.stronger[*class as usize] == write);
        let missing: i64 =
            missing.map(|&(class, n)| i64::from(n.saturating_sub(count(b, class)))).sum();
        missing <= spare
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{NEVER, Op, Outcome};
    use crate::models::Kind;
    use crate::values::NULL;

    fn lost(call: u32, f: F, arg: u32, new: u32) -> Op {
        let outcome = Outcome::Info;
        let (res, ret) = (NULL, NEVER);
        Op { call, ret, arg, new, res, f, outcome, seen: false, observed: false }
    }

    /// Every two of the counts up to 2 of: write 1, cas 2 to 1, cas 3 to 1, write 2.
    #[test]
    fn it_covers_exactly_where_every_operation_left_has_one_that_can_do_it() {
        let kinds = [(F::Write, 1, NULL), (F::Cas, 2, 1), (F::Cas, 3, 1), (F::Write, 2, NULL)];
        let ops: Vec<Op> = (0..8)
            .map(|i| (i, kinds[i as usize / 2]))
            .map(|(i, (f, arg, new))| lost(i, f, arg, new))
            .collect();
        let plan = Plan::new(Kind::CasRegister, &ops);
        let mut used = Used::new(&plan);
        let counts = |code: u32| [code % 3, code / 3 % 3, code / 9 % 3, code / 27 % 3];
        let numbers: Vec<u32> = (0..81)
            .map(|code| {
                let mut number = 0;
                for (class, n) in counts(code).into_iter().enumerate() {
                    number = (0..n).fold(number, |number, _| used.with(number, class as u32));
                }
                number
            })
            .collect();
        for a in 0..81 {
            for b in 0..81 {
                let (left_a, left_b) = (counts(a).map(|n| 2 - n), counts(b).map(|n| 2 - n));
                let needed = (left_b[1].saturating_sub(left_a[1]))
                    + left_b[2].saturating_sub(left_a[2])
                    + left_b[0];
                let truth = needed <= left_a[0] && left_b[3] <= left_a[3];
                let said = used.covers(numbers[a as usize], numbers[b as usize]);
                assert_eq!(said, truth, "{:?} {:?}", counts(a), counts(b));
            }
        }
    }
}
