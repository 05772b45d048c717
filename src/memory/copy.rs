//! Copying bytes that another process may be changing.
//!
//! Rust has no copy for such bytes but single atomic loads, which compilers do not join. So on x86-64 they are loaded
//! by instructions that the compiler cannot see through; elsewhere word by word. Not by the string instructions that
//! memcpy uses: they copy 4 KiB in anything from 107 to 190 ns, where single lines take 100 to 120. The invariant: each
//! byte of the copy is one that stood in its place at some time during the call.
//!
//! And copying into the ring by stores that go past the caches, and the instructions that
//! [`lines`](super::lines) is made of.

#![allow(unsafe_code, reason = "reads memory that others write, and gives hints, which no safe code can")]

use crate::layout::ALIGN_MAX_BYTES;
use bytemuck::Zeroable;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m128i;
use std::ptr::NonNull;

const BLOCK_WORDS: usize = ALIGN_MAX_BYTES as usize / 8;

/// A block of the largest alignment that a lane's payloads can have: a copy that begins with it is aligned as in the
/// ring.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(4096))]
pub(crate) struct CopyBlock([u64; BLOCK_WORDS]);

// SAFETY: only words, of which all zeros make one each.
unsafe impl Zeroable for CopyBlock {}
// SAFETY: only words, which any bytes make; they fill the block, so that it has no padding.
unsafe impl bytemuck::Pod for CopyBlock {}

const _: () = assert!(size_of::<CopyBlock>() == 4096 && align_of::<CopyBlock>() == ALIGN_MAX_BYTES as usize);

impl CopyBlock {
    #[inline(always)]
    pub(crate) fn words_mut(&mut self) -> &mut [u64; BLOCK_WORDS] {
        &mut self.0
    }
}

/// Copies as many words as `to` holds from `from`.
///
/// # Safety
///
/// As many words as `to` has, from `from` on, are mapped and readable; `from` is a multiple of 8. They may change
/// meanwhile, but not through a Rust reference that `from` was derived from.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn copy_words(from: NonNull<u8>, to: &mut [u64]) {
    let to: &mut [u8] = bytemuck::cast_slice_mut(to);
    let len = to.len();
    let mut at = 0;
    while at + LINE_BYTES <= len {
        // SAFETY: the line ends at `len` or below.
        let line = unsafe { load_line(from, at) };
        to[at..at + LINE_BYTES].copy_from_slice(bytemuck::bytes_of(&line));
        at += LINE_BYTES;
    }
    while at + CHUNK_BYTES <= len {
        // SAFETY: the chunk ends at `len` or below.
        let chunk = unsafe { load_chunk(from, at) };
        to[at..at + CHUNK_BYTES].copy_from_slice(bytemuck::bytes_of(&chunk));
        at += CHUNK_BYTES;
    }
    if at < len {
        // A last chunk that overlapped the one before would make a reader that loads from both wait for the cache.
        // SAFETY: one word is left.
        to[at..].copy_from_slice(&unsafe { load_word(from, at) }.to_ne_bytes());
    }
}

/// Copies as many words as `to` holds from `from`.
///
/// # Safety
///
/// As many words as `to` has, from `from` on, are mapped and readable; `from` is a multiple of 8. They may change
/// meanwhile, but not through a Rust reference that `from` was derived from.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) unsafe fn copy_words(from: NonNull<u8>, to: &mut [u64]) {
    // SAFETY: as the caller vouches.
    unsafe { copy_one_by_one(from, to) }
}

/// Like [`copy_words`], for a copy that is long enough to be worth a call, and a look at the processor: by registers of
/// 32 bytes if it has them (AVX), which takes an eighth off the time of 1 to 16 KiB.
///
/// # Safety
///
/// Like [`copy_words`].
#[inline(never)]
pub(super) unsafe fn copy_long(from: NonNull<u8>, to: &mut [u64]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        let (lines, rest) = to.as_chunks_mut();
        // SAFETY: as the caller vouches, and the processor has AVX.
        unsafe { copy_lines(from, lines) };
        // SAFETY: the lines end within what is readable.
        let rest_from = unsafe { from.add(size_of_val(lines)) };
        // SAFETY: as the caller vouches: the rest goes on after the lines.
        unsafe { copy_words(rest_from, rest) };
        return;
    }
    // SAFETY: as the caller vouches.
    unsafe { copy_words(from, to) }
}

/// Copies as many cache lines as `to` holds from `from`.
///
/// # Safety
///
/// Like [`copy_words`], and the processor has AVX.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_lines(from: NonNull<u8>, to: &mut [[u64; LINE_BYTES / 8]]) {
    let end = size_of_val(to);
    if end == 0 {
        return;
    }
    // SAFETY: it reads the lines, as the caller vouches, writes those of `to`, and changes registers, which are named:
    // two as a whole, and all of them in their upper halves.
    unsafe {
        std::arch::asm!(
            ".p2align 5",
            "2:",
            "vmovups ymm0, [{from} + {at}]",
            "vmovups ymm1, [{from} + {at} + 32]",
            "vmovups [{to} + {at}], ymm0",
            "vmovups [{to} + {at} + 32], ymm1",
            "add {at}, 64",
            "cmp {at}, {end}",
            "jb 2b",
            "vzeroupper",
            from = in(reg) from.as_ptr(),
            to = in(reg) to.as_mut_ptr(),
            end = in(reg) end,
            at = inout(reg) 0usize => _,
            out("xmm0") _,
            out("xmm1") _,
            out("xmm2") _,
            out("xmm3") _,
            out("xmm4") _,
            out("xmm5") _,
            out("xmm6") _,
            out("xmm7") _,
            out("xmm8") _,
            out("xmm9") _,
            out("xmm10") _,
            out("xmm11") _,
            out("xmm12") _,
            out("xmm13") _,
            out("xmm14") _,
            out("xmm15") _,
            options(nostack)
        );
    }
}

/// Copies of up to this number of words are made where they are asked for, by [`copy_words`]; longer ones by a call
/// of [`copy_long`].
pub(crate) const SHORT_WORDS: usize = 32;

/// Has the processor take the cache line of this address for writing, if it can.
#[inline(always)]
pub(super) fn take_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it reads and changes nothing, whatever the address. Not `nomem`: so it stays before the stores that it is
    // for.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// EBX and ECX as cpuid returns them for `leaf`, which each x86-64 processor has; `None` on others.
pub(super) fn cpuid(leaf: u32) -> Option<[u32; 2]> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: each x86-64 processor has this instruction, and it changes nothing.
        #[allow(unused_unsafe, reason = "it is safe to call in later versions of Rust")]
        let found = unsafe { std::arch::x86_64::__cpuid(leaf) };
        Some([found.ebx, found.ecx])
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = leaf;
        None
    }
}

/// The bytes of one SSE2 register, which every x86-64 processor has.
#[cfg(target_arch = "x86_64")]
const CHUNK_BYTES: usize = 16;
/// Four chunks, which is a cache line.
const LINE_BYTES: usize = 64;

/// The chunk at `at`.
///
/// # Safety
///
/// It ends within the bytes that are readable from `from` on.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_chunk(from: NonNull<u8>, at: usize) -> __m128i {
    let chunk;
    // SAFETY: it reads the chunk, as the caller vouches, and changes one register, which is named.
    unsafe {
        std::arch::asm!(
            "movups {chunk}, [{from} + {at}]",
            chunk = out(xmm_reg) chunk,
            from = in(reg) from.as_ptr(),
            at = in(reg) at,
            options(nostack, preserves_flags, readonly)
        );
    }
    chunk
}

/// The four chunks from `at` on.
///
/// # Safety
///
/// Like [`load_chunk`], for all four.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_line(from: NonNull<u8>, at: usize) -> [__m128i; 4] {
    let (a, b, c, d);
    // SAFETY: it reads the line, as the caller vouches, and changes four registers, which are named.
    unsafe {
        std::arch::asm!(
            "movups {a}, [{from} + {at}]",
            "movups {b}, [{from} + {at} + 16]",
            "movups {c}, [{from} + {at} + 32]",
            "movups {d}, [{from} + {at} + 48]",
            a = out(xmm_reg) a,
            b = out(xmm_reg) b,
            c = out(xmm_reg) c,
            d = out(xmm_reg) d,
            from = in(reg) from.as_ptr(),
            at = in(reg) at,
            options(nostack, preserves_flags, readonly)
        );
    }
    [a, b, c, d]
}

/// 16 bytes by value: stored and loaded in one piece wherever they go.
#[cfg(target_arch = "x86_64")]
pub(crate) type Chunk = __m128i;
/// 16 bytes by value.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Chunk = [u64; 2];

/// The first `N` chunks of the `len` bytes from `from` on: zeros beyond them.
///
/// # Safety
///
/// Like [`copy_words`], for `len` bytes, a multiple of 8.
#[inline(always)]
pub(super) unsafe fn first_chunks<const N: usize>(from: NonNull<u8>, len: usize) -> [Chunk; N] {
    std::array::from_fn(|index| match index * size_of::<Chunk>() {
        // SAFETY: the chunk ends at `len` or below.
        at if at + size_of::<Chunk>() <= len => unsafe { load_chunk(from, at) },
        // SAFETY: half of a chunk is left, since both lengths are multiples of 8.
        at if at < len => unsafe { load_half_chunk(from, at) },
        _ => Zeroable::zeroed(),
    })
}

/// The word at `at` as a chunk, zeros behind it.
///
/// # Safety
///
/// Like [`load_chunk`], for one word.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_half_chunk(from: NonNull<u8>, at: usize) -> Chunk {
    let chunk;
    // SAFETY: it reads the word, as the caller vouches, and changes one register, which is named.
    unsafe {
        std::arch::asm!(
            "movq {chunk}, qword ptr [{from} + {at}]",
            chunk = out(xmm_reg) chunk,
            from = in(reg) from.as_ptr(),
            at = in(reg) at,
            options(nostack, preserves_flags, readonly)
        );
    }
    chunk
}

/// The word at `at` as a chunk, zeros behind it.
///
/// # Safety
///
/// It ends within the bytes that are readable from `from` on.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn load_half_chunk(from: NonNull<u8>, at: usize) -> Chunk {
    // SAFETY: as the caller vouches.
    [unsafe { load_word(from, at) }, 0]
}

/// The chunk at `at`.
///
/// # Safety
///
/// It ends within the bytes that are readable from `from` on.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn load_chunk(from: NonNull<u8>, at: usize) -> Chunk {
    // SAFETY: the first word of the chunk.
    let first = unsafe { load_word(from, at) };
    // SAFETY: the second one.
    [first, unsafe { load_word(from, at + 8) }]
}

/// Copies by relaxed loads of words.
///
/// # Safety
///
/// Like [`copy_words`].
#[cfg(any(test, not(target_arch = "x86_64")))]
unsafe fn copy_one_by_one(from: NonNull<u8>, to: &mut [u64]) {
    for (index, word) in to.iter_mut().enumerate() {
        // SAFETY: the word is one of as many as `to` holds.
        *word = unsafe { load_word(from, index * 8) };
    }
}

/// Copies `from` to `to`, the last word filled up with zeros: word by word into registers, and from there by stores of
/// two words. No optimiser joins the loads, so that words which the caller has only just written are loaded as they
/// were stored: a processor makes a wider load wait until all stores before it are in the cache, those to the ring too.
/// And the fewer stores wait for lines of the ring, the more of these lines are on their way at a time: between far
/// cores, 56 B take a tenth less time by stores of two words than of one. (An EPYC of Zen 5.)
///
/// # Safety
///
/// `from.len()` bytes from `to` on, up to the next multiple of 8, are mapped and writable, and nobody else in this
/// process uses them; `to` is a multiple of 8.
#[inline(always)]
pub(super) unsafe fn store_words(from: &[u8], to: NonNull<u8>) {
    let (words, rest) = from.as_chunks::<8>();
    let (pairs, last) = words.as_chunks::<2>();
    for (index, pair) in pairs.iter().enumerate() {
        // SAFETY: the pair ends within `from.len()`.
        unsafe { store_pair(to, index * 16, *pair) };
    }
    if let [word] = last {
        // SAFETY: the word ends within `from.len()`.
        unsafe { store_word(to, pairs.len() * 16, *word) };
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        // SAFETY: the word begins below `from.len()`, and the caller vouches for the whole of it.
        unsafe { store_word(to, words.len() * 8, word) };
    }
}

/// Stores two words at `at`, a multiple of 8, by one store.
///
/// # Safety
///
/// They lie within what [`store_words`] may write.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn store_pair(to: NonNull<u8>, at: usize, [first, second]: [[u8; 8]; 2]) {
    // Floating-point numbers only in name: each is loaded into the low half of a register, whatever its bits are.
    let (first, second) = (f64::from_ne_bytes(first), f64::from_ne_bytes(second));
    // SAFETY: it writes the two words, as the caller vouches, and changes one register, which is named.
    unsafe {
        std::arch::asm!(
            "movlhps {first}, {second}",
            "movups [{to} + {at}], {first}",
            first = inout(xmm_reg) first => _,
            second = in(xmm_reg) second,
            to = in(reg) to.as_ptr(),
            at = in(reg) at,
            options(nostack, preserves_flags)
        );
    }
}

/// Stores two words at `at`, a multiple of 8.
///
/// # Safety
///
/// They lie within what [`store_words`] may write.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn store_pair(to: NonNull<u8>, at: usize, [first, second]: [[u8; 8]; 2]) {
    // SAFETY: the first of the two, as the caller vouches.
    unsafe { store_word(to, at, first) };
    // SAFETY: the second.
    unsafe { store_word(to, at + 8, second) };
}

/// Stores the word at `at`, a multiple of 8.
///
/// # Safety
///
/// It lies within what [`store_words`] may write.
#[inline(always)]
unsafe fn store_word(to: NonNull<u8>, at: usize, word: [u8; 8]) {
    use std::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: in bounds, as the caller vouches.
    let place = unsafe { to.add(at) };
    // SAFETY: aligned and writable, as the caller vouches.
    unsafe { place.cast::<AtomicU64>().as_ref() }.store(u64::from_ne_bytes(word), Ordering::Relaxed);
}

/// Copies `from` to `to` by streaming stores, which go past the caches: whole cache lines, and plainly what is left at
/// either end. No ordering of Rust's orders such stores, so they are fenced here: what the caller stores after the call
/// is not seen before the copy. For what was stored before there is [`order_streams`].
///
/// # Safety
///
/// `from.len()` bytes from `to` on are mapped and writable, and nobody else in this process uses them.
#[inline(never)]
pub(super) unsafe fn stream_bytes(from: &[u8], to: NonNull<u8>) {
    let (head, from) = from.split_at(to.align_offset(LINE_BYTES).min(from.len()));
    let (lines, tail) = from.as_chunks();
    // SAFETY: as many bytes are writable, as the caller vouches.
    unsafe { to.copy_from_nonoverlapping(NonNull::from(head).cast(), head.len()) };
    // SAFETY: the lines end within what is writable.
    let to = unsafe { to.add(head.len()) };
    // SAFETY: as the caller vouches; `to` begins a line, if there is one.
    unsafe { stream_lines(lines, to) };
    // SAFETY: the tail ends within what is writable.
    let to = unsafe { to.add(size_of_val(lines)) };
    // SAFETY: as many bytes are writable, as the caller vouches.
    unsafe { to.copy_from_nonoverlapping(NonNull::from(tail).cast(), tail.len()) };
    // Pairs with the acquire fence in `Reader::refresh`, by way of the store of `published` that comes after this: a
    // reader that sees that position sees these bytes.
    order_streams();
}

/// Copies lines to `to` by streaming stores.
///
/// # Safety
///
/// As many bytes are mapped and writable from `to` on, a multiple of [`LINE_BYTES`], and nobody else in this process
/// uses them. [`order_streams`] comes before any other store that is to be seen after them.
unsafe fn stream_lines(lines: &[[u8; LINE_BYTES]], to: NonNull<u8>) {
    #[cfg(target_arch = "x86_64")]
    for (index, line) in lines.iter().enumerate() {
        // SAFETY: it reads the line, and writes as many bytes, as the caller vouches; the four registers are named.
        unsafe {
            std::arch::asm!(
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movntdq [{to} + {at}], {a}",
                "movntdq [{to} + {at} + 16], {b}",
                "movntdq [{to} + {at} + 32], {c}",
                "movntdq [{to} + {at} + 48], {d}",
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                from = in(reg) line.as_ptr(),
                to = in(reg) to.as_ptr(),
                at = in(reg) index * LINE_BYTES,
                options(nostack, preserves_flags)
            );
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as many bytes are writable, as the caller vouches.
    unsafe {
        to.copy_from_nonoverlapping(NonNull::from(lines).cast(), size_of_val(lines));
    }
}

/// Orders streaming stores: those before it, and all stores after it.
pub(super) fn order_streams() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it changes nothing.
    unsafe {
        std::arch::asm!("sfence", options(nostack, preserves_flags));
    }
}

/// The word at `at`, a multiple of 8.
///
/// # Safety
///
/// It lies within what [`copy_words`] may read.
#[inline(always)]
unsafe fn load_word(from: NonNull<u8>, at: usize) -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: in bounds, as the caller vouches.
    let word = unsafe { from.add(at) };
    // SAFETY: aligned and readable, as the caller vouches; atomics allow others to change it meanwhile.
    unsafe { word.cast::<AtomicU64>().as_ref() }.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_length_is_copied_whole_and_nothing_beyond_it() {
        let from: Vec<u64> = (0..5000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for words in (0..40).chain([255, 256, 257, 500, 1023, 1024, 1025]) {
            for offset in [0, 1, 2, 3, 9] {
                let start = NonNull::from(&from[offset]).cast();
                for copy_by in [copy_words, copy_long, copy_one_by_one] {
                    let mut copy = vec![0xee; words + 1];
                    // SAFETY: `from` goes on beyond the longest of the copies.
                    unsafe { copy_by(start, &mut copy[..words]) };
                    assert_eq!((&copy[..words], copy[words]), (&from[offset..][..words], 0xee), "{words} at {offset}");
                }
            }
        }
    }

    #[test]
    fn every_length_is_streamed_whole_from_any_place_to_any_place() {
        let from: Vec<u8> = (0..700).map(|n| (n % 251) as u8).collect();
        for len in (0..300).chain([511, 512, 513, 600]) {
            for (begin, offset) in [(0, 0), (1, 8), (8, 1), (63, 63), (64, 56)] {
                let mut to = [0xee_u8; 800];
                // SAFETY: 800 bytes, of which 63 are before the longest, and 700 behind it at most.
                unsafe { stream_bytes(&from[begin..][..len], NonNull::from(&mut to[offset..]).cast()) };
                assert_eq!(&to[offset..][..len], &from[begin..][..len], "{len} bytes to {offset}");
                let others = to[..offset].iter().chain(&to[offset + len..]);
                assert!(others.into_iter().all(|byte| *byte == 0xee), "beside {len} bytes at {offset}");
            }
        }
    }

    /// A store after the call is not seen before the copy, whose last line is the last to leave the processor. Without
    /// the fence a reader finds that out in some of a hundred thousand turns.
    #[test]
    fn what_was_streamed_is_seen_by_whoever_sees_what_was_stored_after_it() {
        const WORDS: usize = 2048;
        const TURNS: u64 = 100_000;
        let page: Vec<AtomicU64> = (0..WORDS + 8).map(|_| AtomicU64::new(0)).collect();
        let (told, heard) = (AtomicU64::new(0), AtomicU64::new(0));
        let wait_for = |word: &AtomicU64, turn| {
            for look in 1_u64.. {
                match word.load(Ordering::Acquire) {
                    seen if seen >= turn => return,
                    // Both ends may share a core.
                    _ if look.is_multiple_of(4096) => std::thread::yield_now(),
                    _ => std::hint::spin_loop(),
                }
            }
        };
        let line = page.as_ptr().align_offset(LINE_BYTES);
        let page = &page[line..][..WORDS];
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut missed = 0;
                for turn in 1..=TURNS {
                    wait_for(&told, turn);
                    missed += u64::from(page[WORDS - 8].load(Ordering::Relaxed) != turn);
                    heard.store(turn, Ordering::Release);
                }
                missed
            });
            let mut from = vec![0; WORDS];
            for turn in 1..=TURNS {
                from[WORDS - 8] = turn;
                // SAFETY: as many words are there, and nothing but atomic loads uses them meanwhile.
                unsafe { stream_bytes(bytemuck::cast_slice(&from), NonNull::from(&page[0]).cast()) };
                told.store(turn, Ordering::Release);
                wait_for(&heard, turn);
            }
            assert_eq!(reader.join().unwrap(), 0, "turns of {TURNS} in which the bytes came late");
        });
    }

    #[test]
    fn every_length_is_stored_whole_and_no_further_than_its_last_word() {
        let from: Vec<u8> = (1..=200).collect();
        for len in 0..from.len() {
            let mut words = [u64::MAX; 32];
            // SAFETY: the words go on beyond the longest of the payloads, and begin at a multiple of 8.
            unsafe { store_words(&from[..len], NonNull::from(&mut words).cast()) };
            let bytes: &[u8] = bytemuck::cast_slice(&words);
            let end = len.next_multiple_of(8);
            assert_eq!(&bytes[..len], &from[..len]);
            assert!(bytes[len..end].iter().all(|byte| *byte == 0), "the last word of {len} bytes");
            assert!(bytes[end..].iter().all(|byte| *byte == 0xff), "beyond {len} bytes");
        }
    }
}
