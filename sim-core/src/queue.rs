//! The future event list: what is going to happen, in order.
//!
//! Events are ordered by time, and at the same time by insertion. That order is total, so a run
//! never depends on how the heap happens to be arranged.

use crate::heap::{Heap, Key};
use crate::time::SimTime;

/// How many low bits of a tag number the slot. The others are the sequence number.
const SLOT_BITS: u32 = 24;

/// The most events that can be pending at once.
const MAX_PENDING: usize = 1 << SLOT_BITS;

/// The most events that can be scheduled. Short by one of what the bits can tell apart, so that
/// no key is the greatest `u128`, which the heap has for a mark.
const MAX_SCHEDULED: u64 = (1 << (u64::BITS - SLOT_BITS)) - 1;

/// Stale keys that are left alone, however few events are pending.
const STALE_SLACK: usize = 64;

/// Names an event that was scheduled.
///
/// An id stays good for ever: once its event has fired or was cancelled it names nothing, and no
/// later event gets the same id. It means something only to the queue that issued it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u64);

impl EventId {
    fn new(sequence: u64, slot: usize) -> Self {
        Self(sequence << SLOT_BITS | slot as u64)
    }

    fn of(key: Key) -> Self {
        Self(key as u64)
    }

    fn slot(self) -> usize {
        self.0 as usize & (MAX_PENDING - 1)
    }

    /// Orders by time and then by sequence number. The slot never decides, since no two events
    /// have the same sequence number.
    fn key(self, at: SimTime) -> Key {
        Key::from(at.as_nanos()) << u64::BITS | Key::from(self.0)
    }
}

/// Where an event waits.
struct Slot<E> {
    /// The id of the last event that was put here.
    id: EventId,
    /// None once that event has fired or was cancelled.
    event: Option<E>,
}

/// The events that are going to happen.
///
/// A heap orders 16-byte keys: the time, a sequence number, and the slot where the event itself
/// waits without being moved. Cancelling empties the slot and leaves the key behind, stale; a key
/// is stale when its slot no longer holds the event it was made for. Stale keys are dropped when
/// they come to the front, or all at once when they outnumber the pending events, so there are
/// about twice as many keys as events at the most. Once the queue has been as full as it gets, it
/// no longer allocates.
///
/// At most 2^24 events (16.7 million) can be pending, and at most 2^40 - 1 (a trillion) scheduled
/// in the life of a queue, of which [`clear`](Self::clear) does not begin another. Beyond, the
/// queue panics.
pub struct Queue<E> {
    /// One key for each pending event, and the stale ones. The first key is never stale.
    heap: Heap,
    slots: Vec<Slot<E>>,
    /// The slots without an event.
    free: Vec<u32>,
    /// How many keys in the heap are stale.
    stale: usize,
    next_sequence: u64,
    now: SimTime,
}

impl<E> Queue<E> {
    /// An empty queue at time zero.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty queue at time zero with memory for `events` pending events.
    pub fn with_capacity(events: usize) -> Self {
        Self {
            heap: Heap::with_capacity(events),
            slots: Vec::with_capacity(events),
            free: Vec::with_capacity(events),
            stale: 0,
            next_sequence: 0,
            now: SimTime::ZERO,
        }
    }

    /// Adds an event that happens at `at`, after all those already scheduled for that time.
    ///
    /// # Panics
    ///
    /// If `at` is before [`now`](Self::now), or a limit of the queue is passed.
    #[track_caller]
    pub fn schedule(&mut self, at: SimTime, event: E) -> EventId {
        self.check_not_past(at);
        let sequence = self.take_sequence();
        let id = if let Some(slot) = self.free.pop() {
            let id = EventId::new(sequence, slot as usize);
            self.slots[slot as usize] = Slot {
                id,
                event: Some(event),
            };
            id
        } else {
            assert!(
                self.slots.len() < MAX_PENDING,
                "more than {MAX_PENDING} events are pending"
            );
            let id = EventId::new(sequence, self.slots.len());
            self.slots.push(Slot {
                id,
                event: Some(event),
            });
            id
        };
        self.heap.push(id.key(at));
        id
    }

    /// Takes back an event. None if it has fired or was cancelled already.
    pub fn cancel(&mut self, id: EventId) -> Option<E> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.id != id {
            return None;
        }
        let event = slot.event.take()?;
        self.free.push(id.slot() as u32);
        self.stale += 1;
        self.drop_stale_keys();
        Some(event)
    }

    /// Moves a pending event to `at`, after all those already scheduled for that time. Returns its
    /// new id; the old one names nothing from now on. None if the event has fired or was
    /// cancelled already.
    ///
    /// # Panics
    ///
    /// If `at` is before [`now`](Self::now), or a limit of the queue is passed.
    #[track_caller]
    pub fn reschedule(&mut self, id: EventId, at: SimTime) -> Option<EventId> {
        self.check_not_past(at);
        if !is_pending(&self.slots, id) {
            return None;
        }
        let new_id = EventId::new(self.take_sequence(), id.slot());
        self.slots[id.slot()].id = new_id;
        self.heap.push(new_id.key(at));
        self.stale += 1;
        self.drop_stale_keys();
        Some(new_id)
    }

    /// Removes the first event and moves [`now`](Self::now) to its time.
    pub fn pop(&mut self) -> Option<(SimTime, E)> {
        let key = self.heap.pop()?;
        let slot = EventId::of(key).slot();
        let event = self.slots[slot]
            .event
            .take()
            .expect("the first key is never stale");
        self.free.push(slot as u32);
        self.now = time_of(key);
        self.drop_stale_keys();
        Some((self.now, event))
    }

    /// The time of the first event.
    pub fn peek_time(&self) -> Option<SimTime> {
        self.heap.first().map(time_of)
    }

    /// The number of pending events.
    pub fn len(&self) -> usize {
        self.heap.len() - self.stale
    }

    /// Whether no event is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time of the last event popped, or zero before the first.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Drops all events and goes back to time zero. Keeps the memory, for the next replication.
    ///
    /// Ids issued before stay good: they name nothing.
    pub fn clear(&mut self) {
        self.heap.clear();
        self.slots.clear();
        self.free.clear();
        self.stale = 0;
        self.now = SimTime::ZERO;
    }

    #[track_caller]
    fn check_not_past(&self, at: SimTime) {
        assert!(
            at >= self.now,
            "an event is scheduled for {at}, but it is {} already",
            self.now
        );
    }

    #[track_caller]
    fn take_sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        assert!(
            sequence < MAX_SCHEDULED,
            "more than {MAX_SCHEDULED} events were scheduled"
        );
        self.next_sequence += 1;
        sequence
    }

    /// Drops stale keys from the front until the first key is not one, and all of them if they
    /// outnumber the pending events. That visits each key, but fewer than two for every key that
    /// became stale since the last time.
    fn drop_stale_keys(&mut self) {
        while self.stale > 0 {
            let Some(key) = self.heap.first() else { break };
            if is_pending(&self.slots, EventId::of(key)) {
                break;
            }
            self.heap.pop();
            self.stale -= 1;
        }
        if self.stale > self.len() + STALE_SLACK {
            let slots = &self.slots;
            self.heap.retain(|key| is_pending(slots, EventId::of(key)));
            self.stale = 0;
        }
    }
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self::new()
    }
}

fn is_pending<E>(slots: &[Slot<E>], id: EventId) -> bool {
    slots
        .get(id.slot())
        .is_some_and(|slot| slot.id == id && slot.event.is_some())
}

fn time_of(key: Key) -> SimTime {
    SimTime::from_nanos((key >> u64::BITS) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> SimTime {
        SimTime::from_nanos(nanos)
    }

    fn drain<E>(queue: &mut Queue<E>) -> Vec<(SimTime, E)> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn events_come_in_order_of_time() {
        let mut queue = Queue::new();
        for time in [5, 1, 4, 2, 3] {
            queue.schedule(at(time), time);
        }
        assert_eq!(
            drain(&mut queue),
            [1, 2, 3, 4, 5].map(|time| (at(time), time))
        );
    }

    #[test]
    fn events_of_one_time_come_in_order_of_insertion() {
        let mut queue = Queue::new();
        for event in 0..100 {
            queue.schedule(at(7), event);
        }
        assert!(
            drain(&mut queue)
                .into_iter()
                .map(|(_, event)| event)
                .eq(0..100)
        );
    }

    #[test]
    fn a_freed_slot_does_not_let_a_later_event_overtake() {
        let mut queue = Queue::new();
        let first = queue.schedule(at(7), "first");
        queue.schedule(at(7), "second");
        queue.cancel(first);
        queue.schedule(at(7), "third");
        assert_eq!(drain(&mut queue), [(at(7), "second"), (at(7), "third")]);
    }

    #[test]
    fn a_rescheduled_event_goes_behind_the_others_of_its_time() {
        let mut queue = Queue::new();
        let first = queue.schedule(at(7), "first");
        queue.schedule(at(7), "second");
        assert!(queue.reschedule(first, at(7)).is_some());
        assert_eq!(drain(&mut queue), [(at(7), "second"), (at(7), "first")]);
    }

    #[test]
    fn an_id_is_used_up_by_firing_cancelling_and_rescheduling() {
        let mut queue = Queue::new();
        let fired = queue.schedule(at(1), 1);
        assert_eq!(queue.pop(), Some((at(1), 1)));
        let cancelled = queue.schedule(at(2), 2);
        assert_eq!(queue.cancel(cancelled), Some(2));
        let moved = queue.schedule(at(3), 3);
        let current = queue
            .reschedule(moved, at(4))
            .expect("the event is pending");
        for stale in [fired, cancelled, moved] {
            assert_eq!(queue.cancel(stale), None);
            assert_eq!(queue.reschedule(stale, at(9)), None);
        }
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.cancel(current), Some(3));
        assert!(queue.is_empty());
    }

    #[test]
    fn an_id_from_before_a_clear_names_nothing() {
        let mut queue = Queue::new();
        let before = [queue.schedule(at(1), 1), queue.schedule(at(1), 2)];
        queue.clear();
        queue.schedule(at(1), 3);
        for id in before {
            assert_eq!(queue.cancel(id), None);
            assert_eq!(queue.reschedule(id, at(5)), None);
        }
        assert_eq!(queue.pop(), Some((at(1), 3)));
    }

    #[test]
    fn the_first_time_is_not_that_of_a_cancelled_event() {
        let mut queue = Queue::new();
        let ids: Vec<_> = (0..10).map(|time| queue.schedule(at(time), time)).collect();
        for &id in &ids[..9] {
            queue.cancel(id);
        }
        assert_eq!(queue.peek_time(), Some(at(9)));
        queue.cancel(ids[9]);
        assert_eq!(queue.peek_time(), None);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn events_can_be_scheduled_for_now_and_never() {
        let mut queue = Queue::new();
        queue.schedule(at(5), "first");
        queue.pop();
        queue.schedule(SimTime::MAX, "last");
        queue.schedule(at(5), "second");
        assert_eq!(
            drain(&mut queue),
            [(at(5), "second"), (SimTime::MAX, "last")]
        );
        assert_eq!(queue.now(), SimTime::MAX);
    }

    #[test]
    #[should_panic(expected = "an event is scheduled for 4ns, but it is 5ns already")]
    fn an_event_in_the_past_is_a_bug() {
        let mut queue = Queue::new();
        queue.schedule(at(5), ());
        queue.pop();
        queue.schedule(at(4), ());
    }

    #[test]
    #[should_panic(expected = "an event is scheduled for 4ns, but it is 5ns already")]
    fn an_event_moved_to_the_past_is_a_bug() {
        let mut queue = Queue::new();
        queue.schedule(at(5), ());
        let id = queue.schedule(at(6), ());
        queue.pop();
        queue.reschedule(id, at(4));
    }

    #[test]
    fn the_last_sequence_number_is_in_order_too() {
        let mut queue = Queue::new();
        queue.next_sequence = MAX_SCHEDULED - 2;
        queue.schedule(SimTime::MAX, "first");
        queue.schedule(SimTime::MAX, "second");
        let events = drain(&mut queue);
        assert_eq!(events, [(SimTime::MAX, "first"), (SimTime::MAX, "second")]);
    }

    #[test]
    #[should_panic(expected = "more than 1099511627775 events were scheduled")]
    fn running_out_of_sequence_numbers_is_a_clear_panic() {
        let mut queue = Queue::new();
        queue.next_sequence = MAX_SCHEDULED;
        queue.schedule(at(1), ());
    }

    #[test]
    fn ids_and_keys_keep_their_parts_at_the_extremes() {
        let id = EventId::new(MAX_SCHEDULED - 1, MAX_PENDING - 1);
        assert_eq!(id.slot(), MAX_PENDING - 1);
        assert_eq!(EventId::of(id.key(SimTime::MAX)), id);
        assert_eq!(time_of(id.key(SimTime::MAX)), SimTime::MAX);
        assert!(id.key(SimTime::MAX) < Key::MAX);
    }

    #[test]
    fn events_are_dropped_once() {
        let event = std::rc::Rc::new(());
        let mut queue = Queue::new();
        let ids: Vec<_> = (0..10)
            .map(|time| queue.schedule(at(time), event.clone()))
            .collect();
        queue.cancel(ids[3]);
        queue.pop();
        assert_eq!(std::rc::Rc::strong_count(&event), 1 + 8);
        queue.clear();
        assert_eq!(std::rc::Rc::strong_count(&event), 1);
    }

    /// Restarts timers for ever, as a transport protocol does: every event that fires leaves two
    /// stale keys behind.
    fn restart_timers(queue: &mut Queue<usize>, ids: &mut [EventId], events: usize) {
        for _ in 0..events {
            let (now, fired) = queue.pop().expect("the timers are pending");
            let later = |n: usize| at(now.as_nanos() + 1000 + (n as u64 * 7919) % 1000);
            ids[fired] = queue.schedule(later(fired), fired);
            for other in [(fired + 1) % ids.len(), (fired + 50) % ids.len()] {
                ids[other] = queue
                    .reschedule(ids[other], later(other))
                    .expect("it is pending");
            }
        }
    }

    #[test]
    fn memory_stays_bounded_and_a_warm_queue_does_not_allocate() {
        let mut queue = Queue::new();
        let mut ids: Vec<_> = (0..100).map(|i| queue.schedule(at(i as u64), i)).collect();
        restart_timers(&mut queue, &mut ids, 1_000);
        let capacity = |queue: &Queue<usize>| {
            [
                queue.heap.capacity(),
                queue.slots.capacity(),
                queue.free.capacity(),
            ]
        };
        let warm = capacity(&queue);
        for _ in 0..3 {
            restart_timers(&mut queue, &mut ids, 10_000);
            assert!(queue.heap.len() <= 2 * queue.len() + STALE_SLACK);
            queue.clear();
            for (i, id) in ids.iter_mut().enumerate() {
                *id = queue.schedule(at(i as u64), i);
            }
        }
        assert_eq!(capacity(&queue), warm);
    }

    #[test]
    fn stale_keys_behind_the_first_event_are_dropped_before_they_pile_up() {
        let mut queue = Queue::new();
        queue.schedule(at(1), "first");
        let mut timer = queue.schedule(at(1_000), "timer");
        for time in 1_000..11_000 {
            timer = queue
                .reschedule(timer, at(time))
                .expect("the timer is pending");
            assert!(queue.heap.len() <= 2 * queue.len() + STALE_SLACK);
        }
        for time in 1_000..11_000 {
            let id = queue.schedule(at(time), "cancelled");
            queue.cancel(id);
            assert!(queue.heap.len() <= 2 * queue.len() + STALE_SLACK);
        }
        assert_eq!(drain(&mut queue), [(at(1), "first"), (at(10_999), "timer")]);
    }

    #[test]
    fn stale_keys_do_not_outnumber_the_events_that_popping_leaves() {
        let mut queue = Queue::new();
        for time in 0..1_000 {
            queue.schedule(at(time), time);
        }
        for time in 1_000..2_000 {
            let id = queue.schedule(at(time), time);
            queue.cancel(id);
        }
        while queue.pop().is_some() {
            assert!(queue.heap.len() <= 2 * queue.len() + STALE_SLACK);
        }
    }

    /// What a queue should do, done plainly.
    #[derive(Default)]
    struct Model {
        pending: BTreeMap<(SimTime, u64), u32>,
        /// Where each id that was ever issued points, whether or not something is still there.
        issued: Vec<(EventId, (SimTime, u64))>,
        now: SimTime,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule {
            delay: u64,
            event: u32,
        },
        Cancel {
            id: prop::sample::Index,
        },
        Reschedule {
            id: prop::sample::Index,
            delay: u64,
        },
        /// Reschedules the event that was scheduled last, far ahead, which leaves a stale key
        /// that does not come to the front soon.
        Restart {
            delay: u64,
        },
        Pop,
        Clear,
    }

    /// Delays are short so that many events fall on the same time.
    fn step() -> impl Strategy<Value = Step> {
        let delay = || prop_oneof![8 => 0..8_u64, 1 => 0..1000_u64];
        prop_oneof![
            200 => (delay(), any::<u32>()).prop_map(|(delay, event)| Step::Schedule { delay, event }),
            60 => any::<prop::sample::Index>().prop_map(|id| Step::Cancel { id }),
            300 => (any::<prop::sample::Index>(), delay())
                .prop_map(|(id, delay)| Step::Reschedule { id, delay }),
            200 => (500..1000_u64).prop_map(|delay| Step::Restart { delay }),
            100 => Just(Step::Pop),
            1 => Just(Step::Clear),
        ]
    }

    /// Takes the step on both, and checks that they answer the same.
    fn take(step: &Step, queue: &mut Queue<u32>, model: &mut Model) -> Result<(), TestCaseError> {
        let sequence = model.issued.len() as u64;
        match *step {
            Step::Schedule { delay, event } => {
                let time = at(model.now.as_nanos() + delay);
                model.pending.insert((time, sequence), event);
                model
                    .issued
                    .push((queue.schedule(time, event), (time, sequence)));
            }
            Step::Cancel { id } if sequence > 0 => {
                let (id, place) = *id.get(&model.issued);
                prop_assert_eq!(queue.cancel(id), model.pending.remove(&place));
            }
            Step::Reschedule { id, delay } if sequence > 0 => {
                reschedule(id.index(model.issued.len()), delay, queue, model)?;
            }
            Step::Restart { delay } if sequence > 0 => {
                reschedule(model.issued.len() - 1, delay, queue, model)?;
            }
            Step::Cancel { .. } | Step::Reschedule { .. } | Step::Restart { .. } => {}
            Step::Pop => {
                let first = model
                    .pending
                    .pop_first()
                    .map(|((time, _), event)| (time, event));
                model.now = first.map_or(model.now, |(time, _)| time);
                prop_assert_eq!(queue.pop(), first);
            }
            Step::Clear => {
                queue.clear();
                model.pending.clear();
                model.now = SimTime::ZERO;
            }
        }
        let first = model.pending.first_key_value().map(|(&(time, _), _)| time);
        prop_assert_eq!(queue.peek_time(), first);
        prop_assert_eq!(queue.len(), model.pending.len());
        prop_assert_eq!(queue.is_empty(), model.pending.is_empty());
        prop_assert_eq!(queue.now(), model.now);
        prop_assert!(queue.heap.len() <= 2 * queue.len() + STALE_SLACK);
        Ok(())
    }

    fn reschedule(
        index: usize,
        delay: u64,
        queue: &mut Queue<u32>,
        model: &mut Model,
    ) -> Result<(), TestCaseError> {
        let (id, place) = model.issued[index];
        let new_place = (at(model.now.as_nanos() + delay), model.issued.len() as u64);
        let new_id = queue.reschedule(id, new_place.0);
        let event = model.pending.remove(&place);
        prop_assert_eq!(new_id.is_some(), event.is_some());
        if let (Some(new_id), Some(event)) = (new_id, event) {
            model.pending.insert(new_place, event);
            model.issued.push((new_id, new_place));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn the_queue_does_what_the_model_does(steps in vec(step(), 0..1500)) {
            let (mut queue, mut model) = (Queue::new(), Model::default());
            for step in &steps {
                take(step, &mut queue, &mut model)?;
            }
            let rest: Vec<_> =
                model.pending.into_iter().map(|((time, _), event)| (time, event)).collect();
            prop_assert_eq!(drain(&mut queue), rest);
        }
    }
}
