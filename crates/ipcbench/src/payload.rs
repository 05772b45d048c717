//! Payloads: how they are filled, and how reading them is proved by a sum.

use crate::contender::Fallible;
use std::mem::MaybeUninit;

/// The payload lengths of one-way transfers, in bytes.
pub const LENGTHS: [usize; 11] = [8, 56, 64, 256, 1024, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];
/// The lengths of round trips with both sides spinning, in bytes. The first fills a cache line with the eight bytes of
/// a header; it is that of all other round trips.
pub const TRIP_LENGTHS: [usize; 3] = [PING_BYTES, 4 << 10, 64 << 10];
/// The length of the record of most round trips, in bytes.
pub const PING_BYTES: usize = 56;
/// What stands in every word of a payload but the first.
const FILLER: u64 = 0x0123_4567_89ab_cdef;

/// Calls a function that is generic over the payload's length, so that every contender knows it when it is compiled.
#[macro_export]
macro_rules! with_len {
    ($len:expr, $LEN:ident => $call:expr) => {
        match $len {
            262144 => $crate::with_small_len!(@ 262144, $LEN => $call),
            1048576 => $crate::with_small_len!(@ 1048576, $LEN => $call),
            4194304 => $crate::with_small_len!(@ 4194304, $LEN => $call),
            small => $crate::with_small_len!(small, $LEN => $call),
        }
    };
}
pub use with_len;

/// As [`with_len`], for contenders that hold a payload as a value: no longer than what a stack takes.
#[macro_export]
macro_rules! with_small_len {
    ($len:expr, $LEN:ident => $call:expr) => {
        match $len {
            8 => $crate::with_small_len!(@ 8, $LEN => $call),
            56 => $crate::with_small_len!(@ 56, $LEN => $call),
            64 => $crate::with_small_len!(@ 64, $LEN => $call),
            256 => $crate::with_small_len!(@ 256, $LEN => $call),
            1024 => $crate::with_small_len!(@ 1024, $LEN => $call),
            4096 => $crate::with_small_len!(@ 4096, $LEN => $call),
            16384 => $crate::with_small_len!(@ 16384, $LEN => $call),
            65536 => $crate::with_small_len!(@ 65536, $LEN => $call),
            other => unreachable!("no payload of {other} bytes is planned"),
        }
    };
    (@ $value:literal, $LEN:ident => $call:expr) => {{
        const $LEN: usize = $value;
        $call
    }};
}
pub use with_small_len;

/// Writes record `n`: its number, and the rest filled.
#[inline(always)]
pub fn fill<const LEN: usize>(payload: &mut [u8; LEN], n: u64) {
    for word in payload.chunks_exact_mut(8) {
        word.copy_from_slice(&FILLER.to_ne_bytes());
    }
    stamp(payload, n);
}

/// As [`fill`], where the length is known only when it runs: a multiple of 8 bytes.
///
/// # Panics
///
/// If the record is shorter than 8 bytes.
#[inline]
pub fn write(record: &mut [u8], n: u64) {
    for word in record.chunks_exact_mut(8) {
        word.copy_from_slice(&FILLER.to_ne_bytes());
    }
    record[..8].copy_from_slice(&n.to_ne_bytes());
}

/// As [`fill`], for contenders that hand out memory in which nothing was written yet.
#[inline(always)]
#[allow(unsafe_code, reason = "bytes are written where nothing was written yet")]
pub fn fill_uninit<const LEN: usize>(payload: &mut MaybeUninit<[u8; LEN]>, n: u64) {
    let base = payload.as_mut_ptr().cast::<u64>();
    for index in 0..LEN / 8 {
        let word = if index == 0 { n } else { FILLER };
        // SAFETY: `index` is below the number of whole words in the payload.
        let at = unsafe { base.add(index) };
        // SAFETY: `at` lies inside the payload, which is borrowed; no alignment is asked for.
        unsafe { at.write_unaligned(word) };
    }
}

/// Writes the number of record `n` into a payload that is filled already.
#[inline(always)]
pub fn stamp<const LEN: usize>(payload: &mut [u8; LEN], n: u64) {
    payload[..8].copy_from_slice(&n.to_ne_bytes());
}

/// A payload of `LEN` bytes that is filled, on the heap: some are longer than a stack.
pub fn boxed<const LEN: usize>() -> Box<[u8; LEN]> {
    let mut payload: Box<[u8; LEN]> = vec![0; LEN].into_boxed_slice().try_into().expect("the length is LEN");
    fill(&mut payload, 0);
    payload
}

/// Reads a payload: the sum of its words.
#[inline(always)]
pub fn sum(payload: &[u8]) -> u64 {
    let words = payload.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
    words.fold(0, u64::wrapping_add)
}

/// The sum over the records 0 to `records` − 1 of `len` bytes each.
pub fn sum_of_all(len: usize, records: u64) -> u64 {
    let numbers = (u128::from(records) * u128::from(records.saturating_sub(1)) / 2) as u64;
    numbers.wrapping_add(FILLER.wrapping_mul(len as u64 / 8 - 1).wrapping_mul(records))
}

/// The sum of record `n`, of `len` bytes.
pub(crate) fn sum_of(len: usize, n: u64) -> u64 {
    n.wrapping_add(FILLER.wrapping_mul(len as u64 / 8 - 1))
}

/// The number of the record of `len` bytes whose sum that is.
pub(crate) fn number_of(len: usize, sum: u64) -> u64 {
    sum.wrapping_sub(FILLER.wrapping_mul(len as u64 / 8 - 1))
}

/// What is wrong if a sum is another one than that of what was sent.
pub(crate) const NOT_WHAT_WAS_SENT: &str =
    "what was received is not what was sent: a record was lost, came twice, or was torn";

/// Checks that `sum` is that of record `n`, of `len` bytes.
#[inline(always)]
pub(crate) fn check(len: usize, n: u64, sum: u64) -> Fallible {
    if number_of(len, sum) == n { Ok(()) } else { Err(NOT_WHAT_WAS_SENT.into()) }
}

/// The same in loops that return no errors: it panics.
#[inline(always)]
pub(crate) fn assert_sent(len: usize, n: u64, sum: u64) {
    assert!(number_of(len, sum) == n, "{NOT_WHAT_WAS_SENT}");
}

/// A length as people write it.
pub(crate) struct Bytes(pub(crate) usize);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            len if len >= 1 << 20 => write!(f, "{} MiB", len >> 20),
            len if len >= 1 << 10 => write!(f, "{} KiB", len >> 10),
            len => write!(f, "{len} B"),
        }
    }
}
