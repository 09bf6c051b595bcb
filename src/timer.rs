//! A hierarchical timer wheel: which of many timers is due. It is told the time, as a tick number, and never asks.
#![forbid(unsafe_code)]
#![warn(clippy::expect_used, clippy::indexing_slicing)]

#[cfg(test)]
mod tests;

/// A level has 64 slots, so that a `u64` says which are occupied.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for every `u64` tick: 11 * 6 >= 64.
const LEVELS: usize = 11;

/// No id: the end of a list.
const NONE: u32 = u32::MAX;
/// In `Entry::previous`: not an id but, below this bit, the slot whose first entry this is.
const SLOT: u32 = 1 << 31;

/// Timers by the id of what they are for, at most one each. Ids are small numbers, such as the slots of a slab, because
/// there is an entry for each up to the largest; they are below 2^31.
///
/// A slot of level 0 has the timers of one tick, one of level 1 those of 64 ticks, and so on. A timer's level is that of
/// the highest digit, to the base 64, in which its tick differs from the present one: slots are never shared by two
/// turns of the wheel, and those of a level all come before those of the next. When the first slot with several ticks
/// is reached, its timers move to lower levels; each moves at most once a level, however far time jumps.
///
/// ```text
///   level 1  │ · │ · │ 2 │ · │ …   64 ticks a slot          present tick: 70 = 1·64 + 6
///   level 0  │ · │ … │ 6 │ 7 │ …   1 tick a slot            timer at 71: level 0, slot 7; at 130: level 1, slot 2
/// ```
#[derive(Debug)]
pub struct Wheel {
    now: u64,
    occupied: [u64; LEVELS],
    /// The first entry of each slot, level after level.
    first: [u32; LEVELS * SLOTS],
    entries: Vec<Entry>,
    /// Timers that are set.
    len: usize,
}

/// A timer, and its place in the doubly linked list of its slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    tick: u64,
    next: u32,
    /// An id, a slot marked with `SLOT`, or `NONE` for a timer that is not set.
    previous: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);
const _: () = assert!((LEVELS * SLOTS) < SLOT as usize);

const UNSET: Entry = Entry {
    tick: 0,
    next: NONE,
    previous: NONE,
};

impl Wheel {
    /// An empty wheel at tick `now` that allocates nothing more as long as ids stay below `ids`.
    pub fn new(now: u64, ids: usize) -> Self {
        Self {
            now,
            occupied: [0; LEVELS],
            first: [NONE; LEVELS * SLOTS],
            entries: Vec::with_capacity(ids),
            len: 0,
        }
    }

    /// Sets the timer of `id` to `tick`, in place of any it had. One in the past is due at once.
    pub fn schedule(&mut self, id: u32, tick: u64) {
        debug_assert!(id < SLOT, "the ids of a wheel are below 2^31");
        self.cancel(id);
        let needed = id as usize + 1;
        if self.entries.len() < needed {
            self.entries.resize(needed, UNSET);
        }
        self.link(id, tick);
    }

    /// Clears the timer of `id`, if it has one.
    pub fn cancel(&mut self, id: u32) {
        if self.is_scheduled(id) {
            self.unlink(id);
        }
    }

    /// Timers that are set.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_scheduled(&self, id: u32) -> bool {
        let entry = self.entries.get(id as usize);
        entry.is_some_and(|entry| entry.previous != NONE)
    }

    /// The first tick at which there is something to do: a timer is due, or a slot of several ticks has to be taken apart.
    /// No timer is due earlier.
    pub fn next_tick(&self) -> Option<u64> {
        self.next_slot().map(|(_, tick)| tick)
    }

    /// Moves to tick `now` and calls `expired` with the ids of the timers that are due, in the order of their ticks.
    pub fn advance(&mut self, now: u64, expired: &mut impl FnMut(u32)) {
        while let Some(id) = self.pop(now) {
            expired(id);
        }
    }

    /// Moves towards tick `now` and takes one timer that is due. To be called until it gives none; timers may be set and
    /// cleared between, but one that is set to `now` or before is due at once.
    pub fn pop(&mut self, now: u64) -> Option<u32> {
        while let Some((slot, tick)) = self.next_slot()
            && tick <= now
        {
            self.now = self.now.max(tick);
            if slot < SLOTS {
                let id = self.first_in(slot)?;
                self.unlink(id);
                return Some(id);
            }
            self.cascade(slot);
        }
        // Time that goes back is time that stands still.
        self.now = self.now.max(now);
        None
    }

    /// The first occupied slot and the tick with which it begins.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let mut levels = self.occupied.iter().enumerate();
        let (level, occupied) = levels.find(|(_, occupied)| **occupied != 0)?;
        let digit = occupied.trailing_zeros();
        let shift = SLOT_BITS * u32::try_from(level).unwrap_or_default();
        // The digits above the slot's are those of the present tick; at the top level there are none.
        let above = self.now.checked_shr(shift + SLOT_BITS).unwrap_or_default();
        let above = above.checked_shl(shift + SLOT_BITS).unwrap_or_default();
        Some((
            level * SLOTS + digit as usize,
            above | u64::from(digit) << shift,
        ))
    }

    /// Takes a slot of several ticks apart. The present tick is its first, so all of its timers go to lower levels.
    fn cascade(&mut self, slot: usize) {
        while let Some(id) = self.first_in(slot) {
            let tick = self.unlink(id);
            self.link(id, tick);
        }
    }

    /// Where a timer for `tick` belongs at the present tick.
    fn slot_of(&self, tick: u64) -> usize {
        let differing = (tick ^ self.now).checked_ilog2().unwrap_or_default();
        let level = differing / SLOT_BITS;
        let digit = (tick >> (level * SLOT_BITS)) % SLOTS as u64;
        level as usize * SLOTS + usize::try_from(digit).unwrap_or_default()
    }

    fn first_in(&self, slot: usize) -> Option<u32> {
        self.first.get(slot).copied().filter(|id| *id != NONE)
    }

    fn link(&mut self, id: u32, tick: u64) {
        let slot = self.slot_of(tick.max(self.now));
        let Some(first) = self.first.get_mut(slot) else {
            debug_assert!(false, "every tick has a slot");
            return;
        };
        let next = std::mem::replace(first, id);
        self.len += 1;
        if let Some(entry) = self.entries.get_mut(id as usize) {
            let previous = SLOT | u32::try_from(slot).unwrap_or_default();
            *entry = Entry {
                tick,
                next,
                previous,
            };
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = id;
        }
        self.mark(slot, true);
    }

    /// Takes the timer of `id`, which has one, out of its slot; gives its tick.
    fn unlink(&mut self, id: u32) -> u64 {
        let Some(entry) = self.entries.get_mut(id as usize) else {
            debug_assert!(false, "the timer was set");
            return 0;
        };
        let Entry {
            tick,
            next,
            previous,
        } = std::mem::replace(entry, UNSET);
        self.len -= 1;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        if previous & SLOT == 0 {
            if let Some(previous) = self.entries.get_mut(previous as usize) {
                previous.next = next;
            }
            return tick;
        }
        let slot = (previous & !SLOT) as usize;
        if let Some(first) = self.first.get_mut(slot) {
            *first = next;
        }
        if next == NONE {
            self.mark(slot, false);
        }
        tick
    }

    fn mark(&mut self, slot: usize, occupied: bool) {
        if let Some(level) = self.occupied.get_mut(slot / SLOTS) {
            let bit = 1 << (slot % SLOTS);
            if occupied {
                *level |= bit;
            } else {
                *level &= !bit;
            }
        }
    }
}
