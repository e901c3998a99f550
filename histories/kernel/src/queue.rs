//! A queue whose elements are all different, decided in time n log n.
//! Henzinger, Sezgin and Vafeiadis ("Aspect-oriented linearizability proofs", 2013): besides elements
//! that were taken twice, or never put in, only two things can be wrong. x was put in before y was, and
//! y was taken before x was (or x never); or a take found nothing although some element was certainly
//! present all the time (`containers.rs`). If neither is the case, elements are put into an order that
//! both puts and takes allow, and the two sequences are merged consistently with real time; the
//! verifier replays the result.
//!
//! Left to the search: elements that are put in twice, a queue that is not empty at first, and takes
//! of unknown outcome that could not be assigned to the elements that need one.

use crate::containers::{
    Contents, NONE, Stay, assign, contents, emptied_after, operations, place_empties, sure,
};
use crate::history::{NEVER, Op};
use crate::values::{Id, Values};
use crate::zones::Zoned;

pub fn queue(ops: &[Op], initial: Id, values: &Values) -> Zoned {
    let found = match contents(ops, initial, values) {
        Ok(found) => found,
        Err(zoned) => return zoned,
    };
    if found.doubtful.is_empty() {
        return decide(ops, &found.stays, &found.empties);
    }
    let taken: Vec<Stay> = found.stays.iter().filter(|s| s.take != NONE).copied().collect();
    match decide(ops, &taken, &found.empties) {
        Zoned::Invalid(part) => Zoned::Invalid(part),
        _ => guess(ops, found),
    }
}

/// An order in which takes of unknown outcome took what had to be gone, if that is easily found.
fn guess(ops: &[Op], found: Contents) -> Zoned {
    let Contents { mut stays, empties, doubtful } = found;
    let deadlines = deadlines(ops, &stays, &empties);
    match assign(ops, &mut stays, deadlines, &doubtful).then(|| decide(ops, &stays, &empties)) {
        Some(Zoned::Valid(order)) => Zoned::Valid(order),
        _ => Zoned::Handover("it is unclear what takes of unknown outcome took"),
    }
}

/// Exact for these stays and these empty takes.
fn decide(ops: &[Op], stays: &[Stay], empties: &[u32]) -> Zoned {
    if let Some(part) = overtaken(stays) {
        return Zoned::Invalid(part);
    }
    let empty = match place_empties(ops, &sure(stays), empties) {
        Ok(empty) => empty,
        Err(part) => return Zoned::Invalid(part),
    };
    match in_order(spans(stays, &empty)) {
        Some(sorted) => Zoned::Valid(lay_out(&sorted, &empty)),
        None => Zoned::Handover("no order of the elements was found"),
    }
}

/// Two elements that came out in the other order than they went in.
fn overtaken(stays: &[Stay]) -> Option<Vec<u32>> {
    let mut by_put = stays.to_vec();
    by_put.sort_unstable_by_key(|stay| stay.put_ret);
    let mut latest: Vec<Stay> = by_put.clone(); // of all up to here, the one that was taken last
    for at in 1..latest.len() {
        if latest[at - 1].take_call > latest[at].take_call {
            latest[at] = latest[at - 1];
        }
    }
    stays.iter().find_map(|stay| {
        let before = by_put.partition_point(|other| other.put_ret < stay.put_call);
        let other = latest[before.checked_sub(1)?];
        (stay.take_ret < other.take_call).then(|| operations(&[other, *stay]))
    })
}

/// When elements without a take must be gone: when a later one is taken, or the queue was found
/// empty.
fn deadlines(ops: &[Op], stays: &[Stay], empties: &[u32]) -> Vec<(u32, usize)> {
    let mut behind: Vec<(u32, u32)> = stays.iter().map(|s| (s.put_call, s.take_ret)).collect();
    behind.sort_unstable();
    for at in (1..behind.len()).rev() {
        behind[at - 1].1 = behind[at - 1].1.min(behind[at].1);
    }
    let emptied_after = emptied_after(ops, empties);
    let mut found = Vec::new();
    for (place, stay) in stays.iter().enumerate().filter(|(_, stay)| stay.take == NONE) {
        let at = behind.partition_point(|&(call, _)| call < stay.put_ret);
        let moment = behind.get(at).map_or(NEVER, |b| b.1).min(emptied_after(stay.put_ret));
        if moment != NEVER {
            found.push((moment, place));
        }
    }
    found
}

/// The range of an element's put and take (times two), as wide as everything else allows.
struct Span {
    stay: Stay,
    put: (u64, u64),
    take: (u64, u64),
}

/// The queue is empty where takes found nothing: each element's operations are on one side of such
/// a point. A put happens before its take returns, a take after its put is called.
fn spans(stays: &[Stay], empty: &[(u64, u32)]) -> Vec<Span> {
    let mut cuts: Vec<u64> = empty.iter().map(|e| e.0).collect();
    cuts.sort_unstable();
    let twice = |moment: u32| 2 * u64::from(moment);
    let span = |stay: &Stay| {
        let side = cuts.partition_point(|&cut| cut < twice(stay.put_ret.min(stay.take_ret)));
        let from = if side == 0 { 0 } else { cuts[side - 1] };
        let to = cuts.get(side).copied().unwrap_or(u64::MAX);
        let put_call = twice(stay.put_call).max(from);
        let take_ret = twice(stay.take_ret).min(to);
        let put_ret = twice(stay.put_ret).min(take_ret);
        let take_call = twice(stay.take_call).max(put_call);
        Span { stay: *stay, put: (put_call, put_ret), take: (take_call, take_ret) }
    };
    stays.iter().map(span).collect()
}

/// The elements in an order that both puts and takes allow.
fn in_order(spans: Vec<Span>) -> Option<Vec<Span>> {
    let by = |key: &dyn Fn(&Span) -> u64| {
        let mut all: Vec<usize> = (0..spans.len()).collect();
        all.sort_by_key(|&e| key(&spans[e]));
        all
    };
    let (put_calls, put_ends) = (by(&|s| s.put.0), by(&|s| s.put.1));
    let (take_calls, take_ends) = (by(&|s| s.take.0), by(&|s| s.take.1));
    let mut gone = vec![false; spans.len()];
    let mut ready = vec![0_u8; spans.len()];
    let mut sorted = Vec::with_capacity(spans.len());
    let (mut pc, mut pe, mut tc, mut te) = (0, 0, 0, 0);
    let mut found: Vec<usize> = Vec::new();
    while sorted.len() < spans.len() {
        while gone[put_ends[pe]] {
            pe += 1;
        }
        while gone[take_ends[te]] {
            te += 1;
        }
        let (put_end, take_end) = (spans[put_ends[pe]].put.1, spans[take_ends[te]].take.1);
        let mut allow = |e: usize| {
            ready[e] += 1;
            if ready[e] == 2 {
                found.push(e);
            }
        };
        while pc < put_calls.len() && spans[put_calls[pc]].put.0 <= put_end {
            allow(put_calls[pc]);
            pc += 1;
        }
        while tc < take_calls.len() && spans[take_calls[tc]].take.0 <= take_end {
            allow(take_calls[tc]);
            tc += 1;
        }
        let next = found.pop()?;
        gone[next] = true;
        sorted.push(next);
    }
    let mut spans: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
    sorted.into_iter().map(|e| spans[e].take()).collect()
}

/// Every operation as early as possible: when it, and all before it in the order, have been called.
fn lay_out(sorted: &[Span], empty: &[(u64, u32)]) -> Vec<u32> {
    let mut moments: Vec<(u64, usize, u8, u32)> =
        empty.iter().map(|&(moment, i)| (moment, 0, 0, i)).collect();
    let (mut put, mut taken) = (0, 0);
    for (place, span) in sorted.iter().enumerate() {
        put = span.put.0.max(put);
        taken = span.take.0.max(put).max(taken);
        moments.push((put, place + 1, 0, span.stay.put));
        if span.stay.take != NONE {
            moments.push((taken, place + 1, 1, span.stay.take));
        }
    }
    moments.sort_unstable();
    moments.into_iter().map(|moment| moment.3).collect()
}
