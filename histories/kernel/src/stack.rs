//! A stack whose elements are all different, decided in time n log n.
//! Gibbons and Korach (1997) pose the problem; Lee and Mathur (OOPSLA 2025) and Abdulla and others
//! (2025) give efficient monitors. The rule used here, and its proof:
//!
//! An order of pushes and pops is that of a stack exactly if the elements' stays, from push to pop,
//! are nested or disjoint. Elements still present at the end may be popped afterwards; a push of
//! unknown outcome without a pop may be left out. An element is *certainly present* (see
//! `containers.rs`) from its push's return to its pop's call.
//!
//! 1. An element whose push and pop overlap can be pushed and popped at one point of the overlap, with
//!    nothing in between. That is possible in any order of the rest: such elements are left out.
//! 2. At a point at which nothing is certainly present the stack may be empty (`containers.rs`). So
//!    the certain stays fall into *runs* that overlap, which are independent of one another.
//! 3. In a run, from the first return a of a push to the last call b of a pop, the stack is never
//!    empty, so one element is at the bottom from before a until after b. Its push was called before
//!    a, its pop returns after b. If there is no such element, the run is impossible: so are already
//!    a few of its elements whose certain stays lead from a to b without a gap, since none is one.
//! 4. Any such element z may be the bottom: if the run can be ordered, so can the run without z, and
//!    by 2 with everything happening between just before a and just after b; push z before that, and
//!    pop it after. So z is removed, and the rest, which may fall into several runs, is next.
//!
//! Left to the search: elements that are put in twice, a stack that is not empty at first, and pops
//! of unknown outcome that could not be assigned to the elements that need one (`containers.rs`).
//! An impossible run all of whose elements have known pops is impossible even then.

use crate::containers::{
    Contents, NONE, Stay, assign, chain, contents, emptied_after, operations, place_empties, sure,
};
use crate::history::{NEVER, Op};
use crate::trees::{Coverage, Least};
use crate::values::{Id, Values};
use crate::zones::Zoned;
use std::collections::BTreeSet;
use std::ops::Range;

pub fn stack(ops: &[Op], initial: Id, values: &Values) -> Zoned {
    let found = match contents(ops, initial, values) {
        Ok(found) => found,
        Err(zoned) => return zoned,
    };
    if found.doubtful.is_empty() {
        return decide(ops, &found.stays, &found.empties);
    }
    let popped: Vec<Stay> = found.stays.iter().filter(|s| s.take != NONE).copied().collect();
    match decide(ops, &popped, &found.empties) {
        Zoned::Valid(_) => guess(ops, found),
        other => other,
    }
}

/// An order in which pops of unknown outcome took what had to be gone, if that is easily found.
fn guess(ops: &[Op], found: Contents) -> Zoned {
    let Contents { mut stays, empties, doubtful } = found;
    let deadlines = deadlines(ops, &stays, &empties);
    match assign(ops, &mut stays, deadlines, &doubtful).then(|| decide(ops, &stays, &empties)) {
        Some(Zoned::Valid(order)) => Zoned::Valid(order),
        _ => Zoned::Handover("it is unclear what pops of unknown outcome took"),
    }
}

/// When elements without a pop must be gone: when an element below it is popped, or the stack was
/// found empty.
fn deadlines(ops: &[Op], stays: &[Stay], empties: &[u32]) -> Vec<(u32, usize)> {
    let mut moments: Vec<(u32, bool, usize)> = Vec::with_capacity(2 * stays.len());
    for (place, stay) in stays.iter().enumerate().filter(|(_, stay)| stay.is_sure()) {
        moments.push((stay.put_ret, true, place));
        if stay.take != NONE {
            moments.push((stay.take_call, false, place));
        }
    }
    moments.sort_unstable();
    let emptied_after = emptied_after(ops, empties);
    let mut there: BTreeSet<(u32, usize)> = BTreeSet::new();
    let mut found = Vec::new();
    for (_, begins, place) in moments {
        let stay = &stays[place];
        if !begins {
            there.remove(&(stay.take_ret, place));
        } else if stay.take != NONE {
            there.insert((stay.take_ret, place));
        } else {
            let below = |&&(_, other): &&(u32, usize)| stays[other].put_ret < stay.put_call;
            let below = there.iter().find(below).map_or(NEVER, |&(ret, _)| ret);
            let moment = below.min(emptied_after(stay.put_ret));
            if moment != NEVER {
                found.push((moment, place));
            }
        }
    }
    found
}

/// Rules 1 to 4. Exact for these stays and these empty pops.
fn decide(ops: &[Op], stays: &[Stay], empties: &[u32]) -> Zoned {
    let sure = sure(stays);
    let empty = match place_empties(ops, &sure, empties) {
        Ok(empty) => empty,
        Err(part) => return Zoned::Invalid(part),
    };
    let bottoms = match Runs::new(&sure).solve() {
        Ok(bottoms) => bottoms,
        Err(chain) => return Zoned::Invalid(operations(&chain)),
    };
    Zoned::Valid(lay_out(stays, &sure, &bottoms, &empty))
}

/// Every operation at its point in time. At one point pops come first, the innermost first; then
/// pops that find the stack empty, then pushes, the outermost first; then elements pushed and
/// popped at once.
fn lay_out(
    stays: &[Stay],
    sure: &[Stay],
    bottoms: &[(usize, u32, u32)],
    empty: &[(u64, u32)],
) -> Vec<u32> {
    let mut moments: Vec<(u64, u8, i64, u32)> = Vec::with_capacity(2 * stays.len() + empty.len());
    for (depth, &(place, from, to)) in bottoms.iter().enumerate() {
        let (stay, depth) = (&sure[place], depth as i64);
        moments.push((2 * u64::from(from) - 1, 2, depth, stay.put));
        if stay.take != NONE {
            moments.push((2 * u64::from(to) + 1, 0, -depth, stay.take));
        }
    }
    moments.extend(empty.iter().map(|&(moment, i)| (moment, 1, 0, i)));
    for (number, stay) in stays.iter().enumerate().filter(|(_, stay)| !stay.is_sure()) {
        let moment = 2 * u64::from(stay.put_call.max(stay.take_call)) + 1;
        moments.push((moment, 3, 2 * number as i64, stay.put));
        moments.push((moment, 3, 2 * number as i64 + 1, stay.take));
    }
    moments.sort_unstable();
    moments.into_iter().map(|moment| moment.3).collect()
}

/// Certain stays in the order of their beginnings, with the state of the removal of bottoms.
struct Runs<'a> {
    sure: &'a [Stay],
    /// All beginnings and ends; slot k lies just after times[k].
    times: Vec<u32>,
    coverage: Coverage,
    /// 0 for the remaining ones.
    left: Least,
    /// When its push was called, until that was before its run began; then 0 in `early`.
    pushed: Least,
    /// When its pop returned, from the end of time, until that was after its run ended.
    popped: Least,
    early: Vec<bool>,
    late: Vec<bool>,
    /// 0 for those that may be the bottom of their run: this never changes back, since runs only
    /// become shorter.
    ready: Least,
}

impl Runs<'_> {
    fn new(sure: &[Stay]) -> Runs<'_> {
        let mut times: Vec<u32> = sure.iter().flat_map(|s| [s.put_ret, s.take_call]).collect();
        times.sort_unstable();
        times.dedup();
        let mut counts = vec![0; times.len() + 1];
        for stay in sure {
            counts[slot(&times, stay.put_ret)] += 1;
            counts[slot(&times, stay.take_call)] -= 1;
        }
        for at in 1..counts.len() {
            counts[at] += counts[at - 1];
        }
        Runs {
            sure,
            coverage: Coverage::new(&counts),
            times,
            left: Least::new(sure.iter().map(|_| 0)),
            pushed: Least::new(sure.iter().map(|stay| stay.put_call)),
            popped: Least::new(sure.iter().map(|stay| NEVER - stay.take_ret)),
            early: vec![false; sure.len()],
            late: vec![false; sure.len()],
            ready: Least::new(sure.iter().map(|_| 1)),
        }
    }

    /// Bottoms, outer ones before inner ones: (place, a, b). Or a few stays that are impossible.
    fn solve(mut self) -> Result<Vec<(usize, u32, u32)>, Vec<Stay>> {
        let mut bottoms = Vec::with_capacity(self.sure.len());
        let mut waiting: Vec<Range<usize>> = std::iter::once(0..self.sure.len()).collect();
        while let Some(range) = waiting.pop() {
            let Some(first) = self.left.first_below(range.clone(), 1) else { continue };
            let from = self.sure[first].put_ret;
            let bare = self.coverage.first_bare(slot(&self.times, from));
            let to = self.times[bare.expect("nothing covers what comes after the end")];
            let end = self.sure.partition_point(|stay| stay.put_ret < to);
            if end < range.end {
                waiting.push(end..range.end);
            }
            let run = first..end;
            self.look(run.clone(), from, to);
            let Some(bottom) = self.ready.first_below(run.clone(), 1) else {
                return Err(self.impossible(run, from, to));
            };
            self.take_out(bottom);
            bottoms.push((bottom, from, to));
            waiting.push(run);
        }
        Ok(bottoms)
    }

    /// Which elements of a run extend beyond its beginning, and which beyond its end.
    fn look(&mut self, run: Range<usize>, from: u32, to: u32) {
        while let Some(place) = self.pushed.first_below(run.clone(), from) {
            self.pushed.set(place, u32::MAX);
            self.early[place] = true;
            if self.late[place] {
                self.ready.set(place, 0);
            }
        }
        while let Some(place) = self.popped.first_below(run.clone(), NEVER - to) {
            self.popped.set(place, u32::MAX);
            self.late[place] = true;
            if self.early[place] {
                self.ready.set(place, 0);
            }
        }
    }

    fn take_out(&mut self, place: usize) {
        let stay = &self.sure[place];
        let covered = slot(&self.times, stay.put_ret)..slot(&self.times, stay.take_call);
        self.coverage.uncover(covered);
        self.left.set(place, 1);
        self.ready.set(place, 1);
    }

    fn impossible(&self, run: Range<usize>, from: u32, to: u32) -> Vec<Stay> {
        let left: Vec<Stay> = run
            .filter(|&place| self.left.first_below(place..place + 1, 1).is_some())
            .map(|place| self.sure[place])
            .collect();
        chain(&left, from, to)
    }
}

fn slot(times: &[u32], moment: u32) -> usize {
    times.partition_point(|&time| time < moment)
}
