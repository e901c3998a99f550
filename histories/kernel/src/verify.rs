//! The verifier of certificates: as simple as possible, and independent of the code that makes them.
//!
//! It executes the operations in the order given, and checks that the object gives the same answers,
//! that the order respects real time, and that no operation that happened is missing.

use crate::history::{Op, Outcome};
use crate::memory::Limits;
use crate::models::Machine;
use crate::values::Id;

/// An order that cannot be replayed within the limits is rejected as well.
pub fn verify(
    machine: &mut Machine,
    initial: Id,
    ops: &[Op],
    order: &[u32],
    limits: &Limits,
) -> Result<(), String> {
    let mut state = machine.initial(initial);
    let mut taken = vec![false; ops.len()];
    let mut latest_call = 0;
    for (place, &i) in order.iter().enumerate() {
        if place % 256 == 0 {
            limits.check().map_err(|stop| stop.reason().to_string())?;
        }
        let op = &ops[i as usize];
        if std::mem::replace(&mut taken[i as usize], true) {
            return Err(format!("operation {i} stands twice in the order"));
        }
        if op.ret < latest_call {
            return Err(format!("operation {i} had returned before one that stands before it"));
        }
        latest_call = latest_call.max(op.call);
        state = machine
            .step(state, op)
            .ok_or_else(|| format!("operation {i} could not have been answered so"))?;
    }
    for (op, taken) in ops.iter().zip(taken) {
        let must = matches!(op.outcome, Outcome::Ok | Outcome::Mismatch);
        if must && !taken {
            return Err(format!("the operation called at {} is missing", op.call));
        }
    }
    Ok(())
}
