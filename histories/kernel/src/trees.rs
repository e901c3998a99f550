//! Two small trees over an array, for the stack's monitor: least values, and coverage.

use std::ops::Range;

/// The least value of every range, one value changed at a time.
pub struct Least {
    leaves: usize,
    least: Vec<u32>,
}

impl Least {
    pub fn new(values: impl ExactSizeIterator<Item = u32>) -> Least {
        let leaves = values.len().next_power_of_two();
        let mut least = vec![u32::MAX; 2 * leaves];
        for (place, value) in values.enumerate() {
            least[leaves + place] = value;
        }
        for node in (1..leaves).rev() {
            least[node] = least[2 * node].min(least[2 * node + 1]);
        }
        Least { leaves, least }
    }

    pub fn set(&mut self, place: usize, value: u32) {
        let mut node = self.leaves + place;
        self.least[node] = value;
        while node > 1 {
            node /= 2;
            self.least[node] = self.least[2 * node].min(self.least[2 * node + 1]);
        }
    }

    /// The first place in the range whose value is below `bound`.
    pub fn first_below(&self, range: Range<usize>, bound: u32) -> Option<usize> {
        self.search(1, 0..self.leaves, &range, bound)
    }

    fn search(
        &self,
        node: usize,
        own: Range<usize>,
        range: &Range<usize>,
        bound: u32,
    ) -> Option<usize> {
        if own.end <= range.start || range.end <= own.start || self.least[node] >= bound {
            return None;
        }
        if own.len() == 1 {
            return Some(own.start);
        }
        let middle = own.start + own.len() / 2;
        self.search(2 * node, own.start..middle, range, bound)
            .or_else(|| self.search(2 * node + 1, middle..own.end, range, bound))
    }
}

/// How many intervals cover each place; ranges are uncovered, and the next bare place is found.
pub struct Coverage {
    leaves: usize,
    /// The least coverage below a node, without what its ancestors hold for all of it.
    least: Vec<i32>,
    /// What a node holds for everything below it.
    own: Vec<i32>,
}

impl Coverage {
    pub fn new(counts: &[i32]) -> Coverage {
        let leaves = counts.len().next_power_of_two();
        let mut least = vec![0; 2 * leaves];
        least[leaves..leaves + counts.len()].copy_from_slice(counts);
        for node in (1..leaves).rev() {
            least[node] = least[2 * node].min(least[2 * node + 1]);
        }
        Coverage { leaves, least, own: vec![0; 2 * leaves] }
    }

    /// One interval less over the range.
    pub fn uncover(&mut self, range: Range<usize>) {
        self.change(1, 0..self.leaves, &range);
    }

    fn change(&mut self, node: usize, own: Range<usize>, range: &Range<usize>) {
        if own.end <= range.start || range.end <= own.start {
            return;
        }
        if range.start <= own.start && own.end <= range.end {
            self.least[node] -= 1;
            self.own[node] -= 1;
            return;
        }
        let middle = own.start + own.len() / 2;
        self.change(2 * node, own.start..middle, range);
        self.change(2 * node + 1, middle..own.end, range);
        self.least[node] = self.own[node] + self.least[2 * node].min(self.least[2 * node + 1]);
    }

    /// The first place from `start` on that nothing covers.
    pub fn first_bare(&self, start: usize) -> Option<usize> {
        self.search(1, 0..self.leaves, start, 0)
    }

    fn search(&self, node: usize, own: Range<usize>, start: usize, above: i32) -> Option<usize> {
        if own.end <= start || self.least[node] + above > 0 {
            return None;
        }
        if own.len() == 1 {
            return Some(own.start);
        }
        let (middle, above) = (own.start + own.len() / 2, above + self.own[node]);
        self.search(2 * node, own.start..middle, start, above)
            .or_else(|| self.search(2 * node + 1, middle..own.end, start, above))
    }
}
