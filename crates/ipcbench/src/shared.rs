//! The memory through which the two processes of the benchmark command each other, and in which the raw rings lie.
//!
//! The invariant: each word has one writing process at a time, and words of different writers lie 128 bytes apart.
#![allow(unsafe_code, reason = "the memory that both processes map")]

use super::payload::{PING_BYTES, TRIP_LENGTHS};
use super::plan::RUN;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::thread::futex;
use std::hint::spin_loop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The length of a ring in bytes, raw or a lane's, unless its payloads are large.
pub const RING_BYTES: usize = fdring::limits::CAPACITY_DEFAULT_BYTES as usize;
/// The length of a ring for payloads of at least [`LARGE_LEN`] bytes.
pub(crate) const LARGE_RING_BYTES: usize = 16 << 20;
/// The length of the rings of lanes with taps: a slice fits a quarter of one.
pub(crate) const TAPS_RING_BYTES: usize = 16 << 20;
const _: () = assert!(RING_BYTES.is_power_of_two() && RING_BYTES <= LARGE_RING_BYTES);
/// From this length on, in bytes, a payload counts as large.
pub(crate) const LARGE_LEN: usize = 1 << 20;

/// The length of a ring for payloads of `len` bytes, in bytes.
pub const fn ring_bytes(len: usize) -> usize {
    if len >= LARGE_LEN { LARGE_RING_BYTES } else { RING_BYTES }
}

/// Where the words end and the rings begin.
pub(crate) const WORDS_BYTES: usize = 4096;
/// The ring from the child to the parent carries short round trips only; longer ones take half of the other.
pub(crate) const BACK_RING_BYTES: usize = bounce_lane_bytes(PING_BYTES);
/// The length of a lane that carries round trips of `len` bytes, in bytes. For 64 KiB it is longer than a core's own
/// cache, since what the reader still holds there is slow to write again.
pub(crate) const fn bounce_lane_bytes(len: usize) -> usize {
    if len == PING_BYTES { 64 << 10 } else { 128 * len }
}
const _: () = assert!(bounce_lane_bytes(TRIP_LENGTHS[TRIP_LENGTHS.len() - 1]) <= LARGE_RING_BYTES / 2);
/// Where numbers that are told lie in the page, and how many there may be.
const TOLD_AT: usize = 2048;
pub(crate) const TOLD: usize = 64;
/// Where a process says what went wrong with it, how long that may be in bytes, and after how many of them it begins.
const COMPLAINT_AT: usize = 3072;
const COMPLAINT_BYTES: usize = WORDS_BYTES - COMPLAINT_AT;
const COMPLAINT_HEADER_BYTES: usize = 8;
/// Where the rings from the parent to the child lie, one or several, and how many bytes there are for them.
pub(crate) const RINGS_AT: usize = WORDS_BYTES + BACK_RING_BYTES;
/// How many latencies the receiver can tell after a slice.
pub(crate) const LATENCIES_MAX: usize = 1 << 16;
const LATENCIES_AT: usize = RINGS_AT + LARGE_RING_BYTES;
const SHARED_BYTES: usize = LATENCIES_AT + 8 * LATENCIES_MAX;

/// The words of the page, at offsets in bytes.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// Which case to run next, and with how many records; then the number of the command, which sets it off.
    Case = 0,
    Records = 8,
    Command = 16,
    /// The case that runs, and the contender that is being opened, for the process that watches: their numbers and 1.
    Running = 24,
    Opening = 32,
    /// The run is to end after this slice.
    Stop = 40,
    /// The child receives nothing until all is sent.
    Ahead = 48,
    /// How many of those are sent.
    Sent = 56,
    /// The child's answer to the command of that number, and the sum over all that it received.
    Answer = 128,
    Sum = 136,
    Ping = 256,
    /// For how many ticks a held receiver steps back.
    Hold = 272,
    /// The number of the first slot of the raw rings in this slice; it goes on and on.
    Begin = 264,
    Pong = 384,
    /// A time that the child took, which goes with `Pong`.
    Time = 392,
    Published = 512,
    Consumed = 640,
    BackPublished = 768,
    BackConsumed = 896,
    FutexPing = 1024,
    FutexPong = 1152,
    /// The child may go on: it slept while the parent used its core.
    GoOn = 1280,
}

/// The memory that both processes map, for as long as they run.
pub(crate) struct Shared {
    base: NonNull<u8>,
}

// SAFETY: the mapping is of no thread, and everything in it is reached as an atomic or by one side at a time.
unsafe impl Send for Shared {}

// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn create() -> std::io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("fdring-bench", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, SHARED_BYTES as u64)?;
        // The process that measures touches it first, so that it lies near it.
        Ok((Self::map_by(&fd, MapFlags::SHARED)?, fd))
    }

    pub(crate) fn map(fd: impl AsFd) -> std::io::Result<Self> {
        Self::map_by(fd, MapFlags::SHARED | MapFlags::POPULATE)
    }

    fn map_by(fd: impl AsFd, flags: MapFlags) -> std::io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address where nothing is mapped yet.
        let base = unsafe { mmap(std::ptr::null_mut(), SHARED_BYTES, access, flags, fd, 0) }?;
        Ok(Self { base: NonNull::new(base.cast()).expect("the kernel maps nothing at address 0") })
    }

    pub(crate) fn word(&self, word: Word) -> &AtomicU64 {
        // SAFETY: every `Word` lies within the first page of the mapping, which is never unmapped.
        let pointer = unsafe { self.base.add(word as usize) };
        // SAFETY: the words' offsets are multiples of 8; the other process changes them as atomics too.
        unsafe { pointer.cast().as_ref() }
    }

    pub(crate) fn futex(&self, word: Word) -> &AtomicU32 {
        // SAFETY: as in `word`.
        let pointer = unsafe { self.base.add(word as usize) };
        // SAFETY: as in `word`; while processes run, the futex words are used as such only.
        unsafe { pointer.cast().as_ref() }
    }

    /// A number that one of the watched processes tells, see `census`.
    pub(crate) fn told(&self, index: usize) -> &AtomicU64 {
        assert!(index < TOLD, "as many numbers as there is room for");
        // SAFETY: the numbers lie within the first page, beyond the words.
        let pointer = unsafe { self.base.add(TOLD_AT + 8 * index) };
        // SAFETY: as in `word`.
        unsafe { pointer.cast().as_ref() }
    }

    /// A time that the receiver of a slice tells, in ticks.
    pub(crate) fn latency(&self, index: usize) -> &AtomicU64 {
        assert!(index < LATENCIES_MAX, "as many latencies as there is room for");
        // SAFETY: the latencies lie at the end of the mapping.
        let pointer = unsafe { self.base.add(LATENCIES_AT + 8 * index) };
        // SAFETY: as in `word`.
        unsafe { pointer.cast().as_ref() }
    }

    fn complaint_byte(&self, index: usize) -> &AtomicU8 {
        assert!(COMPLAINT_AT + index < WORDS_BYTES, "within the room for complaints");
        // SAFETY: within the first page, beyond the words and the numbers.
        let pointer = unsafe { self.base.add(COMPLAINT_AT + index) };
        // SAFETY: bytes need no alignment; both processes change them as atomics.
        unsafe { pointer.cast().as_ref() }
    }

    /// Says what went wrong with this process, for the one that watches; the first complaint stands.
    pub(crate) fn complain(&self, text: &str) {
        if self.complaint_byte(0).swap(1, Ordering::AcqRel) == 0 {
            let room = COMPLAINT_BYTES - COMPLAINT_HEADER_BYTES;
            for (index, byte) in text.bytes().chain([0]).take(room).enumerate() {
                self.complaint_byte(COMPLAINT_HEADER_BYTES + index).store(byte, Ordering::Release);
            }
        }
    }

    /// What one of the processes complained of, if anything.
    pub(crate) fn complaint(&self) -> Option<String> {
        let bytes = (COMPLAINT_HEADER_BYTES..COMPLAINT_BYTES).map(|at| self.complaint_byte(at).load(Ordering::Acquire));
        let text: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }

    /// The byte at `offset`, where the rings lie.
    #[inline]
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= SHARED_BYTES);
        // SAFETY: the rings' offsets lie within the mapping.
        unsafe { self.base.add(offset) }
    }

    /// Empties the rings, while the child waits for a command: they begin where the last slice ended, at a multiple of
    /// a run.
    pub(crate) fn reset(&self) {
        let begin = self.word(Word::Published).load(Ordering::Relaxed).next_multiple_of(RUN);
        for word in [Word::Begin, Word::Published, Word::Consumed, Word::BackPublished, Word::BackConsumed] {
            self.word(word).store(begin, Ordering::Relaxed);
        }
        for word in [Word::Ping, Word::Pong, Word::FutexPing, Word::FutexPong, Word::GoOn] {
            self.word(word).store(0, Ordering::Relaxed);
        }
    }
}

/// Sets a futex word, and wakes the threads that sleep on it.
pub(crate) fn wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Sleeps until a futex word, now `value` − 1, is `value`.
pub(crate) fn sleep_until(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) != value {
        let _ = futex::wait(word, futex::Flags::empty(), value - 1, None);
    }
}

/// How long [`nap`] sleeps.
const NAP: Duration = Duration::from_micros(50);

/// Leaves the processor to others. Of a real-time class, a thread that spins leaves it to nobody, and one that yields
/// only to threads of its own priority: those of the kernel starve, and with them what others ask the kernel for, as to
/// seal a memfd (see memfd_create(2)), for which it empties caches by a thread on each processor.
pub(crate) fn nap() {
    std::thread::sleep(NAP);
}

/// Waits until `word` is `value`, while others need the processor.
pub(crate) fn nap_until(word: &AtomicU64, value: u64) {
    while word.load(Ordering::Acquire) != value {
        nap();
    }
}

/// Waits until `word` is `value`; `give_up` is asked now and then.
pub(crate) fn wait_for(word: &AtomicU64, value: u64, mut give_up: impl FnMut()) {
    let mut looks = 0u32;
    while word.load(Ordering::Acquire) != value {
        spin_loop();
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(1 << 20) {
            give_up();
        }
    }
}
