//! The smallest cut of a grid into two: maximum flow by two search trees that are kept from one path to the next (Boykov and
//! Kolmogorov 2004, "An experimental comparison of min-cut/max-flow algorithms").
//!
//! Capacities are whole numbers, so that the cut is the same on every machine.

use std::collections::VecDeque;

/// The eight neighbours of a place, (x, y); the opposite of neighbour `d` is `7 - d`.
pub const NEIGHBOURS: [(i32, i32); 8] = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];

/// The parent of a root: the terminal of its tree.
const TERMINAL: u8 = 8;
/// The parent of what has just lost its own.
const ORPHAN: u8 = 9;

/// Whose tree a place is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    Free,
    Source,
    Sink,
}

/// A grid whose places are joined to their neighbours and to two terminals.
pub struct Grid {
    width: usize,
    height: usize,
    /// What can still flow from each place to each neighbour.
    residual: Vec<[i32; 8]>,
    /// What can still flow from the source, or where below 0, to the sink.
    terminal: Vec<i32>,
    tree: Vec<Tree>,
    /// The neighbour that each place of a tree hangs on.
    parent: Vec<u8>,
    /// When, and how far from the terminal, each place was last seen to hang on it.
    seen: Vec<(u32, u32)>,
    now: u32,
    active: VecDeque<usize>,
    orphans: VecDeque<usize>,
}

impl Grid {
    /// Places without any capacity.
    pub fn new(width: usize, height: usize) -> Self {
        let places = width * height;
        Self {
            width,
            height,
            residual: vec![[0; 8]; places],
            terminal: vec![0; places],
            tree: vec![Tree::Free; places],
            parent: vec![TERMINAL; places],
            seen: vec![(0, 0); places],
            now: 0,
            active: VecDeque::new(),
            orphans: VecDeque::new(),
        }
    }

    /// What cutting `place` off the source costs, less what cutting it off the sink costs.
    pub fn join_terminals(&mut self, place: usize, difference: i32) {
        self.terminal[place] = difference;
    }

    /// What cutting `place` and its neighbour `d` apart costs, either way. Neighbours outside of the grid are none.
    pub fn join(&mut self, place: usize, d: usize, capacity: i32) {
        if let Some(other) = self.neighbour(place, d) {
            self.residual[place][d] = capacity;
            self.residual[other][7 - d] = capacity;
        }
    }

    /// The neighbour `d` of `place`, if that is in the grid.
    pub fn neighbour(&self, place: usize, d: usize) -> Option<usize> {
        let (dx, dy) = NEIGHBOURS[d];
        let (x, y) = ((place % self.width) as i32 + dx, (place / self.width) as i32 + dy);
        let within = x >= 0 && y >= 0 && x < self.width as i32 && y < self.height as i32;
        within.then(|| y as usize * self.width + x as usize)
    }

    /// The side of the source in the smallest cut.
    pub fn cut(mut self) -> Vec<bool> {
        for place in 0..self.terminal.len() {
            self.tree[place] = match self.terminal[place] {
                0 => continue,
                ..0 => Tree::Sink,
                _ => Tree::Source,
            };
            self.active.push_back(place);
        }
        while let Some(&place) = self.active.front() {
            if self.tree[place] == Tree::Free {
                self.active.pop_front();
                continue;
            }
            match self.grow(place) {
                Some((from, d)) => {
                    self.augment(from, d);
                    self.adopt();
                }
                None => {
                    self.active.pop_front();
                }
            }
        }
        self.tree.iter().map(|tree| *tree == Tree::Source).collect()
    }

    /// What can flow along the edge between `place` and its neighbour `d`, away from the root of `tree`.
    fn away(&self, tree: Tree, place: usize, d: usize, other: usize) -> i32 {
        if tree == Tree::Source { self.residual[place][d] } else { self.residual[other][7 - d] }
    }

    /// Take free neighbours of `place` into its tree, until one is of the other tree: then the edge that joins both, from the
    /// source's side.
    fn grow(&mut self, place: usize) -> Option<(usize, usize)> {
        let tree = self.tree[place];
        for d in 0..8 {
            let Some(other) = self.neighbour(place, d) else { continue };
            if self.away(tree, place, d, other) <= 0 {
                continue;
            }
            if self.tree[other] == Tree::Free {
                self.tree[other] = tree;
                self.parent[other] = (7 - d) as u8;
                self.seen[other] = (self.seen[place].0, self.seen[place].1 + 1);
                self.active.push_back(other);
            } else if self.tree[other] != tree {
                return Some(if tree == Tree::Source { (place, d) } else { (other, 7 - d) });
            }
        }
        None
    }

    /// The places from `place` to its root, each with the neighbour it hangs on.
    fn path(&self, mut place: usize) -> Vec<(usize, usize)> {
        let mut path = Vec::new();
        while self.parent[place] < TERMINAL {
            let d = usize::from(self.parent[place]);
            path.push((place, d));
            let Some(next) = self.neighbour(place, d) else { break };
            place = next;
        }
        path
    }

    /// The root that `place` hangs on by `path`.
    fn root(&self, place: usize, path: &[(usize, usize)]) -> usize {
        path.last().and_then(|&(last, d)| self.neighbour(last, d)).unwrap_or(place)
    }

    /// Let all flow that can from the source over the edge `d` of `from` to the sink. What can take no more loses its parent.
    fn augment(&mut self, from: usize, d: usize) {
        let Some(to) = self.neighbour(from, d) else { return };
        let (source_path, sink_path) = (self.path(from), self.path(to));
        let (source, sink) = (self.root(from, &source_path), self.root(to, &sink_path));
        let mut flow = self.residual[from][d].min(self.terminal[source]).min(-self.terminal[sink]);
        for &(place, d) in &source_path {
            // The flow comes from the parent.
            flow = flow.min(self.neighbour(place, d).map_or(0, |parent| self.residual[parent][7 - d]));
        }
        for &(place, d) in &sink_path {
            flow = flow.min(self.residual[place][d]);
        }
        self.residual[from][d] -= flow;
        self.residual[to][7 - d] += flow;
        for &(place, d) in &source_path {
            let Some(parent) = self.neighbour(place, d) else { continue };
            self.residual[parent][7 - d] -= flow;
            self.residual[place][d] += flow;
            if self.residual[parent][7 - d] == 0 {
                self.orphan(place);
            }
        }
        for &(place, d) in &sink_path {
            let Some(parent) = self.neighbour(place, d) else { continue };
            self.residual[place][d] -= flow;
            self.residual[parent][7 - d] += flow;
            if self.residual[place][d] == 0 {
                self.orphan(place);
            }
        }
        self.terminal[source] -= flow;
        self.terminal[sink] += flow;
        for root in [source, sink] {
            if self.terminal[root] == 0 {
                self.orphan(root);
            }
        }
    }

    fn orphan(&mut self, place: usize) {
        self.parent[place] = ORPHAN;
        self.orphans.push_back(place);
    }

    /// How far `place` is from the terminal of its tree; none where it hangs on an orphan.
    fn distance(&mut self, place: usize) -> Option<u32> {
        let (mut at, mut steps) = (place, 0);
        let found = loop {
            if self.seen[at].0 == self.now {
                break self.seen[at].1 + steps;
            }
            match self.parent[at] {
                TERMINAL => {
                    self.seen[at] = (self.now, 0);
                    break steps;
                }
                ORPHAN => return None,
                d => at = self.neighbour(at, usize::from(d))?,
            }
            steps += 1;
        };
        let (mut at, mut left) = (place, found);
        while self.seen[at].0 != self.now {
            self.seen[at] = (self.now, left);
            left = left.saturating_sub(1);
            at = self.neighbour(at, usize::from(self.parent[at]))?;
        }
        Some(found)
    }

    /// Find a parent for every orphan, the nearest to the terminal; what finds none is free.
    fn adopt(&mut self) {
        self.now += 1;
        while let Some(place) = self.orphans.pop_front() {
            let tree = self.tree[place];
            let mut best: Option<(u32, usize)> = None;
            for d in 0..8 {
                let Some(other) = self.neighbour(place, d) else { continue };
                if self.tree[other] != tree || self.away(tree, other, 7 - d, place) <= 0 {
                    continue;
                }
                if let Some(distance) = self.distance(other)
                    && best.is_none_or(|(nearest, _)| distance < nearest)
                {
                    best = Some((distance, d));
                }
            }
            if let Some((distance, d)) = best {
                self.parent[place] = d as u8;
                self.seen[place] = (self.now, distance + 1);
                continue;
            }
            for d in 0..8 {
                let Some(other) = self.neighbour(place, d) else { continue };
                if self.tree[other] != tree {
                    continue;
                }
                if self.away(tree, other, 7 - d, place) > 0 {
                    self.active.push_back(other);
                }
                if usize::from(self.parent[other]) == 7 - d {
                    self.orphan(other);
                }
            }
            self.tree[place] = Tree::Free;
            self.parent[place] = TERMINAL;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a place costs that `t` joins to the terminals, on the source's side or on the sink's.
    fn terminal_cost(t: i32, source: bool) -> i32 {
        if source { (-t).max(0) } else { t.max(0) }
    }

    /// The smallest cost of all ways to part the grid.
    fn smallest(width: usize, terminal: &[i32], edges: &[(usize, usize, i32)]) -> i32 {
        let cost = |sides: u32| {
            let of_source = |place: usize| sides >> place & 1 == 1;
            let terminals = terminal.iter().enumerate().map(|(place, &t)| terminal_cost(t, of_source(place)));
            let grid = Grid::new(width, terminal.len() / width);
            let cut = edges.iter().map(|&(place, d, capacity)| match grid.neighbour(place, d) {
                Some(other) if of_source(place) != of_source(other) => capacity,
                _ => 0,
            });
            terminals.sum::<i32>() + cut.sum::<i32>()
        };
        (0..1u32 << terminal.len()).map(cost).min().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_cut_costs_less(
            terminal in proptest::collection::vec(-9..10i32, 12),
            capacities in proptest::collection::vec(0..9i32, 48),
        ) {
            let width = 4;
            let edges: Vec<(usize, usize, i32)> =
                (0..12).flat_map(|place| (4..8).map(move |d| (place, d))).zip(capacities).map(|((p, d), c)| (p, d, c)).collect();
            let mut grid = Grid::new(width, 3);
            terminal.iter().enumerate().for_each(|(place, &t)| grid.join_terminals(place, t));
            edges.iter().for_each(|&(place, d, capacity)| grid.join(place, d, capacity));
            let shape = Grid::new(width, 3);
            let side = grid.cut();
            let terminals: i32 = terminal.iter().zip(&side).map(|(&t, &source)| terminal_cost(t, source)).sum();
            let cut: i32 = edges.iter().map(|&(place, d, capacity)| match shape.neighbour(place, d) {
                Some(other) if side[place] != side[other] => capacity,
                _ => 0,
            }).sum();
            prop_assert_eq!(terminals + cut, smallest(width, &terminal, &edges));
        }
    }
}
