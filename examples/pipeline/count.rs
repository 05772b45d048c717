//! What a word is, where text may be cut, and how words are counted.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A longer run counts in pieces of this length: so a word is a number, text of any kind can be cut, and a binary file
/// has no words of many megabytes.
pub(crate) const WORD_MAX_BYTES: usize = size_of::<u128>();

/// How often each word occurs. A word is its bytes, the first one highest, padded with zeros, which no word has.
pub(crate) type Counts = HashMap<u128, u64, BuildHasherDefault<Folded>>;

/// Whether a byte belongs to a word: ASCII letters and digits, and every byte of a non-ASCII character in UTF-8.
pub(crate) fn is_word_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte >= 0x80
}

/// How much of `text`, which begins where a word may begin, can be counted without knowing what follows. The rest is
/// shorter than [`WORD_MAX_BYTES`] and goes before what follows.
pub(crate) fn countable(text: &[u8]) -> usize {
    let open_run = text.iter().rev().take_while(|byte| is_word_byte(byte)).count();
    text.len() - open_run % WORD_MAX_BYTES // whole pieces of a long run can go
}

/// Counts the words of `text`, none of which begins before it or ends after it.
pub(crate) fn add_text(counts: &mut Counts, mut text: &[u8]) {
    while let Some(start) = text.iter().position(is_word_byte) {
        text = &text[start..];
        let len = text.iter().take(WORD_MAX_BYTES).take_while(|byte| is_word_byte(byte)).count();
        // What follows is masked out, which is faster than copying a varying number of bytes.
        let bytes = text.first_chunk().copied().unwrap_or_else(|| padded(text));
        let word = u128::from_be_bytes(bytes) & (u128::MAX << (8 * (WORD_MAX_BYTES - len)));
        *counts.entry(word).or_default() += 1;
        text = &text[len..];
    }
}

/// At most 16 bytes, and zeros.
pub(crate) fn padded(bytes: &[u8]) -> [u8; WORD_MAX_BYTES] {
    let mut padded = [0; WORD_MAX_BYTES];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}

/// Hashes a word by one multiplication, folded in half: some times faster than the standard hasher, which however
/// withstands input that was made to collide.
#[derive(Default)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn write_u128(&mut self, word: u128) {
        let (low, high) = (word as u64 ^ 0x9e37_79b9_7f4a_7c15, (word >> 64) as u64 ^ 0xd6e8_feb8_6659_fd93);
        let product = u128::from(low) * u128::from(high);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a word is a u128");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
