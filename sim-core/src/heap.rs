//! The priority queue under [`Queue`](crate::queue::Queue): a heap of bare 16-byte keys.
//!
//! Three things make it fast. Each was measured with the patterns of `benches/queue.rs`:
//!
//! - A node has four children, and they share one cache line. The heap is half as deep as a binary
//!   one and reads one line a level. Eight children in two lines took up to a quarter longer while
//!   the heap was in cache, and saved little beyond.
//! - The children are told apart by the upper halves of their keys, which almost always suffice,
//!   and without branches that depend on which is the least. Comparing whole keys took a third
//!   longer. It is only better when a great many keys share their upper half: with ten thousand
//!   events on eight instants it takes a quarter less.
//! - `pop` leaves the root vacant, and the next `push` fills it. A simulation mostly schedules
//!   something for each event it handles, and then pays for one sift instead of two. Filling the
//!   root at once took a tenth to a third longer for `hold`, and half as long again for `near`.
//!   Sifting to the bottom first and then up again, as the standard library does, gained nothing
//!   for `hold` and cost a quarter for `near`.

/// What is ordered. Keys must be distinct from [`VACANT`].
pub(crate) type Key = u128;

/// Marks a place that holds no key. It sorts after every key.
const VACANT: Key = Key::MAX;

/// The keys of the four children of a node, in halves. Lanes without a child are [`VACANT`], so
/// that choosing among the children takes no count of them.
#[repr(align(64))]
struct Group {
    upper: [u64; 4],
    lower: [u64; 4],
}

impl Group {
    const VACANT: Self = Self {
        upper: [u64::MAX; 4],
        lower: [u64::MAX; 4],
    };

    fn key(&self, lane: usize) -> Key {
        Key::from(self.upper[lane]) << u64::BITS | Key::from(self.lower[lane])
    }

    fn set(&mut self, lane: usize, key: Key) {
        self.upper[lane] = (key >> u64::BITS) as u64;
        self.lower[lane] = key as u64;
    }

    /// The lane of the least key, and that key.
    #[inline]
    fn least(&self) -> (usize, Key) {
        let [a, b, c, d] = self.upper;
        let (left, left_upper) = if b < a { (1, b) } else { (0, a) };
        let (right, right_upper) = if d < c { (3, d) } else { (2, c) };
        let lane = if a == b || c == d || left_upper == right_upper {
            self.least_of_equals()
        } else if right_upper < left_upper {
            right
        } else {
            left
        };
        (lane, self.key(lane))
    }

    /// The lane of the least key when the upper halves may not tell.
    #[cold]
    fn least_of_equals(&self) -> usize {
        let lesser = |one, other| {
            if self.key(other) < self.key(one) {
                other
            } else {
                one
            }
        };
        lesser(lesser(0, 1), lesser(2, 3))
    }
}

/// A 4-ary min-heap whose root may be vacant.
///
/// The nodes other than the root are numbered from zero, four to a group. The root has group 0
/// for its children and node `n` has group `n + 1`, so the parent of the nodes of group `g` is
/// node `g - 1`, or the root for group 0.
pub(crate) struct Heap {
    root: Key,
    groups: Vec<Group>,
    /// How many nodes there are besides the root.
    nodes: usize,
}

impl Heap {
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self {
            root: VACANT,
            groups: Vec::with_capacity(keys.div_ceil(4)),
            nodes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes + usize::from(self.root != VACANT)
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.groups.capacity() * 4
    }

    /// The least key.
    #[inline]
    pub(crate) fn first(&self) -> Option<Key> {
        let key = if self.root == VACANT {
            self.groups.first()?.least().1
        } else {
            self.root
        };
        (key != VACANT).then_some(key)
    }

    #[inline]
    pub(crate) fn push(&mut self, key: Key) {
        debug_assert!(key != VACANT);
        if self.root == VACANT {
            self.sift_down_from_root(key);
        } else {
            self.sift_up_from_end(key);
        }
    }

    /// Removes the least key. Leaves the root vacant for the next `push`.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Key> {
        if self.root == VACANT {
            let last = self.remove_last()?;
            self.sift_down_from_root(last);
        }
        let first = self.root;
        self.root = VACANT;
        Some(first)
    }

    /// Keeps the keys that satisfy `keep`, and drops the others.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Key) -> bool) {
        let mut kept = 0;
        for node in 0..self.nodes {
            let key = self.node(node);
            if keep(key) {
                self.set_node(kept, key);
                kept += 1;
            }
        }
        while self.nodes > kept {
            self.remove_last();
        }
        if self.root != VACANT && !keep(self.root) {
            self.root = VACANT;
        }
        // Nodes without children are heaps already; the others are made so from the last back.
        for group in (1..self.groups.len()).rev() {
            let node = group - 1;
            self.sift_down(node, self.node(node));
        }
        if self.root != VACANT {
            self.sift_down_from_root(self.root);
        }
    }

    /// Drops all keys and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.root = VACANT;
        self.groups.clear();
        self.nodes = 0;
    }

    fn node(&self, node: usize) -> Key {
        self.groups[node / 4].key(node % 4)
    }

    fn set_node(&mut self, node: usize, key: Key) {
        self.groups[node / 4].set(node % 4, key);
    }

    /// Removes the key of the last node.
    fn remove_last(&mut self) -> Option<Key> {
        self.nodes = self.nodes.checked_sub(1)?;
        let key = self.node(self.nodes);
        self.set_node(self.nodes, VACANT);
        if self.nodes.is_multiple_of(4) {
            self.groups.pop();
        }
        Some(key)
    }

    /// Appends a node for `key`, and moves its ancestors down until it is in order.
    fn sift_up_from_end(&mut self, key: Key) {
        let mut hole = self.nodes;
        self.nodes += 1;
        if hole.is_multiple_of(4) {
            self.groups.push(Group::VACANT);
        }
        while hole >= 4 {
            let parent = hole / 4 - 1;
            let parent_key = self.node(parent);
            if parent_key < key {
                break;
            }
            self.set_node(hole, parent_key);
            hole = parent;
        }
        if hole < 4 && key < self.root {
            self.set_node(hole, self.root);
            self.root = key;
        } else {
            self.set_node(hole, key);
        }
    }

    /// Puts `key` at the root, whatever was there, and moves it down until it is in order.
    fn sift_down_from_root(&mut self, key: Key) {
        match self.groups.first().map(Group::least) {
            Some((lane, least)) if least < key => {
                self.root = least;
                self.sift_down(lane, key);
            }
            _ => self.root = key,
        }
    }

    /// Puts `key` at the node `hole`, whatever was there, and moves it down until it is in order.
    fn sift_down(&mut self, hole: usize, key: Key) {
        let (mut group, mut lane) = (hole / 4, hole % 4);
        loop {
            let below = 4 * group + lane + 1;
            let Some(children) = self.groups.get(below) else {
                break;
            };
            let (child, least) = children.least();
            if key < least {
                break;
            }
            self.groups[group].set(lane, least);
            (group, lane) = (below, child);
        }
        self.groups[group].set(lane, key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn drain(mut heap: Heap) -> Vec<Key> {
        std::iter::from_fn(|| heap.pop()).collect()
    }

    proptest! {
        #[test]
        fn keys_come_out_in_order(mut keys in vec(0..VACANT, 0..200)) {
            let mut heap = Heap::with_capacity(0);
            for &key in &keys {
                heap.push(key);
            }
            keys.sort_unstable();
            prop_assert_eq!(heap.first(), keys.first().copied());
            prop_assert_eq!(drain(heap), keys);
        }

        /// Keys that share their upper half, or nearly all do, take another way to be compared.
        #[test]
        fn keys_alike_in_their_upper_half_come_out_in_order(
            mut keys in vec((0..3_u64, 0..1000_u64), 0..200),
        ) {
            let mut heap = Heap::with_capacity(0);
            for &(upper, lower) in &keys {
                heap.push(Key::from(upper) << u64::BITS | Key::from(lower));
            }
            keys.sort_unstable();
            let drained = drain(heap).into_iter().map(|key| ((key >> u64::BITS) as u64, key as u64));
            prop_assert!(drained.eq(keys));
        }

        #[test]
        fn retained_keys_come_out_in_order(
            mut keys in vec(0..VACANT, 0..200),
            modulus in 1..5_u128,
            vacate in any::<bool>(),
        ) {
            let mut heap = Heap::with_capacity(0);
            for &key in &keys {
                heap.push(key);
            }
            keys.sort_unstable();
            if vacate && heap.pop().is_some() {
                keys.remove(0);
            }
            keys.retain(|key| key % modulus == 0);
            heap.retain(|key| key % modulus == 0);
            prop_assert_eq!(heap.len(), keys.len());
            prop_assert_eq!(heap.first(), keys.first().copied());
            prop_assert_eq!(drain(heap), keys);
        }
    }

    #[test]
    fn groups_are_cache_lines() {
        assert_eq!(size_of::<Group>(), 64);
        assert_eq!(align_of::<Group>(), 64);
    }
}
