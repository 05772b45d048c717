//! The reading end of a lane: receive, read, drop.
//!
//! [`Consumer`] puts together the reading protocol, the copying of payloads (or their reading in place), and sleeping
//! on the bell. What it does not do: it makes no session, [`Session`](crate::Session) does, and its [`Link`] to that
//! session finds out by itself what has become of the producer.

mod copies;
mod drain;
mod error;
mod pace;
mod record;
mod watch;

#[cfg(all(test, not(loom)))]
mod tests;

use copies::Copies;
use pace::Pace;
use watch::Watch;

pub use error::ReceiveError;
pub use record::Record;

use crate::crash;
use crate::frame::Barrier;
use crate::layout::LaneState;
use crate::link::{Fate, Link};
use crate::region::ForkGuard;
use crate::ring::known::Found;
use crate::ring::reader::{Corruption, Look, Reader};
use crate::ring::{InPlace, LaneMap, LaneWords, SeatMap};
use crate::sync::Ordering;
use crate::wake::{BellEnd, Deadline, SECOND_LOOK, Woken, has_one_processor, spin_until};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often one that waits peeks at `published` alone, before all else: longer than a near producer takes to answer.
const PEEKS_MAX: u32 = 32;
/// Of so many looks in vain the first gives back what was read, so that no producer waits for a spinning consumer.
const LOOKS_PER_RELEASE: u32 = 32;
/// Looks in a row of which only the first sees more than `published`.
const LOOKS_PER_STATE: u32 = 8;
/// Empty looks in a row after which one that spins on looks at the session, at most every [`LINK_LOOK_INTERVAL`]: more
/// than a spin of the usual length has, since a sleep looks at the session anyway.
const LOOKS_PER_GLANCE: u32 = 4096;
/// Empty tries in a row after which the clock is asked whether to look at the session.
const TRIES_PER_CLOCK: u32 = 32;
/// How often a caller that never sleeps looks at the session.
const LINK_LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The reading end of a lane.
///
/// Every record that is published after it joined comes in order, once and whole, until the end of the stream: `None`.
/// A producer that dies without ending its lane is told apart from that, as [`ReceiveError::PeerDead`], after all that
/// it had published.
///
/// What was read is given back to the lane in steps of an eighth of the ring, and all of it whenever a call finds
/// nothing or waits for more than a few microseconds. So one that stops calling and is not dropped holds the lane back.
///
/// Attached by [`Session::attach`](crate::Session::attach) it copies each payload out and checks everything, so that a
/// hostile producer can send nonsense and nothing worse. Attached by
/// [`Session::attach_in_place`](crate::Session::attach_in_place) payloads are read where they lie.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ticks = fdring::Session::connect("/run/ticks.sock", Default::default())?.attach_one()?;
/// while let Some(record) = ticks.receive()? {
///     println!("{} bytes with tag {}", record.len(), record.tag());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    // Dropped in this order: the ring, then the seat, then the session.
    lane: Arc<LaneMap>,
    reader: Reader<LaneMap, SeatMap>,
    bell: BellEnd,
    watch: Watch,
    barrier: Barrier,
    link: Arc<Link>,
    guard: ForkGuard,
    reading: Reading,
    spin: Duration,
    empty_tries: u32,
    pace: Pace,
    last_link_look: Instant,
    name: String,
    schema: u64,
}

/// How payloads reach the caller.
#[derive(Debug)]
enum Reading {
    Copied(Copies),
    InPlace(InPlace),
}

/// What a session knows of a lane that it attaches to.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) lane: Arc<LaneMap>,
    pub(crate) seat: SeatMap,
    pub(crate) bell: BellEnd,
    /// The kind that it was attached with.
    pub(crate) barrier: Barrier,
    pub(crate) start: u64,
    /// The lane's count of evictions from before this consumer attached.
    pub(crate) evictions: u32,
    pub(crate) in_place: Option<InPlace>,
    pub(crate) spin: Duration,
    pub(crate) name: String,
    pub(crate) schema: u64,
}

impl Consumer {
    pub(crate) fn new(attachment: Attachment, link: Arc<Link>, guard: ForkGuard) -> Self {
        let Attachment { lane, seat, bell, barrier, start, evictions, in_place, spin, name, schema } = attachment;
        let reading = match in_place {
            Some(trust) => Reading::InPlace(trust),
            None => Reading::Copied(Copies::new(evictions)),
        };
        let reader = Reader::new(Arc::clone(&lane), seat, start);
        let last_link_look = Instant::now();
        Self {
            lane,
            reader,
            bell,
            watch: Watch::default(),
            barrier,
            link,
            guard,
            reading,
            spin,
            empty_tries: 0,
            pace: Pace::default(),
            last_link_look,
            name,
            schema,
        }
    }

    /// The next record; waits for it. `None` is the end of the stream: the producer ended the lane in order, and all
    /// that it published has been read.
    ///
    /// # Errors
    ///
    /// Any [`ReceiveError`] but `Empty` and `TimedOut`.
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::Never)
    }

    /// The next record, if it is there already.
    ///
    /// Some tens of empty tries apart, and no more often than every millisecond, it sees whether the producer lives: a
    /// caller that tries once a second learns of a death within half a minute.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Empty`] where it is not; any other [`ReceiveError`] but `TimedOut`.
    #[inline]
    pub fn try_receive(&mut self) -> Result<Option<Record<'_>>, ReceiveError> {
        let found = match self.next_known() {
            Some(found) => found,
            None => match self.find_now()? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        Ok(Some(self.record(found)?))
    }

    /// As [`receive`](Self::receive), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::TimedOut`] as well.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Record<'_>>, ReceiveError> {
        self.receive_until(Deadline::after(timeout))
    }

    /// The lane's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number with which the producer says what the payloads are.
    pub fn schema(&self) -> u64 {
        self.schema
    }

    /// The length of the ring, in bytes.
    pub fn capacity(&self) -> u64 {
        self.reader.lane().geometry().capacity()
    }

    /// Where the next record begins, in bytes since the ring was made, headers and padding included.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Whether payloads are read where they lie.
    pub fn reads_in_place(&self) -> bool {
        matches!(self.reading, Reading::InPlace(_))
    }

    #[inline(always)]
    fn receive_until(&mut self, deadline: Deadline) -> Result<Option<Record<'_>>, ReceiveError> {
        let found = match self.next_known().or_else(|| self.expected()) {
            Some(found) => found,
            None => match self.find(deadline)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        Ok(Some(self.record(found)?))
    }

    /// The next record, if it comes in the next moment and nothing else needs a look; `None` says nothing.
    #[inline(always)]
    fn expected(&mut self) -> Option<Found> {
        let peeks = self.peek_for_news()?;
        let found = self.next_known()?;
        self.pace.note(peeks, self.reader.unread());
        Some(found)
    }

    /// Whether something is published in the next moment, and after how many peeks in vain, at one word only: this is
    /// where the consumer is that an answer comes to at once.
    #[inline(never)]
    fn peek_for_news(&mut self) -> Option<u32> {
        // What is there already, padding or another round of the ring, is not waited for.
        if self.guard.is_child() || self.reader.unread() != 0 || self.spin.is_zero() || has_one_processor() {
            return None;
        }
        self.pace.hold();
        for peeks in 0..PEEKS_MAX {
            if self.reader.has_news() {
                return self.reader.refresh().is_ok().then_some(peeks);
            }
            std::hint::spin_loop();
        }
        self.pace.note_lull();
        None
    }

    /// The next record, where no more than its header needs to be looked at: the short way, inlined into the caller's
    /// loop. `None` says nothing.
    #[inline(always)]
    fn next_known(&mut self) -> Option<Found> {
        // In a forked child there is no ring to look at.
        if self.guard.is_child() { None } else { self.reader.next_known() }
    }

    /// The next record, by looking closely; `None` at the end.
    #[inline(never)]
    fn find_now(&mut self) -> Result<Option<Found>, ReceiveError> {
        match self.look()? {
            Look::Found(found) => Ok(Some(found)),
            Look::Ended(_) => Ok(None),
            Look::Empty => Err(self.still_empty()),
        }
    }

    /// The next record, by looking closely and waiting; `None` at the end.
    #[inline(never)]
    fn find(&mut self, deadline: Deadline) -> Result<Option<Found>, ReceiveError> {
        let look = match self.look()? {
            Look::Empty => self.wait(deadline)?,
            look => look,
        };
        match look {
            Look::Found(found) => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// The record that was found, its payload in place or copied out.
    #[inline(always)]
    fn record(&mut self, found: Found) -> Result<Record<'_>, ReceiveError> {
        let Self { lane, reader, reading, guard, .. } = self;
        let payload = match reading {
            Reading::InPlace(trust) => lane.ring().payload(trust, found.payload, found.len),
            Reading::Copied(copies) => {
                let Some(copy) = copies.copy(lane, lane.ring(), found) else {
                    return Err(evicted(reader, found.from));
                };
                if reader.release_is_due() {
                    reader.give_back();
                }
                copy
            }
        };
        crash::point!("consumer-record-found");
        Ok(Record::new(found, payload, Some((reader, *guard))))
    }

    /// Whether there is a record, or the end.
    #[inline(never)]
    fn look(&mut self) -> Result<Look, ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        match self.reader.look(|| self.link.fate() != Fate::Alive) {
            Ok(Look::Ended(state)) => self.end(state),
            Ok(look) => Ok(look),
            Err(corruption) => Err(self.explain(corruption)),
        }
    }

    /// All has been read, and nothing comes any more: which end that is.
    #[cold]
    fn end(&mut self, state: LaneState) -> Result<Look, ReceiveError> {
        crash::point!("consumer-end-seen");
        self.reader.give_back();
        let position = self.position();
        match (state, self.link.fate()) {
            (LaneState::Finished, _) => Ok(Look::Ended(state)),
            (LaneState::Abandoned, _) => Err(ReceiveError::Abandoned),
            (LaneState::Open, Fate::Closed) => Err(ReceiveError::Closed),
            (LaneState::Open, Fate::Evicted) => Err(evicted(&mut self.reader, position)),
            (LaneState::Open, _) => Err(ReceiveError::PeerDead),
        }
    }

    /// A look found nothing, and the caller does not wait: gives back what was read, and now and then sees whether the
    /// producer lives.
    fn still_empty(&mut self) -> ReceiveError {
        self.reader.give_back();
        self.empty_tries = self.empty_tries.wrapping_add(1);
        if self.empty_tries.is_multiple_of(TRIES_PER_CLOCK) {
            self.glance_at_link();
        }
        ReceiveError::Empty
    }

    /// Sees whether the producer lives, for those who do not sleep, unless that was seen a moment ago.
    fn glance_at_link(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.last_link_look) >= LINK_LOOK_INTERVAL {
            self.last_link_look = now;
            let _ = self.link.wait(None, Some(Duration::ZERO));
        }
    }

    /// Waits for a record or the end: spins, then sleeps.
    #[cold]
    fn wait(&mut self, deadline: Deadline) -> Result<Look, ReceiveError> {
        loop {
            let look = spin_until(self.spin, deadline, |looks| {
                if looks.is_multiple_of(LOOKS_PER_RELEASE) {
                    self.reader.give_back();
                }
                if looks % LOOKS_PER_GLANCE == LOOKS_PER_GLANCE - 1 {
                    self.glance_at_link();
                }
                if !looks.is_multiple_of(LOOKS_PER_STATE) && !self.reader.has_news() {
                    return None;
                }
                match self.look() {
                    Ok(Look::Empty) => None,
                    look => Some(look),
                }
            });
            if let Some(look) = look {
                return look;
            }
            self.reader.give_back();
            if deadline.has_passed() {
                self.glance_at_link();
                return Err(ReceiveError::TimedOut);
            }
            self.sleep(deadline).map_err(ReceiveError::Wait)?;
        }
    }

    /// Sleeps until the bell rings, the session ends, the deadline passes, or a signal comes; for a moment only where
    /// the bell is of no use. One that relies on the asymmetric barrier looks again after [`SECOND_LOOK`], and only
    /// then sleeps without a limit.
    fn sleep(&mut self, deadline: Deadline) -> std::io::Result<()> {
        let nap = self.bell.nap(self.reader.position());
        let Self { reader, bell, watch, link, barrier, .. } = self;
        let has_watch = nap.is_none() && deadline == Deadline::Never && watch.is_possible(link, bell);
        let prepare = || watch.prepare(bell, has_watch);
        let is_over = || link.fate() != Fate::Alive;
        let may_sleep = reader.fall_asleep(*barrier, prepare, is_over);
        let mut wait = |limit: Option<Duration>| {
            crash::asleep!("consumer-asleep");
            match [nap, limit, deadline.remaining()].into_iter().flatten().min() {
                timeout if has_watch => Ok(watch.wait(link, timeout)),
                timeout => link.wait(Some(&*bell).filter(|_| nap.is_none()), timeout),
            }
        };
        let second_look = (nap.is_none() && *barrier == Barrier::Asymmetric).then_some(SECOND_LOOK);
        let mut woken = if may_sleep { wait(second_look) } else { Ok(Woken::Otherwise) };
        let is_time_to_look = second_look.is_some() && matches!(woken, Ok(Woken::ByTime)) && !deadline.has_passed();
        if is_time_to_look && reader.may_sleep(is_over) {
            woken = wait(None);
        }
        crash::point!("consumer-woken");
        self.reader.wake_up();
        crash::point!("consumer-awake");
        if woken? == Woken::ByBell || nap.is_some() {
            self.bell.note_ring();
        }
        Ok(())
    }

    /// Nonsense in the lane: the producer's, or the sign that the lane has gone on without this consumer.
    #[cold]
    fn explain(&mut self, corruption: Corruption) -> ReceiveError {
        let position = self.position();
        match &self.reading {
            Reading::Copied(copies) if copies.saw_eviction(&self.lane) => evicted(&mut self.reader, position),
            _ => ReceiveError::Corrupt(corruption),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !self.guard.is_child() {
            crash::point!("consumer-leaving");
            self.reader.leave();
            crash::point!("consumer-left");
        }
    }
}

/// The lane has gone on without this consumer, from `position` on: what it missed. Nothing more is read, so that
/// nothing comes after a gap.
#[cold]
fn evicted(reader: &mut Reader<LaneMap, SeatMap>, position: u64) -> ReceiveError {
    let published = reader.lane().published().load(Ordering::Relaxed);
    reader.stop_at(position, Corruption::PublishedTooFar { published, position });
    ReceiveError::Evicted { missed_bytes: published.saturating_sub(position) }
}
