//! Looks at endpoints that are not armed, and stay so: for users of a selector that are busy.
//!
//! Arming a consumer announces a sleep, which costs a barrier, and its producer rings for the next record, which costs
//! both a system call. As long as records come, looking again costs less.
//!
//! The invariant: what is looked at here stays in the queue, at its place. So nothing is left unseen by the wait that
//! follows, which arms it.

use super::{Key, Selectable, Selector, SelectorSlot, Source};
use crate::consumer::ReceiveError;
use std::time::Duration;

/// What a look has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    News,
    /// Nothing is there. It is not armed.
    Quiet,
    /// Nothing is there, and it is armed.
    Armed,
}

impl Sight {
    pub(crate) fn of_arming(has_news: bool) -> Self {
        if has_news { Self::News } else { Self::Armed }
    }
}

/// An endpoint that can be looked at without arming it.
pub(crate) trait Unarmed: Selectable {
    /// Whether there is something to look at, by loads alone. Of what only a descriptor tells of, this says no.
    fn glance(&mut self) -> bool;

    /// The same by a closer look, which misses nothing. `has_event` says that its descriptor is readable: what makes it
    /// so is taken.
    fn poll(&mut self, has_event: bool) -> Result<Sight, ReceiveError>;
}

impl<E: Selectable> Selector<E> {
    /// The first endpoint of the queue that has news by a glance. No system call is made.
    pub(crate) fn glance(&mut self) -> Option<Key>
    where
        E: Unarmed,
    {
        let Self { queue, slots, .. } = self;
        queue.iter().find_map(|index| {
            let slot = slots[*index].as_mut()?;
            let Source::Endpoint(endpoint) = &mut slot.source else { return None };
            endpoint.glance().then(|| {
                slot.vain_looks = 0;
                slot.key
            })
        })
    }

    /// The first endpoint of the queue that has news by a closer look. One that had none for a number of these looks in
    /// a row is armed.
    ///
    /// # Errors
    ///
    /// Those of [`try_wait`](Selector::try_wait); nothing need be armed if there is none.
    pub(crate) fn poll(&mut self, vain_looks_max: Option<u32>) -> Result<Key, ReceiveError>
    where
        E: Unarmed,
    {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        let (mut found, mut failure) = (None, None);
        let Self { queue, slots, .. } = self;
        queue.retain(|index| {
            let Some(slot) = slots[*index].as_mut().filter(|_| found.is_none()) else { return true };
            let has_event = std::mem::take(&mut slot.has_event);
            let sight = match &mut slot.source {
                Source::Endpoint(endpoint) => endpoint.poll(has_event),
                foreign => foreign.has_news().map(Sight::of_arming),
            };
            let sight = match (sight, vain_looks_max) {
                (Ok(Sight::Quiet), Some(max)) => {
                    slot.vain_looks += 1;
                    if slot.vain_looks < max { Ok(Sight::Quiet) } else { slot.source.has_news().map(Sight::of_arming) }
                }
                (sight, _) => sight,
            };
            match sight {
                Ok(Sight::Quiet) => return true,
                Ok(Sight::News) => found = Some(slot.key),
                Ok(Sight::Armed) => slot.is_queued = false,
                Err(error) => failure = failure.take().or(Some(error)),
            }
            slot.vain_looks = 0;
            slot.is_queued
        });
        match (found, failure) {
            (Some(key), _) => Ok(key),
            (None, Some(error)) => Err(error),
            (None, None) if self.is_interrupted() => Err(ReceiveError::Interrupted),
            (None, None) => Err(ReceiveError::Empty),
        }
    }

    /// Puts what the descriptors tell of into the queue: one system call.
    pub(crate) fn take_events(&mut self) -> Result<(), ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        self.harvest(Some(Duration::ZERO))
    }

    /// This endpoint has had its turn: all others in the queue come before it.
    pub(crate) fn pass_on(&mut self, key: Key) {
        if let Some(index) = self.find(key)
            && let Some(place) = self.queue.iter().position(|queued| *queued == index)
        {
            self.queue.remove(place);
            self.queue.push_back(index);
        }
    }

    /// The endpoint whose turn it is, which is not armed.
    #[inline]
    pub(crate) fn at_turn(&mut self, key: Key) -> Option<&mut E> {
        match self.slots.get_mut(key.index)? {
            Some(SelectorSlot { source: Source::Endpoint(endpoint), key: found, is_queued: true, .. })
                if *found == key =>
            {
                Some(endpoint)
            }
            _ => None,
        }
    }

    /// Whether this endpoint is armed.
    pub(crate) fn is_armed(&self, key: Key) -> bool {
        self.find(key).and_then(|index| self.slots[index].as_ref()).is_some_and(|slot| !slot.is_queued)
    }

    /// The number of endpoints that are not armed.
    pub(crate) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// The number of endpoints that are armed.
    pub(crate) fn armed_count(&self) -> usize {
        self.count - self.queue.len()
    }
}
