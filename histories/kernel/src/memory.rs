//! The memory that the kernel holds: a counting allocator, and the limits of a check.
//!
//! The memory limit applies to what this kernel has allocated since the check began; it is checked
//! together with the clock, every few hundred steps of anything that can grow.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Only blocks of this size and above touch the shared counters' cache line for the peak.
const LARGE: usize = 1 << 12;

/// The memory of a block: the system's allocator uses multiples of 16 bytes, 32 at least.
fn cost(size: usize) -> usize {
    ((size + 23) & !15).max(32)
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(cost(layout.size()), Relaxed) + cost(layout.size());
        if layout.size() >= LARGE {
            PEAK.fetch_max(held, Relaxed);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(cost(layout.size()), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let held = HELD.fetch_add(cost(size), Relaxed) + cost(size);
        HELD.fetch_sub(cost(layout.size()), Relaxed);
        if size >= LARGE {
            PEAK.fetch_max(held - cost(layout.size()), Relaxed);
        }
        unsafe { System.realloc(pointer, layout, size) }
    }
}

pub fn held() -> usize {
    HELD.load(Relaxed)
}

pub fn peak() -> usize {
    PEAK.load(Relaxed).max(held())
}

pub fn reset_peak() {
    PEAK.store(held(), Relaxed);
}

/// Why a check stopped before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Time,
    Memory,
    Width,
    Cancelled,
}

impl Stop {
    pub fn reason(self) -> &'static str {
        match self {
            Stop::Time => "the time limit",
            Stop::Memory => "the memory limit",
            Stop::Width => "more operations open at once on one key than the search can hold",
            Stop::Cancelled => "interrupted",
        }
    }
}

/// The limits of one check; cheap to check often.
pub struct Limits {
    deadline: Option<Instant>,
    memory: usize,
    pub cancelled: Arc<AtomicBool>,
    /// Idle threads of this check.
    idle: Arc<AtomicUsize>,
}

impl Limits {
    pub fn new(seconds: Option<f64>, memory: Option<usize>) -> Limits {
        let allowed = memory.map_or(usize::MAX, |bytes| held().saturating_add(bytes));
        let length = seconds.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok());
        Limits {
            deadline: length.and_then(|l| Instant::now().checked_add(l)),
            memory: allowed,
            cancelled: Arc::default(),
            idle: Arc::default(),
        }
    }

    pub fn check(&self) -> Result<(), Stop> {
        if held() > self.memory {
            return Err(Stop::Memory);
        }
        if self.cancelled.load(Relaxed) {
            return Err(Stop::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Stop::Time),
            _ => Ok(()),
        }
    }

    /// Whether so many more bytes can be held.
    pub fn check_room(&self, bytes: usize) -> Result<(), Stop> {
        if held().saturating_add(bytes) > self.memory { Err(Stop::Memory) } else { Ok(()) }
    }

    /// Take an idle thread, if there is one; `give_thread` returns it.
    pub fn take_thread(&self) -> bool {
        self.idle.fetch_update(Relaxed, Relaxed, |idle| idle.checked_sub(1)).is_ok()
    }

    pub fn give_thread(&self) {
        self.idle.fetch_add(1, Relaxed);
    }

    /// The same limits with so many seconds more.
    pub fn beyond(&self, seconds: f64) -> Limits {
        let mut later = self.within(0.0);
        let more = Duration::from_secs_f64(seconds);
        later.deadline = self.deadline.map(|deadline| deadline + more);
        later
    }

    /// The same limits, ending at most `seconds` from now.
    pub fn within(&self, seconds: f64) -> Limits {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        Limits {
            deadline: Some(self.deadline.map_or(end, |d| d.min(end))),
            memory: self.memory,
            cancelled: Arc::clone(&self.cancelled),
            idle: Arc::clone(&self.idle),
        }
    }
}
