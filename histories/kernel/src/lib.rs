//! The compiled kernel of the checker. Python sees three things: `check_file`, `check_events`, and
//! `Live`, all of which give the same raw verdict; `histories/checker/compiled.py` makes it readable.

mod atoms;
mod containers;
mod edn;
mod fields;
mod files;
mod history;
mod json;
mod judge;
mod lists;
mod memory;
mod minimise;
mod models;
mod monitors;
mod python;
mod queue;
mod search;
mod stack;
#[cfg(test)]
mod testing;
mod trees;
mod values;
mod verify;
mod windows;
mod zones;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
