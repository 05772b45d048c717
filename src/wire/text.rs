//! The alphabet of the frames: the fields of a frame, and text that is safe to keep and to print.
//!
//! The invariant: [`Fields`] never looks past its slice, and a [`LaneName`] exists only for 1 to 64 bytes of UTF-8
//! without control characters.

use super::FrameError;
use crate::layout::LANE_NAME_MAX_BYTES;
use std::fmt;

/// The fields of a frame that have not been read.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes; `field` says what they are, should they not be there.
    pub(super) fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], FrameError> {
        let missing = || FrameError::Truncated { field, missing_bytes: len - self.rest.len() };
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(missing)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N, field)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        self.take(field).map(u8::from_le_bytes)
    }

    /// A byte that says no or yes: 0 or 1.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, FrameError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(FrameError::UnknownValue { field, value, min: 0, max: 1 }),
        }
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, FrameError> {
        self.take(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, FrameError> {
        self.take(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        self.take(field).map(u64::from_le_bytes)
    }

    pub(super) fn finish(self) -> Result<(), FrameError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FrameError::Trailing(self.rest.len())) }
    }
}

/// A lane's name: 1 to 64 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneName(Box<str>);

impl LaneName {
    pub(crate) fn new(name: &str) -> Result<Self, FrameError> {
        Self::from_bytes(name.as_bytes())
    }

    /// Checks the length before anything is copied.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.is_empty() || bytes.len() > LANE_NAME_MAX_BYTES {
            return Err(FrameError::NameLength(bytes.len()));
        }
        text(bytes, "a lane's name").map(|name| Self(name.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a control region holds it: padded with zeros, which cannot be in it.
    pub(crate) fn padded(&self) -> [u8; LANE_NAME_MAX_BYTES] {
        let mut padded = [0; LANE_NAME_MAX_BYTES];
        padded[..self.0.len()].copy_from_slice(self.0.as_bytes());
        padded
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `bytes` as text without control characters (Unicode's category Cc: U+0000 to U+001F and U+007F to U+009F).
pub(super) fn text<'a>(bytes: &'a [u8], field: &'static str) -> Result<&'a str, FrameError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FrameError::NotUtf8(field))?;
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(FrameError::ControlCharacter { field, code: c.into() }),
        None => Ok(text),
    }
}

/// `text` shortened to at most `max_bytes`, with everything replaced that could play tricks on a terminal or a log.
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_bytes));
    for c in text.chars() {
        let c = if plays_tricks(c) { char::REPLACEMENT_CHARACTER } else { c };
        if out.len() + c.len_utf8() > max_bytes {
            break;
        }
        out.push(c);
    }
    out
}

/// Control characters, and the invisible ones that separate lines or turn the direction of writing.
fn plays_tricks(c: char) -> bool {
    let is_invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    c.is_control() || is_invisible || c == '\u{feff}' || c == '\u{61c}'
}
