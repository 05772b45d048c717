//! The bytes of a request or a reply that a program has: short ones in the value itself.
//!
//! The invariant: what is read is what was taken in, whichever way it is kept.

use crate::consumer::Consumer;
use crate::memory::Chunk;
use crate::ring::cursor::Found;
use bytemuck::Zeroable;
use std::fmt;
use std::ops::Deref;

/// Longer bodies are kept in memory of their own. To get and free it takes 20 ns, to move this many bytes along 3.
const SHORT_MAX_BYTES: usize = SHORT_CHUNKS * size_of::<Chunk>();
const SHORT_CHUNKS: usize = 4;

/// No enum: it would be moved from its second byte on, and so in other pieces than it was stored in, for which a
/// processor waits.
#[derive(Clone)]
pub(super) struct Body {
    short: [Chunk; SHORT_CHUNKS],
    long: Option<Box<[u8]>>,
    /// The length of a short one, in bytes.
    len: usize,
}

impl Body {
    /// The body of the record that was found last: what is behind `prefix_bytes`, copied once. `None` if it was
    /// overwritten meanwhile; [`Consumer::stopped`] says why.
    #[inline(always)]
    pub(super) fn read(consumer: &mut Consumer, found: Found, prefix_bytes: usize) -> Option<Self> {
        let len = found.len as usize - prefix_bytes;
        if len > SHORT_MAX_BYTES {
            let long = read_long(consumer, found, prefix_bytes)?;
            return Some(Self { short: Zeroable::zeroed(), long: Some(long), len });
        }
        Some(Self { short: consumer.chunks(found, prefix_bytes as u64)?, long: None, len })
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        match self.long {
            Some(long) => long.into_vec(),
            None => self.to_vec(),
        }
    }
}

#[cold]
#[inline(never)]
fn read_long(consumer: &mut Consumer, found: Found, prefix_bytes: usize) -> Option<Box<[u8]>> {
    Some(consumer.record(found).ok()?[prefix_bytes..].into())
}

impl Deref for Body {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.long {
            Some(long) => long,
            None => &bytemuck::bytes_of(&self.short)[..self.len],
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self { short: Zeroable::zeroed(), long: None, len: 0 }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Body {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
