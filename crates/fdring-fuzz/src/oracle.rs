//! What a right walker finds in a control buffer: a plain reading of cmsg(3) for 64-bit little-endian Linux.
//!
//! One cursor over numbers that cannot overflow, and nothing shared with the walker of fdring, which is held to the
//! same rules.

/// One message, or the fault that ends the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where its header begins in the buffer, in bytes.
    pub offset: usize,
    /// What it is.
    pub outcome: Outcome,
    /// The length in its header, of header and body; 0 if the header is cut.
    pub len: u64,
    /// The level in its header; 0 if the header is cut.
    pub level: i32,
    /// The type in its header; 0 if the header is cut.
    pub kind: i32,
    /// The bytes behind the header; none if they are not all there.
    pub body: Vec<u8>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// A message whose body has a length that is possible for its type.
    Message = 0,
    /// Fewer bytes are left than a header has. The last of a buffer.
    CutHeader = 1,
    /// Its length is less than that of its header. The last of a buffer.
    BelowHeader = 2,
    /// Its length is more than what is left. The last of a buffer.
    PastEnd = 3,
    /// Its body has a length that is wrong for its type, one of `SCM_RIGHTS`, `SCM_CREDENTIALS`, `SCM_PIDFD`.
    Body = 4,
}

impl Found {
    /// Whether header and body are all there.
    ///
    /// ```
    /// let found = fdring_fuzz::oracle::find(&[0; 7]);
    /// assert!(!found[0].is_whole());
    /// ```
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.outcome, Outcome::Message | Outcome::Body)
    }
}

/// Little-endian bytes as a number, digit by digit.
fn number(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |number, byte| number * 256 + u128::from(*byte))
}

/// The messages in `control`, in order, and at most one fault that ends the walk.
///
/// ```
/// use fdring_fuzz::oracle::{Outcome, find};
///
/// let mut control = [0; 27];
/// control[0] = 20; // a header and a body of 4 bytes, then 4 bytes of padding, then 3 bytes too many
/// let found = find(&control);
/// assert_eq!(found[0].outcome, Outcome::Message);
/// assert_eq!((found[1].outcome, found[1].offset), (Outcome::CutHeader, 24));
/// ```
#[must_use]
pub fn find(control: &[u8]) -> Vec<Found> {
    let mut all = Vec::new();
    let mut offset = 0;
    while offset != control.len() {
        let rest = &control[offset..];
        if rest.len() < 16 {
            all.push(Found { offset, outcome: Outcome::CutHeader, len: 0, level: 0, kind: 0, body: Vec::new() });
            break;
        }
        let len = number(&rest[..8]);
        let [level, kind] = [&rest[8..12], &rest[12..16]].map(|bytes| (number(bytes) as u32).cast_signed());
        let mut found = Found { offset, outcome: Outcome::BelowHeader, len: len as u64, level, kind, body: Vec::new() };
        if len < 16 || len > rest.len() as u128 {
            if len >= 16 {
                found.outcome = Outcome::PastEnd;
            }
            all.push(found);
            break;
        }
        found.body = rest[16..len as usize].to_vec();
        let is_possible = match (level, kind) {
            (1, 1) => found.body.len().is_multiple_of(4),
            (1, 2) => found.body.len() == 12,
            (1, 4) => found.body.len() == 4,
            _ => true,
        };
        found.outcome = if is_possible { Outcome::Message } else { Outcome::Body };
        all.push(found);
        offset += len as usize;
        while offset % 8 != 0 && offset != control.len() {
            offset += 1;
        }
    }
    all
}
