//! What a word is, where text may be cut, and how words are counted.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A longer run counts in pieces of this length: so a binary file has no words of many megabytes, and text of any kind
/// can be cut without carrying more than this along.
pub(crate) const WORD_MAX_BYTES: usize = 1024;

/// Whether a byte belongs to a word: ASCII letters and digits, and every byte of a non-ASCII character in UTF-8.
pub(crate) const fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// [`is_word_byte`] for every byte: a look-up is faster than three comparisons.
const IS_WORD_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_word_byte(byte as u8);
        byte += 1;
    }
    table
};

/// How much of `text`, which begins where a word may begin, can be counted without knowing what follows. The rest is
/// shorter than [`WORD_MAX_BYTES`] and goes before what follows.
pub(crate) fn countable(text: &[u8]) -> usize {
    let open_run = text.iter().rev().take_while(|byte| is_word_byte(**byte)).count();
    text.len() - open_run % WORD_MAX_BYTES // whole pieces of a long run can go
}

/// Most words are no longer than this, and lie in the map itself: no allocation, and no pointer to follow.
const SHORT_MAX_BYTES: usize = 16;

type Map<Word> = HashMap<Word, u64, BuildHasherDefault<WordHasher>>;

/// How often each word occurs.
#[derive(Default, PartialEq)]
pub(crate) struct Counts {
    /// Padded with zeros, which no word contains.
    short: Map<[u8; SHORT_MAX_BYTES]>,
    long: Map<Box<[u8]>>,
    total: u64,
}

impl Counts {
    /// Counts the words of `text`, none of which begins before it or ends after it.
    pub(crate) fn add_text(&mut self, text: &[u8]) {
        let mut at = 0;
        while let Some(skip) = text[at..].iter().position(|byte| IS_WORD_BYTE[usize::from(*byte)]) {
            let rest = &text[at + skip..];
            let end = rest.iter().position(|byte| !IS_WORD_BYTE[usize::from(*byte)]).unwrap_or(rest.len());
            match rest.first_chunk() {
                Some(start) if end <= SHORT_MAX_BYTES => self.add_short(keep(start, end), 1),
                _ => rest[..end].chunks(WORD_MAX_BYTES).for_each(|word| self.add(word, 1)),
            }
            at += skip + end;
        }
    }

    /// Counts a word `times` times more.
    pub(crate) fn add(&mut self, word: &[u8], times: u64) {
        if word.len() <= SHORT_MAX_BYTES {
            return self.add_short(pad(word), times);
        }
        self.total += times;
        match self.long.get_mut(word) {
            Some(count) => *count += times,
            None => _ = self.long.insert(word.into(), times), // only a new word is copied
        }
    }

    fn add_short(&mut self, word: [u8; SHORT_MAX_BYTES], times: u64) {
        self.total += times;
        *self.short.entry(word).or_default() += times;
    }

    pub(crate) fn get(&self, word: &[u8]) -> u64 {
        let count = if word.len() <= SHORT_MAX_BYTES { self.short.get(&pad(word)) } else { self.long.get(word) };
        count.copied().unwrap_or(0)
    }

    /// How many words there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How many different words there are.
    pub(crate) fn distinct(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Each word and how often it occurs, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let short = self.short.iter().map(|(word, count)| (unpad(word), *count));
        short.chain(self.long.iter().map(|(word, count)| (&**word, *count)))
    }

    /// The most frequent words first, equally frequent ones in the order of their bytes.
    pub(crate) fn most_frequent(&self, top: usize) -> Vec<(&[u8], u64)> {
        let mut words: Vec<_> = self.iter().collect();
        words.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        words.truncate(top);
        words
    }
}

/// The first `len` bytes, 1 to 16; the others become zero. A mask does it, without a branch on the length.
fn keep(bytes: &[u8; SHORT_MAX_BYTES], len: usize) -> [u8; SHORT_MAX_BYTES] {
    let mask = u128::MAX >> (8 * (SHORT_MAX_BYTES - len));
    (u128::from_le_bytes(*bytes) & mask).to_le_bytes()
}

fn pad(word: &[u8]) -> [u8; SHORT_MAX_BYTES] {
    let mut padded = [0; SHORT_MAX_BYTES];
    padded[..word.len()].copy_from_slice(word);
    padded
}

fn unpad(padded: &[u8; SHORT_MAX_BYTES]) -> &[u8] {
    let len = padded.iter().position(|byte| *byte == 0).unwrap_or(SHORT_MAX_BYTES);
    &padded[..len]
}

/// Eight bytes at a time, each step a multiplication folded in half: some times faster than the standard hasher, which
/// however withstands input that was made to collide.
#[derive(Default)]
struct WordHasher(u64);

impl WordHasher {
    #[inline]
    fn mix(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for WordHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.mix(rest.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)));
        }
    }

    /// The length of a slice, before its bytes.
    #[inline]
    fn write_usize(&mut self, len: usize) {
        self.0 ^= len as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
