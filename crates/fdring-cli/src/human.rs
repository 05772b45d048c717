//! Numbers, times and names as people read them.

use std::fmt::Write;
use std::time::{Duration, SystemTime};
use unicode_width::UnicodeWidthStr;

/// Bytes in binary units, four digits at most: `999 B`, `1.5 KiB`, `64 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    // What would be rounded to 1024 is 1 of the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", digits(value), UNITS[unit])
}

/// A number in decimal units: `999`, `48.1k`, `1.2M`.
pub(crate) fn count(count: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut value, mut unit) = (count, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", digits(value), UNITS[unit])
}

/// One decimal if it says something, none after a hundred or in a whole number.
fn digits(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value => format!("{value:.1}").trim_end_matches(".0").to_owned(),
    }
}

/// A time in its two largest units, or with one decimal below a minute: `350 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(time: Duration) -> String {
    let (seconds, two) = (time.as_secs(), |large, unit, small, smaller| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {smaller}"),
    });
    match seconds {
        0 if time < Duration::from_micros(1) => format!("{} ns", time.as_nanos()),
        0 if time < Duration::from_millis(1) => format!("{} µs", digits(time.as_nanos() as f64 / 1e3)),
        0 => format!("{} ms", digits(time.as_micros() as f64 / 1e3)),
        1..60 => format!("{} s", digits(time.as_secs_f64())),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86400, "d", seconds % 86400 / 3600, "h"),
    }
}

/// How long ago a time of the machine's clock was; `None` if it is unknown. One that is still to come was now.
pub(crate) fn age(since: Option<SystemTime>) -> Option<Duration> {
    since.map(|since| SystemTime::now().duration_since(since).unwrap_or_default())
}

/// An age in its largest unit: `13 s`, `3 min`, `5 d`.
pub(crate) fn short_age(since: Option<SystemTime>) -> String {
    age(since).map_or_else(String::new, |age| match age.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86400),
    })
}

/// Text of other processes, without what could play tricks on a terminal: control characters, line separators, and
/// marks that are invisible or turn the direction of writing, are escaped as in Rust.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match plays_tricks(c) {
            // Into a String, which takes everything.
            true => write!(out, "{}", c.escape_default()).unwrap_or_default(),
            false => out.push(c),
        }
    }
    out
}

/// Bytes that may be text, without what could play tricks on a terminal. What is no UTF-8 is escaped, too.
pub(crate) fn harmless_bytes(bytes: &[u8]) -> String {
    let pieces = bytes.utf8_chunks();
    pieces.map(|piece| format!("{}{}", harmless(piece.valid()), piece.invalid().escape_ascii())).collect()
}

/// Whether a character does something to a terminal other than to show it.
pub(crate) fn plays_tricks(c: char) -> bool {
    let is_invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    c.is_control() || is_invisible || matches!(c, '\u{feff}' | '\u{61c}' | '\u{e0000}'..='\u{e007f}')
}

/// A sentence in lines of so many characters; a longer word stands alone.
pub(crate) fn wrapped(sentence: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sentence.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        match line.width() + 1 + word.width() {
            _ if line.is_empty() => line.push_str(word),
            longer if longer <= width => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (64 << 20, "64 MiB"),
            (u64::MAX, "16 EiB"),
        ];
        cases.into_iter().for_each(|(number, text)| assert_eq!(bytes(number), text));
    }

    #[test]
    fn counts_have_the_unit_that_fits() {
        for (number, text) in
            [(0.0, "0"), (0.25, "0.2"), (999.4, "999"), (999.9, "1k"), (48_120.0, "48.1k"), (2e15, "2000T")]
        {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn times_have_the_units_that_fit() {
        for (millis, text) in [
            (0, "0 ns"),
            (350, "350 ms"),
            (4_200, "4.2 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration(Duration::from_nanos(1_500)), "1.5 µs");
    }

    #[test]
    fn ages_have_one_unit() {
        let ago = |seconds| short_age(Some(SystemTime::now() - Duration::from_secs(seconds)));
        assert_eq!([0, 59, 3599, 7200, 90_000].map(ago), ["0 s", "59 s", "59 min", "2 h", "1 d"]);
        assert_eq!(short_age(None), "");
        assert_eq!(age(Some(SystemTime::now() + Duration::from_secs(60))), Some(Duration::ZERO));
    }

    #[test]
    fn tricks_are_escaped_and_letters_are_not() {
        assert_eq!(harmless("Bücher 'x' \\"), "Bücher 'x' \\");
        assert_eq!(harmless("\x1b[31m\u{202e}\u{9b}\n"), "\\u{1b}[31m\\u{202e}\\u{9b}\\n");
    }

    #[test]
    fn text_is_shown_without_tricks_and_other_bytes_as_numbers() {
        assert_eq!(harmless_bytes("Grüße\n".as_bytes()), "Grüße\\n");
        assert_eq!(harmless_bytes(b"\x1b[2J\xff\x00ok"), "\\u{1b}[2J\\xff\\u{0}ok");
    }

    #[test]
    fn sentences_are_wrapped_at_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("immeasurable one", 3), ["immeasurable", "one"]);
    }

    #[test]
    fn bytes_become_digits() {
        assert_eq!(hex(&[0, 0x1b, 0xff]), "001bff");
    }
}
