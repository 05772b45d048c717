//! What a word is, where text may be cut, and how words are counted.

/// A longer run counts in pieces of this length: so a word is a number, text of any kind can be cut, and a binary file
/// has no words of many megabytes.
pub(crate) const WORD_MAX_BYTES: usize = size_of::<u128>();

/// How often each word occurs. A word is its bytes, the first one highest, with zeros behind them, which no word has.
pub(crate) type Counts = foldhash::HashMap<u128, u64>;

/// Whether a byte belongs to a word: ASCII letters and digits, and every byte of a non-ASCII character in UTF-8.
fn is_word_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte >= 0x80
}

/// How much of `text`, which begins where a word may begin, can be counted without knowing what follows. The rest is
/// shorter than [`WORD_MAX_BYTES`] and goes before what follows.
pub(crate) fn countable(text: &[u8]) -> usize {
    let open_run = text.iter().rev().take_while(|byte| is_word_byte(byte)).count();
    text.len() - open_run % WORD_MAX_BYTES // whole pieces of a long run can go
}

/// Counts the words of `text`. Behind the last one comes a byte of no word, unless it has the full length.
pub(crate) fn add_text(counts: &mut Counts, text: &[u8]) {
    let is_in_word: [bool; 256] = std::array::from_fn(|byte| is_word_byte(&(byte as u8))); // looking it up is faster
    let (mut word, mut len) = (0, 0);
    for byte in text {
        if is_in_word[usize::from(*byte)] {
            (word, len) = (word << 8 | u128::from(*byte), len + 1);
            if len < WORD_MAX_BYTES {
                continue;
            }
        }
        if len > 0 {
            *counts.entry(word << (8 * (WORD_MAX_BYTES - len))).or_default() += 1;
            (word, len) = (0, 0);
        }
    }
}
