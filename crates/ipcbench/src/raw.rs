//! The ceiling: what shared memory can do if nothing is checked, framed, or waited for.
//!
//! A ring of fixed slots with cached indices, a cache line bounced to and fro, a futex. This is a measuring rod and no
//! library: a peer that misbehaves corrupts it, and a slot must hold exactly one payload.
#![allow(unsafe_code, reason = "slots in the memory that both processes map")]

use super::clock::{Laps, ticks};
use super::contender::Role;
use super::payload::{PING_BYTES, assert_sent, boxed, fill, stamp, sum};
use super::plan::RUN;
use super::shared::{
    LARGE_RING_BYTES, RINGS_AT, Shared, WORDS_BYTES, Word, bounce_lane_bytes, ring_bytes, sleep_until, wake,
};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A receiver that finds less than this number of cache lines of records is close behind its sender.
pub(crate) const LINES_ENOUGH: usize = 256;
/// For how long it waits then, in nanoseconds.
pub(crate) const HOLD_NS: f64 = 1500.0;

/// What comes before a slot that has a header, in bytes: a cache line, as before a payload with `payload_align` 64.
const HEADER_BYTES: usize = 64;

/// A ring of slots for payloads of one length. A slice goes on where the one before it ended, as it does in a lane:
/// else a slice shorter than the ring would be one through a short ring.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    shared: &'a Shared,
    offset: usize,
    bytes: usize,
    /// The number of the slice's first slot; what is published and given back counts from it.
    begin: u64,
    published: &'a AtomicU64,
    consumed: &'a AtomicU64,
}

/// The distance between slots, in bytes: whole cache lines, but for payloads of a word or less.
pub(crate) const fn stride(len: usize) -> usize {
    if len <= 8 { 8 } else { len.next_multiple_of(64) }
}

impl<'a> Ring<'a> {
    /// The ring from the parent to the child, as long as a lane for payloads of that length.
    pub(crate) fn there(shared: &'a Shared, len: usize) -> Self {
        let bytes = ring_bytes(len);
        let (published, consumed) = (shared.word(Word::Published), shared.word(Word::Consumed));
        let begin = shared.word(Word::Begin).load(Ordering::Relaxed);
        Self { shared, offset: RINGS_AT, bytes, begin, published, consumed }
    }

    /// The rings of round trips, there and back: as long as the lanes that carry them.
    pub(crate) fn trips(shared: &'a Shared, len: usize) -> (Self, Self) {
        let there = Self { bytes: bounce_lane_bytes(len), ..Self::there(shared, len) };
        let (published, consumed) = (shared.word(Word::BackPublished), shared.word(Word::BackConsumed));
        let offset = if len == PING_BYTES { WORDS_BYTES } else { there.offset + LARGE_RING_BYTES / 2 };
        (there, Self { offset, published, consumed, ..there })
    }

    /// Sends record by record.
    pub(crate) fn sender(self) -> RingSender<'a> {
        RingSender { ring: self, sent: self.begin }
    }

    /// Receives what a [`RingSender`] sends.
    pub(crate) fn receiver(self) -> RingReceiver<'a> {
        RingReceiver { ring: self, received: self.begin }
    }

    #[inline(always)]
    const fn slots<const LEN: usize>(&self) -> u64 {
        const { assert!(stride(LEN).is_power_of_two(), "slots divide the ring") };
        (self.bytes / stride(LEN)) as u64
    }

    #[inline]
    fn slot<const LEN: usize>(&self, n: u64) -> NonNull<[u8; LEN]> {
        // A power of two, as its two factors are: a division would cost more than the slot.
        let index = (n & (self.slots::<LEN>() - 1)) as usize;
        // A slot of `stride(LEN)` ≥ `LEN` bytes with an index below `slots` ends within the ring.
        self.shared.at(self.offset + index * stride(LEN)).cast()
    }

    /// Sends `records` records and publishes them by `BATCH`; with `FENCE` each publication is fenced, as it must be
    /// where a consumer may sleep.
    pub(crate) fn send<const LEN: usize, const BATCH: u64, const FENCE: bool>(&self, records: u64) {
        let (mut sent, mut limit) = (self.begin, self.begin + self.slots::<LEN>());
        let last = self.begin + records;
        while sent < last {
            let end = last.min(sent + BATCH);
            while end > limit {
                limit = self.consumed.load(Ordering::Acquire) + self.slots::<LEN>();
            }
            for n in sent..end {
                // SAFETY: the receiver has given this slot back (or never had it) and looks at it again only once it is
                // published; this process is the only sender.
                fill(unsafe { self.slot::<LEN>(n).as_mut() }, n - self.begin);
            }
            sent = end;
            self.published.store(sent, Ordering::Release);
            if FENCE {
                fence(Ordering::SeqCst);
            }
        }
    }

    /// Sends `records` records, each copied from one finished payload and published alone: by memcpy, or with `STREAM`
    /// by [`stream`], which takes whole cache lines only.
    pub(crate) fn send_copies<const LEN: usize, const STREAM: bool>(&self, records: u64) {
        let mut payload = boxed::<LEN>();
        let mut limit = self.begin + self.slots::<LEN>();
        for n in self.begin..self.begin + records {
            while n >= limit {
                limit = self.consumed.load(Ordering::Acquire) + self.slots::<LEN>();
            }
            stamp(&mut payload, n - self.begin);
            // Else the compiler knows what stands in it, and writes that instead of copying it.
            let payload = std::hint::black_box(&*payload);
            let mut slot = self.slot::<LEN>(n);
            // SAFETY: as in `send`.
            let slot = unsafe { slot.as_mut() };
            match STREAM {
                true => stream(slot, payload),
                false => slot.copy_from_slice(payload),
            }
            self.published.store(n + 1, Ordering::Release);
        }
    }

    /// Receives `records` records by `read`; the sum over them. With `HOLD` it gives the sender time to get ahead.
    #[inline(always)]
    fn receive_by<const LEN: usize, const HOLD: bool>(
        &self,
        records: u64,
        mut read: impl FnMut(&[u8; LEN]) -> u64,
    ) -> u64 {
        let (mut received, mut given_back, mut total) = (self.begin, self.begin, 0u64);
        let (last, step) = (self.begin + records, (self.slots::<LEN>() / 8).max(1));
        let hold = self.shared.word(Word::Hold).load(Ordering::Relaxed);
        while received < last {
            let published = self.published.load(Ordering::Acquire);
            if HOLD && ((published - received) as usize) < LINES_ENOUGH * 64 / stride(LEN) {
                let until = ticks() + hold;
                while ticks() < until {
                    std::hint::spin_loop();
                }
            }
            while received < published {
                // SAFETY: published, so the sender leaves it alone until it is given back.
                total = total.wrapping_add(read(unsafe { self.slot::<LEN>(received).as_ref() }));
                received += 1;
                if received - given_back >= step {
                    given_back = received;
                    self.consumed.store(given_back, Ordering::Release);
                }
            }
        }
        total
    }

    /// Receives `records` records; the sum over them.
    pub(crate) fn receive<const LEN: usize>(&self, records: u64) -> u64 {
        self.receive_by::<LEN, false>(records, |slot| sum(slot))
    }

    /// As `receive`, but looks less often at a sender that is not far ahead: else both go at the pace of one line.
    pub(crate) fn receive_held<const LEN: usize>(&self, records: u64) -> u64 {
        self.receive_by::<LEN, true>(records, |slot| sum(slot))
    }

    /// As `receive_held`, but copies each record, by memcpy, and reads the copy.
    pub(crate) fn receive_copies<const LEN: usize>(&self, records: u64) -> u64 {
        let mut copy = boxed::<LEN>();
        self.receive_by::<LEN, true>(records, |slot| {
            copy.copy_from_slice(slot);
            sum(std::hint::black_box(&*copy))
        })
    }

    /// Sends `records` records, a multiple of [`RUN`], in runs that are claimed as one slice each.
    pub(crate) fn send_runs<const LEN: usize>(&self, records: u64) {
        const { assert!(stride(LEN) == LEN, "slots without gaps") };
        let (mut sent, mut limit) = (self.begin, self.begin + self.slots::<LEN>());
        while sent < self.begin + records {
            while sent + RUN > limit {
                limit = self.consumed.load(Ordering::Acquire) + self.slots::<LEN>();
            }
            // SAFETY: as in `send`, for the whole run; the number of slots and that of the first are multiples of RUN,
            // so it does not wrap.
            let run = unsafe { std::slice::from_raw_parts_mut(self.slot::<LEN>(sent).as_ptr(), RUN as usize) };
            for (slot, n) in run.iter_mut().zip(sent - self.begin..) {
                fill(slot, n);
            }
            sent += RUN;
            self.published.store(sent, Ordering::Release);
        }
    }

    /// Receives `records` records, each time all that are published up to the ring's end; the sum over them.
    pub(crate) fn receive_runs<const LEN: usize>(&self, records: u64) -> u64 {
        let (mut received, mut total) = (self.begin, 0u64);
        while received < self.begin + records {
            let published = self.published.load(Ordering::Acquire);
            let to_the_end = self.slots::<LEN>() - (received & (self.slots::<LEN>() - 1));
            let count = (published - received).min(to_the_end);
            if count != 0 {
                // SAFETY: published, so the sender leaves them alone until they are given back; none lies past the end.
                let run = unsafe { std::slice::from_raw_parts(self.slot::<LEN>(received).as_ptr(), count as usize) };
                total = total.wrapping_add(sum(run.as_flattened()));
                received += count;
                self.consumed.store(received, Ordering::Release);
            }
        }
        total
    }

    /// How many slots there are where each has a header.
    #[inline(always)]
    const fn headed_slots<const LEN: usize>(&self) -> u64 {
        (self.bytes / (HEADER_BYTES + stride(LEN))) as u64
    }

    /// The header of slot `n`, and the slot.
    #[inline]
    fn headed_slot<const LEN: usize>(&self, n: u64) -> (&'a AtomicU64, NonNull<[u8; LEN]>) {
        let at = self.offset + (n % self.headed_slots::<LEN>()) as usize * (HEADER_BYTES + stride(LEN));
        // SAFETY: such a header and its slot lie in the ring, and begin at multiples of 8; both processes change the
        // header as an atomic.
        let header = unsafe { self.shared.at(at).cast().as_ref() };
        (header, self.shared.at(at + HEADER_BYTES).cast())
    }

    /// Sends `records` records, each with a header that is written after it, since its length is certain only then.
    pub(crate) fn send_headed<const LEN: usize>(&self, records: u64) {
        let mut limit = self.begin + self.headed_slots::<LEN>();
        for n in self.begin..self.begin + records {
            while n >= limit {
                limit = self.consumed.load(Ordering::Acquire) + self.headed_slots::<LEN>();
            }
            let (header, mut slot) = self.headed_slot::<LEN>(n);
            // SAFETY: as in `send`.
            fill(unsafe { slot.as_mut() }, n - self.begin);
            header.store(LEN as u64, Ordering::Relaxed);
            self.published.store(n + 1, Ordering::Release);
        }
    }

    /// Receives `records` records that have headers, as [`receive`](Self::receive) does; the sum over them.
    pub(crate) fn receive_headed<const LEN: usize>(&self, records: u64) -> u64 {
        let (mut received, mut total) = (self.begin, 0u64);
        let (last, step) = (self.begin + records, (self.headed_slots::<LEN>() / 8).max(1));
        while received < last {
            let published = self.published.load(Ordering::Acquire);
            while received < published {
                let (header, slot) = self.headed_slot::<LEN>(received);
                assert_eq!(header.load(Ordering::Relaxed), LEN as u64, "the length that was sent");
                // SAFETY: as in `receive_by`.
                total = total.wrapping_add(sum(unsafe { slot.as_ref() }));
                received += 1;
                if received.is_multiple_of(step) {
                    self.consumed.store(received, Ordering::Release);
                }
            }
        }
        total
    }

    /// Sends record `n` of a slice of round trips; the one before it has been answered.
    fn send_one<const LEN: usize>(&self, n: u64) {
        // SAFETY: at most one record is in flight, and the ring has more slots than that.
        fill(unsafe { self.slot::<LEN>(self.begin + n).as_mut() }, n);
        self.published.store(self.begin + n + 1, Ordering::Release);
    }

    fn receive_one<const LEN: usize>(&self, n: u64) -> u64 {
        while self.published.load(Ordering::Acquire) <= self.begin + n {}
        // SAFETY: published, and not overwritten before it is answered.
        sum(unsafe { self.slot::<LEN>(self.begin + n).as_ref() })
    }

    /// The last word of the slot of record `n`, which the payload of a round trip leaves free.
    fn mark(&self, n: u64) -> &AtomicU64 {
        let slot = self.slot::<PING_BYTES>(self.begin + n).cast::<u64>();
        // SAFETY: the slot is `stride(PING_BYTES)` long.
        let mark = unsafe { slot.add(PING_BYTES / 8) };
        // SAFETY: aligned, as slots begin on cache lines; both processes change it as an atomic.
        unsafe { mark.cast().as_ref() }
    }

    /// Sends record `n` of a round trip in a slot that says itself that it is full, by a `mark` not used before.
    fn send_marked(&self, n: u64, mark: u64) {
        // SAFETY: as in `send_one`.
        fill(unsafe { self.slot::<PING_BYTES>(self.begin + n).as_mut() }, n);
        self.mark(n).store(mark, Ordering::Release);
    }

    fn receive_marked(&self, n: u64, mark: u64) -> u64 {
        while self.mark(n).load(Ordering::Acquire) != mark {}
        // SAFETY: the mark says that it is full, and the sender leaves it alone until it is given back, or answered.
        sum(unsafe { self.slot::<PING_BYTES>(self.begin + n).as_ref() })
    }

    /// What marks begin with: the number of the command, so that none of an earlier slice is taken for one of this.
    fn marks(&self) -> u64 {
        self.shared.word(Word::Command).load(Ordering::Relaxed) << 32
    }

    /// Sends `records` records of [`PING_BYTES`] bytes in slots that say themselves that they are full.
    pub(crate) fn send_slots(&self, records: u64) {
        let (marks, mut limit) = (self.marks(), self.slots::<PING_BYTES>());
        for n in 0..records {
            while n >= limit {
                limit = self.consumed.load(Ordering::Acquire) - self.begin + self.slots::<PING_BYTES>();
            }
            self.send_marked(n, marks | n);
        }
        // The next slice goes on from here.
        self.published.store(self.begin + records, Ordering::Relaxed);
    }

    /// Receives `records` records of such slots; the sum over them.
    pub(crate) fn receive_slots(&self, records: u64) -> u64 {
        let (marks, step) = (self.marks(), self.slots::<PING_BYTES>() / 8);
        (0..records).fold(0, |total: u64, n| {
            let total = total.wrapping_add(self.receive_marked(n, marks | n));
            if (n + 1).is_multiple_of(step) {
                // Pairs with the load in `send_slots`: that slot was read.
                self.consumed.store(self.begin + n + 1, Ordering::Release);
            }
            total
        })
    }
}

/// Whether [`stream`] has stores that go past the caches: x86-64 alone has the ones that it is made of.
pub(crate) const STREAMS: bool = cfg!(target_arch = "x86_64");

/// Copies a payload of whole cache lines past the caches: the lines of the slot are not fetched to be overwritten. The
/// fence keeps the publication behind these stores, which it would overtake.
#[cfg(target_arch = "x86_64")]
fn stream<const LEN: usize>(slot: &mut [u8; LEN], payload: &[u8; LEN]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    let (to, from) = (slot.as_mut_ptr().cast::<__m128i>(), payload.as_ptr().cast::<__m128i>());
    assert!(LEN.is_multiple_of(64), "{LEN} bytes are no whole cache lines");
    assert!(to.is_aligned(), "slots begin on cache lines");
    for part in 0..LEN / 16 {
        // SAFETY: a payload has that many parts of 16 bytes.
        let from = unsafe { from.add(part) };
        // SAFETY: the part lies in the payload; no alignment is asked for.
        let bytes = unsafe { _mm_loadu_si128(from) };
        // SAFETY: as above, for the slot, which is as long.
        let to = unsafe { to.add(part) };
        // SAFETY: the part lies in the slot, which is borrowed, and is aligned, as was seen to above.
        unsafe { _mm_stream_si128(to, bytes) };
    }
    // SAFETY: every x86-64 processor has it.
    unsafe { _mm_sfence() };
}

/// Nothing that needs it is planned here.
#[cfg(not(target_arch = "x86_64"))]
fn stream<const LEN: usize>(_: &mut [u8; LEN], _: &[u8; LEN]) {
    panic!("there are no streaming stores here");
}

/// The sender of a ring, record by record.
pub(crate) struct RingSender<'a> {
    ring: Ring<'a>,
    sent: u64,
}

impl RingSender<'_> {
    #[inline]
    pub(crate) fn send_one<const LEN: usize>(&mut self, number: u64) {
        while self.sent == self.ring.consumed.load(Ordering::Acquire) + self.ring.slots::<LEN>() {}
        // SAFETY: as in `send`.
        fill(unsafe { self.ring.slot::<LEN>(self.sent).as_mut() }, number);
        self.sent += 1;
        self.ring.published.store(self.sent, Ordering::Release);
    }
}

/// The receiver of a ring, record by record.
pub(crate) struct RingReceiver<'a> {
    ring: Ring<'a>,
    received: u64,
}

impl RingReceiver<'_> {
    #[inline]
    pub(crate) fn receive_one<const LEN: usize>(&mut self) -> u64 {
        while self.ring.published.load(Ordering::Acquire) == self.received {}
        // SAFETY: as in `receive_by`.
        let total = sum(unsafe { self.ring.slot::<LEN>(self.received).as_ref() });
        self.received += 1;
        self.ring.consumed.store(self.received, Ordering::Release);
        total
    }
}

/// One side of the round trips in this file.
pub(crate) struct Raw<'a>(pub(crate) &'a Shared);

impl Raw<'_> {
    /// Round trips of one word that stands alone on its line: what the machine allows.
    pub(crate) fn ping_line(&self, rounds: u64, laps: &mut Laps) {
        let (ping, pong) = (self.0.word(Word::Ping), self.0.word(Word::Pong));
        for n in 1..=rounds {
            ping.store(n, Ordering::Release);
            while pong.load(Ordering::Acquire) != n {}
            laps.end();
        }
    }

    pub(crate) fn pong_line(&self, rounds: u64) {
        let (ping, pong) = (self.0.word(Word::Ping), self.0.word(Word::Pong));
        for n in 1..=rounds {
            while ping.load(Ordering::Acquire) != n {}
            pong.store(n, Ordering::Release);
        }
    }

    pub(crate) fn ping_ring<const LEN: usize>(&self, rounds: u64, laps: &mut Laps) {
        let (there, back) = Ring::trips(self.0, LEN);
        for n in 0..rounds {
            there.send_one::<LEN>(n);
            assert_sent(LEN, n, back.receive_one::<LEN>(n));
            laps.end();
        }
    }

    pub(crate) fn pong_ring<const LEN: usize>(&self, rounds: u64) {
        let (there, back) = Ring::trips(self.0, LEN);
        for n in 0..rounds {
            assert_sent(LEN, n, there.receive_one::<LEN>(n));
            back.send_one::<LEN>(n);
        }
    }

    pub(crate) fn ping_slots(&self, rounds: u64, laps: &mut Laps) {
        let (there, back) = Ring::trips(self.0, PING_BYTES);
        let marks = there.marks();
        for n in 0..rounds {
            there.send_marked(n, marks | n);
            assert_sent(PING_BYTES, n, back.receive_marked(n, marks | n));
            laps.end();
        }
        // No position was published: the next slice goes on from here all the same.
        there.published.store(there.begin + rounds, Ordering::Relaxed);
    }

    pub(crate) fn pong_slots(&self, rounds: u64) {
        let (there, back) = Ring::trips(self.0, PING_BYTES);
        let marks = there.marks();
        for n in 0..rounds {
            assert_sent(PING_BYTES, n, there.receive_marked(n, marks | n));
            back.send_marked(n, marks | n);
        }
    }
}

/// One side of a pair of futex words, in one slice. They say how many records there were, and carry nothing else.
pub(crate) struct Futexes<'a> {
    ours: &'a AtomicU32,
    theirs: &'a AtomicU32,
    sent: u32,
    received: u32,
}

impl<'a> Futexes<'a> {
    pub(crate) fn new(shared: &'a Shared, role: Role) -> Self {
        let (ping, pong) = (shared.futex(Word::FutexPing), shared.futex(Word::FutexPong));
        let (ours, theirs) = if role == Role::Parent { (pong, ping) } else { (ping, pong) };
        Self { ours, theirs, sent: 0, received: 0 }
    }

    /// Wakes the other side.
    pub(crate) fn wake(&mut self) {
        self.sent += 1;
        wake(self.theirs, self.sent);
    }

    /// Sleeps until this side is woken; the number of the record, from 0 on.
    pub(crate) fn sleep(&mut self) -> u64 {
        self.received += 1;
        sleep_until(self.ours, self.received);
        u64::from(self.received - 1)
    }
}

#[cfg(test)]
mod tests;
