//! The ways in which a consumer that has nothing in view comes to its next record, each a little closer than the one
//! before.
//!
//! ```text
//!   after release  what is in view, once what was read is released        Consumer::next_after_release
//!   wait a moment  peeks at `published` alone, for about a microsecond    Consumer::wait_a_moment
//!   poll           `published`; if nothing is there, the lane's state     Consumer::poll
//!   poll or empty  a poll, and now and then a look at the session         Consumer::poll_or_empty
//!   wait           polls while it spins, then sleeps                      Consumer::wait
//! ```
//!
//! The first word of a name says what it costs, here and in [`ring::reader`](crate::ring::reader):
//!
//! - *next*: headers are loaded, and what was read may be released. So it finds what is in view.
//! - *peek*: `published` is loaded and compared; it is judged only if it has changed.
//! - *poll*: `published` is loaded and judged; up to the end, the lane's state is loaded too if nothing is there.
//! - *wait*: peeks or polls again and again; some waits sleep.
//! - *find*: all of these in turn, as far as its caller waits, up to a record that is not handed out yet.
//!
//! A name ends in *closely* if it goes on where the quick way, inlined into the caller's loop, found nothing; and in
//! *soon* if it is for a task, which waits for a moment once for each record.
//!
//! The invariant: a call that found nothing has released everything that was read (invariant 29), and one that
//! found the session over has looked once more for what was published before.
//!
//! [`waiter`](super::waiter) sleeps, and [`pace`](super::pace) says when a look is worthwhile.

use super::pace::LINE_BYTES;
use super::{Consumer, ReceiveError, SESSION_INTERVAL, SETTLE_AGAIN};
use crate::crash;
use crate::deadline::Deadline;
use crate::layout::{HEADER_LEN_BYTES, LaneState};
use crate::link::Fate;
use crate::memory::is_intel;
use crate::os::clock::coarse_now;
use crate::os::spin::has_one_processor;
use crate::ring::cursor::{Found, Polled};
use crate::ring::sleep::Sleeps;
use std::mem;
use std::time::Duration;

/// The number of peeks at `published` alone with which a wait begins: longer than a near producer takes to answer.
const PEEKS_MAX: u32 = 32;
/// A peek takes about as long as this many tries in a row.
const TRIES_PER_PEEK: u32 = 4;
/// After this many looks of calls that do not wait, the next one is not put off.
const TRIES_OF_LULL: u32 = PEEKS_MAX * TRIES_PER_PEEK;
/// Records up to this length, header and all, are fetched as [`Fetch`] says. Of longer answers, the first lines
/// are fetched together once they are published.
const FETCHED_AHEAD_MAX_BYTES: u64 = 2 * LINE_BYTES;
/// How much of an answer is fetched together: the processor brings the rest by itself meanwhile.
const FETCHED_OF_ANSWER_BYTES: u64 = 24 * LINE_BYTES;
/// Looks in a row of a spinning wait, of which only the first loads more than `published`.
const LOOKS_PER_STATE: u32 = 8;
/// The looks in a row after which a spinning wait also looks at the session. A spin of the usual length has fewer,
/// because a sleep looks at the session anyway.
const LOOKS_PER_SESSION: u32 = 4096;

impl Consumer {
    /// The next record, after `next_in_view` found none: after a release, within a moment, or by waiting. `None` at the
    /// end.
    #[inline(always)]
    pub(super) fn find_closely(&mut self, deadline: Deadline) -> Result<Option<Found>, ReceiveError> {
        match self.next_after_release().or_else(|| self.wait_a_moment()) {
            Some(found) => Ok(Some(found)),
            None => self.wait(deadline),
        }
    }

    /// As `find_closely`, for a call that does not wait.
    #[inline(always)]
    pub(super) fn try_find_closely(&mut self) -> Result<Option<Found>, ReceiveError> {
        match self.next_after_release().or_else(|| self.wait_for_answer()) {
            Some(found) => Ok(Some(found)),
            None => self.poll_or_empty(),
        }
    }

    /// The next record, if it is in view and only a release was due first.
    #[inline(always)]
    pub(super) fn next_after_release(&mut self) -> Option<Found> {
        // In a forked child there is no ring to look at.
        if self.guard.is_child() { None } else { self.reader.next_after_release() }
    }

    /// The next record, if it comes within a moment. `None` says only that a closer look is needed.
    #[inline(always)]
    pub(super) fn wait_a_moment(&mut self) -> Option<Found> {
        let peeks = self.peek_for_news()?;
        let found = self.reader.any_in_view()?;
        self.waiter.disarm(&self.reader);
        self.vain_tries = 0;
        self.expected_bytes = found.payload + found.len - found.position;
        self.pace.note_found(peeks, self.reader.unread());
        Some(found)
    }

    /// The same for a call that does not wait, if an answer is expected: releasing first what was read would delay the
    /// answer. Once a burst: after that everything is released, and the next try looks at once.
    #[inline(always)]
    pub(super) fn wait_for_answer(&mut self) -> Option<Found> {
        if self.pace.expects_answer() && self.reader.has_unreleased() { self.wait_a_moment() } else { None }
    }

    /// Peeks at `published` alone for about a microsecond. Returns the number of peeks in vain before something was
    /// published. An answer that comes at once finds the consumer here.
    #[inline(never)]
    fn peek_for_news(&mut self) -> Option<u32> {
        if !self.may_spin_for_news() {
            return None;
        }
        self.pace.put_off();
        let (ring, position) = (self.reader.lane().ring(), self.reader.position());
        let lines = lines_of_short(position, self.expected_bytes);
        let fetch_lines = || (0..lines).for_each(|line| ring.prefetch(position + line * LINE_BYTES));
        let fetch = Fetch::of(lines, is_intel(), self.is_read_slowly);
        let peeks = match fetch {
            Fetch::WithEachPeek => self.count_peeks(fetch_lines),
            Fetch::Never | Fetch::OncePublished => self.count_peeks(|| ()),
        };
        if peeks.is_none() {
            self.pace.note_lull();
            return None;
        }
        if fetch == Fetch::OncePublished {
            fetch_lines();
        }
        self.reader.refresh().ok()?;
        if self.expected_bytes > FETCHED_AHEAD_MAX_BYTES && self.pace.awaits_answers() {
            self.fetch_answer();
        }
        peeks
    }

    /// Peeks until something is published, each time after `fetch`; how often in vain. `None` if nothing came.
    #[inline(always)]
    fn count_peeks(&self, fetch: impl Fn()) -> Option<u32> {
        (0..PEEKS_MAX).find(|_| {
            fetch();
            let has_news = self.reader.has_news();
            if !has_news {
                std::hint::spin_loop();
            }
            has_news
        })
    }

    /// Has the first lines of an answer fetched together, and not one once the one before it is there. A tenth off
    /// round trips of 4 KiB between near cores; off those of 256 B a quarter, or a thirtieth if the processor foresaw
    /// with which peek the answer would come, see docs/performance.md. Streams lose: the consumer catches up with its
    /// producer, and takes the lines away that are being written. (All on an EPYC.)
    #[inline]
    fn fetch_answer(&self) {
        let (ring, position) = (self.reader.lane().ring(), self.reader.position());
        let bytes = self.reader.unread().min(FETCHED_OF_ANSWER_BYTES);
        for line in (0..bytes).step_by(LINE_BYTES as usize) {
            ring.prefetch(position + line);
        }
        // Records begin anywhere in a line.
        ring.prefetch(position + bytes.saturating_sub(HEADER_LEN_BYTES));
    }

    /// Whether it makes sense to wait for `published` to change: not for what is there already, such as padding or the
    /// next lap of the ring.
    #[inline]
    fn may_spin_for_news(&self) -> bool {
        !self.guard.is_child() && self.reader.unread() == 0 && !self.spin.is_zero() && !has_one_processor()
    }

    /// The next record, by a poll that is put off for a moment at most; `Empty` if there is none. `None` at the end.
    #[inline(never)]
    pub(super) fn poll_or_empty(&mut self) -> Result<Option<Found>, ReceiveError> {
        if self.may_spin_for_news() {
            self.pace.put_off();
        }
        match self.poll()? {
            Polled::Found(found) => {
                self.note_found_by_try(self.reader.unread());
                Ok(Some(found))
            }
            Polled::Ended(_) => Ok(None),
            Polled::Empty => {
                self.note_vain_try();
                self.note_idle();
                self.look_at_session_if_due();
                self.last_poll(ReceiveError::Empty)
            }
        }
    }

    /// Whether `published` has moved on, or nothing is read any more. Takes back an announcement then, as a poll does
    /// that finds a record.
    #[inline(never)]
    pub(super) fn poll_for_news(&mut self) -> bool {
        // In a forked child there is no ring to look at, and the next call says so.
        if self.guard.is_child() {
            return true;
        }
        if self.may_spin_for_news() {
            self.pace.put_off();
        }
        let has_news = self.reader.refresh().unwrap_or(true);
        if has_news {
            self.waiter.disarm(&self.reader);
            self.note_found_by_try(self.reader.unread_beyond_next());
        } else {
            self.note_vain_try();
        }
        has_news
    }

    /// As [`has_news`](Self::has_news), for a task that waits elsewhere otherwise. That takes longer than a record does
    /// that is about to come, so the first look in vain goes on for about a microsecond.
    #[cfg(any(test, feature = "tokio"))]
    #[inline]
    pub(crate) fn has_news_soon(&mut self) -> bool {
        self.reader.unread() != 0 || self.poll_for_news_soon()
    }

    /// The next record, after `next_in_view` found none: after a release, or within a moment. `None` says only that a
    /// closer look is needed.
    #[cfg(any(test, feature = "tokio"))]
    #[inline(always)]
    pub(crate) fn find_soon(&mut self) -> Option<Found> {
        // As in `poll_for_news_soon`: a moment for each record at most.
        self.next_after_release().or_else(|| if self.vain_tries == 0 { self.wait_a_moment() } else { None })
    }

    #[cfg(any(test, feature = "tokio"))]
    #[inline(never)]
    fn poll_for_news_soon(&mut self) -> bool {
        // Once for each record at most: a task that waits for several lanes looks at all of them each time. So no
        // announcement stands here, which would have counted as tries in vain.
        let peeks = if self.vain_tries == 0 { self.peek_for_news() } else { None };
        let Some(peeks) = peeks else { return self.poll_for_news() };
        self.pace.note_found(peeks, self.reader.unread_beyond_next());
        true
    }

    /// Whether the next call that receives has something to say: the look that ends [`arm`](Self::arm), without the
    /// announcement, so that nobody rings. `has_event` says that the descriptor is readable: what makes it so is taken.
    pub(crate) fn poll_unarmed(&mut self, has_event: bool) -> bool {
        // In a forked child the next call says so.
        if self.guard.is_child() {
            return true;
        }
        if has_event {
            self.waiter.harvest(&self.reader);
        } else {
            self.look_at_session_if_due();
        }
        self.reader.release_all();
        self.settle_inbox_if_due();
        !self.reader.may_sleep(|| self.waiter.fate() != Fate::Alive)
    }

    /// A look of a call that does not wait has found nothing.
    fn note_vain_try(&mut self) {
        self.vain_tries = self.vain_tries.saturating_add(1);
        if self.vain_tries == TRIES_OF_LULL {
            self.pace.note_lull();
        }
    }

    /// A record was found by a call that does not wait, and `more_bytes` beyond it.
    fn note_found_by_try(&mut self, more_bytes: u64) {
        let peeks = mem::take(&mut self.vain_tries) / TRIES_PER_PEEK;
        if peeks < PEEKS_MAX {
            self.pace.note_found(peeks, more_bytes);
        }
    }

    /// The caller waits elsewhere: whatever it finds after that has not come at once, and its next look is not put off.
    pub(super) fn note_wait_elsewhere(&mut self) {
        if self.vain_tries < TRIES_OF_LULL {
            self.vain_tries = TRIES_OF_LULL;
            self.pace.note_lull();
        }
    }

    /// One more poll if the session is over. Returns what it found, otherwise the error `nothing`.
    fn last_poll(&mut self, nothing: ReceiveError) -> Result<Option<Found>, ReceiveError> {
        if self.waiter.fate() == Fate::Alive {
            return Err(nothing);
        }
        match self.poll()? {
            Polled::Found(found) => Ok(Some(found)),
            Polled::Ended(_) => Ok(None),
            Polled::Empty => Err(nothing),
        }
    }

    /// The next record, by looking closely and waiting: spins, then sleeps. `None` at the end.
    #[inline(never)]
    pub(super) fn wait(&mut self, deadline: Deadline) -> Result<Option<Found>, ReceiveError> {
        loop {
            let mut spins = mem::take(&mut self.spins);
            let found = spins.spin_until(self.spin, deadline, |looks| self.poll_in_spin(looks));
            self.spins = spins;
            match found {
                Some(Ok(Polled::Found(found))) => return Ok(Some(found)),
                Some(Ok(_)) => return Ok(None),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            self.note_idle();
            let settle_in = self.settle_inbox();
            if deadline.has_passed() {
                self.waiter.harvest(&self.reader);
                return self.last_poll(ReceiveError::TimedOut);
            }
            let wake_at = settle_in.map_or(deadline, |time| deadline.or_after(time));
            self.waiter.sleep(&mut self.reader, wake_at).map_err(|errno| ReceiveError::Wait(errno.raw_os_error()))?;
        }
    }

    /// One poll of a spinning wait, or a peek; `None` if it found nothing, and the wait goes on.
    fn poll_in_spin(&mut self, looks: u32) -> Option<Result<Polled, ReceiveError>> {
        if looks % LOOKS_PER_SESSION == LOOKS_PER_SESSION - 1 {
            self.look_at_session_if_due();
        }
        if !looks.is_multiple_of(LOOKS_PER_STATE) && !self.reader.has_news() {
            return None;
        }
        match self.poll() {
            Ok(Polled::Empty) => self.waiter.is_interrupted().then_some(Err(ReceiveError::Interrupted)),
            polled => Some(polled),
        }
    }

    /// Whether there is a record, or the end: one load of `published`, and of the lane's state if nothing is there.
    #[inline(never)]
    pub(super) fn poll(&mut self) -> Result<Polled, ReceiveError> {
        if self.guard.is_child() {
            return Err(ReceiveError::Forked);
        }
        match self.reader.poll_to_end(|| self.waiter.fate() != Fate::Alive)? {
            Polled::Found(found) => {
                self.waiter.disarm(&self.reader);
                if found.fds != 0 {
                    self.reader.release().seat().inbox().iter().for_each(|inbox| inbox.pass(found.position));
                }
                Ok(Polled::Found(found))
            }
            Polled::Ended(state) => self.end(state),
            Polled::Empty => {
                self.settle_inbox_if_due();
                Ok(Polled::Empty)
            }
        }
    }

    /// Lets go of descriptors whose records were read, now and then.
    fn settle_inbox_if_due(&self) {
        let position = self.position();
        self.reader.release().seat().inbox().iter().for_each(|inbox| inbox.settle_if_due(position));
    }

    /// Lets go of descriptors whose records were read, before a sleep: also of those that an attempt to publish has
    /// left, which the producer waits for. How long to sleep at most until the next time, if nothing wakes it for that.
    pub(super) fn settle_inbox(&self) -> Option<Duration> {
        let is_settled = self.reader.release().seat().inbox()?.settle(self.position());
        // One that naps hears no ring for what comes.
        (!is_settled || self.waiter.naps()).then_some(SETTLE_AGAIN)
    }

    /// Everything has been read and no more will come. Returns which end this is.
    #[cold]
    fn end(&mut self, state: LaneState) -> Result<Polled, ReceiveError> {
        crash::point!("consumer-end-seen");
        match (state, self.waiter.fate()) {
            (LaneState::Finished, _) => Ok(Polled::Ended(state)),
            (LaneState::Abandoned, _) => Err(ReceiveError::Abandoned),
            (LaneState::Open, Fate::Closed) => Err(ReceiveError::Closed),
            (LaneState::Open, Fate::Evicted) => Err(self.reader.evicted_at(self.position()).into()),
            (LaneState::Open, Fate::HungUp) if !self.waiter.link().has_died() => Err(ReceiveError::HungUp),
            (LaneState::Open, Fate::Broken) => Err(ReceiveError::broken(self.waiter.link().last_words())),
            (LaneState::Open, _) => Err(ReceiveError::PeerDead),
        }
    }

    /// What a sleep does beside sleeping, at most once per [`SESSION_INTERVAL`], for callers that never sleep: checks
    /// that the producer is alive, and lets go of descriptors that it waits for.
    fn look_at_session_if_due(&mut self) {
        let now = coarse_now();
        if now >= self.session_due {
            self.session_due = now + SESSION_INTERVAL;
            self.waiter.harvest(&self.reader);
            self.settle_inbox();
        }
    }
}

/// When the lines of a short record that is awaited are fetched together. Otherwise each comes after the one before,
/// unless the processor foresees with which peek the record comes. All figures: docs/performance.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    Never,
    /// So that they come together with that of `published`, and not after it. It takes lines away from the producer
    /// while it writes them, and pays all the same where it is chosen.
    WithEachPeek,
    /// Before `published` is judged.
    OncePublished,
}

impl Fetch {
    /// That of a record in that many `lines`. It `is_read_slowly` if its reader has much to do between its first bytes
    /// and its last.
    #[inline]
    fn of(lines: u64, is_intel: bool, is_read_slowly: bool) -> Self {
        match (lines, is_intel) {
            (0, _) => Self::Never,
            // Intel: a fifth off round trips of 8 to 56 B. AMD: half as long again between far cores.
            (1, true) => Self::WithEachPeek,
            (1, false) => Self::Never,
            // Intel: a tenth to a fifth off round trips of 64 to 120 B next to each peek, by which those of 120 B can
            // take twice as long; but 15 % longer if they hold the time, and 6 to 10 % a call. AMD was not measured
            // so.
            (_, true) if !is_read_slowly => Self::OncePublished,
            // AMD: a fifth to a third off round trips of 80 B; streams take as long either way.
            _ => Self::WithEachPeek,
        }
    }
}

/// In how many lines the record at `position` lies, if it has as many `bytes` as the last one. 0 if that is more than
/// are fetched.
#[inline]
fn lines_of_short(position: u64, bytes: u64) -> u64 {
    if bytes > FETCHED_AHEAD_MAX_BYTES {
        return 0;
    }
    (position % LINE_BYTES + bytes).div_ceil(LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_record_is_fetched_by_the_lines_that_it_lies_in() {
        for (position, bytes, lines) in [(0, 64, 1), (24, 40, 1), (8, 64, 2), (192, 88, 2), (48, 88, 3), (8, 128, 3)] {
            assert_eq!(lines_of_short(position, bytes), lines, "{bytes} bytes at {position}");
        }
        for bytes in [129, u64::MAX] {
            assert_eq!(lines_of_short(64, bytes), 0, "{bytes} bytes");
        }
    }

    #[test]
    fn what_is_fetched_when_depends_on_the_processor_and_on_the_reader() {
        use Fetch::{Never, OncePublished, WithEachPeek};
        // By lines: for Intel, for Intel if it is read slowly, for others.
        for (lines, fetches) in [
            (0, [Never, Never, Never]),
            (1, [WithEachPeek, WithEachPeek, Never]),
            (2, [OncePublished, WithEachPeek, WithEachPeek]),
            (3, [OncePublished, WithEachPeek, WithEachPeek]),
        ] {
            let [intel, slow, other] = fetches;
            assert_eq!([Fetch::of(lines, true, false), Fetch::of(lines, true, true)], [intel, slow], "{lines} lines");
            assert_eq!([false, true].map(|is_slow| Fetch::of(lines, false, is_slow)), [other; 2], "{lines} lines");
        }
    }
}
