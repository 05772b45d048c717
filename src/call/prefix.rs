//! What every record of a call begins with: whose it is, until when, and what it is.
//!
//! ```text
//!   0            8            16     17      18                24
//!  ┌────────────┬────────────┬──────┬───────┬─────────────────┬─ ─ ─ ─ ┬──────
//!  │     id     │  deadline  │ kind │ cause │    reserved     │ zeroes │ body
//!  └────────────┴────────────┴──────┴───────┴─────────────────┴─ ─ ─ ─ ┴──────
//! ```
//!
//! The zeroes fill up to the payload alignment of the lane, so that the body has it, too. The invariant: a record has
//! one meaning, or is refused.

use crate::error::Error;
use crate::lane::LaneInfo;
use std::fmt;

/// The part of the prefix that has a meaning, in bytes.
const FIELDS_BYTES: usize = FIELDS_WORDS * 8;
const FIELDS_WORDS: usize = 3;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    /// More replies to the same request follow.
    Reply,
    LastReply,
    Refusal(Cause),
    Cancellation,
}

/// Why a request was refused.
///
/// ```
/// use fdring::call::{CallError, Cause};
///
/// fn is_worth_another_try(error: &CallError) -> bool {
///     matches!(error, CallError::Refused { cause: Cause::Dropped, .. })
/// }
/// # assert!(!is_worth_another_try(&CallError::TimedOut));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The program of the service refused, and may have said why.
    Program,
    /// The program of the service dropped the request without an answer.
    Dropped,
    /// The reply was longer than the replies' lane takes.
    ReplyTooLong,
    /// A later version of this library knows why.
    Other(u8),
}

impl Cause {
    fn number(self) -> u8 {
        match self {
            Self::Program => 1,
            Self::Dropped => 2,
            Self::ReplyTooLong => 3,
            Self::Other(number) => number,
        }
    }

    fn of(number: u8) -> Option<Self> {
        match number {
            0 => None,
            1 => Some(Self::Program),
            2 => Some(Self::Dropped),
            3 => Some(Self::ReplyTooLong),
            number => Some(Self::Other(number)),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program => f.write_str("the service refused"),
            Self::Dropped => f.write_str("the service dropped the request without an answer"),
            Self::ReplyTooLong => f.write_str("the reply was too long for the lane of the replies"),
            Self::Other(number) => write!(f, "the service refused for a reason that is not known here ({number})"),
        }
    }
}

/// Which way a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToService,
    ToCaller,
}

/// The fields of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The number of the call, from 1; never used twice in a session.
    pub(crate) id: u64,
    /// Of a request: until when it is waited for, on CLOCK_MONOTONIC in ns; 0 for ever. Else 0.
    pub(crate) deadline_ns: u64,
    pub(crate) kind: Kind,
}

/// Why a record is no part of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixFault {
    Short(u64),
    Kind(u8),
    Id,
    Deadline,
    Cause(u8),
    Reserved,
}

impl fmt::Display for PrefixFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(f, "a record of {len} bytes came, which is too short for a call"),
            Self::Kind(kind) => write!(f, "a record of kind {kind} came, which does not go this way"),
            Self::Id => f.write_str("a call has the number 0"),
            Self::Deadline => f.write_str("a record that is no request has a deadline"),
            Self::Cause(cause) => write!(f, "a record has the cause {cause}, which does not fit its kind"),
            Self::Reserved => f.write_str("reserved bytes of a call are not 0"),
        }
    }
}

/// The length of the prefix in a lane with that payload alignment, in bytes.
pub(crate) fn prefix_bytes(payload_align: u32) -> usize {
    FIELDS_BYTES.next_multiple_of(payload_align.max(1) as usize)
}

/// The longest body that a lane takes, in bytes.
///
/// # Errors
///
/// [`Error::Invalid`] if that is none.
pub(crate) fn body_max(lane: &LaneInfo) -> Result<usize, Error> {
    let LaneInfo { payload_max, payload_align, capacity, .. } = lane;
    match payload_max.checked_sub(prefix_bytes(*payload_align)) {
        Some(max @ 1..) => Ok(max),
        _ => Err(Error::Invalid(format!(
            "a ring of {capacity} bytes has no room for calls aligned to {payload_align} bytes; make it 8 times as long"
        ))),
    }
}

impl Prefix {
    /// Writes it to the beginning of a record, of which `prefix` is the part before the body.
    #[inline(always)]
    pub(crate) fn write(&self, prefix: &mut [u8]) {
        let (kind, cause) = match self.kind {
            Kind::Request => (1, 0),
            Kind::Reply => (2, 0),
            Kind::LastReply => (3, 0),
            Kind::Refusal(cause) => (4, cause.number()),
            Kind::Cancellation => (5, 0),
        };
        let (fields, zeroes) =
            prefix.split_first_chunk_mut::<FIELDS_BYTES>().expect("a prefix has room for its fields");
        // One by one: words in an array are stored there first.
        fields[..8].copy_from_slice(&self.id.to_le_bytes());
        fields[8..16].copy_from_slice(&self.deadline_ns.to_le_bytes());
        fields[16..].copy_from_slice(&[kind, cause, 0, 0, 0, 0, 0, 0]);
        // Mostly there are none, and to fill nothing is a call all the same.
        if !zeroes.is_empty() {
            zeroes.fill(0);
        }
    }

    /// What a record of `len` bytes is that begins with these words, where a prefix has `prefix_bytes`.
    #[inline]
    pub(crate) fn parse(
        len: u64,
        [id, deadline_ns, what]: [u64; FIELDS_WORDS],
        prefix_bytes: usize,
        way: Way,
    ) -> Result<Self, PrefixFault> {
        if len < prefix_bytes as u64 {
            return Err(PrefixFault::Short(len));
        }
        let [kind, cause, reserved @ ..] = what.to_le_bytes();
        let cause = Cause::of(cause);
        let kind = match (kind, way, cause) {
            (1, Way::ToService, _) => Kind::Request,
            (5, Way::ToService, _) => Kind::Cancellation,
            (2, Way::ToCaller, _) => Kind::Reply,
            (3, Way::ToCaller, _) => Kind::LastReply,
            (4, Way::ToCaller, Some(cause)) => Kind::Refusal(cause),
            (4, Way::ToCaller, None) => return Err(PrefixFault::Cause(0)),
            (kind, ..) => return Err(PrefixFault::Kind(kind)),
        };
        if let (false, Some(cause)) = (matches!(kind, Kind::Refusal(_)), cause) {
            return Err(PrefixFault::Cause(cause.number()));
        }
        if id == 0 {
            return Err(PrefixFault::Id);
        }
        if kind != Kind::Request && deadline_ns != 0 {
            return Err(PrefixFault::Deadline);
        }
        if reserved != [0; 6] {
            return Err(PrefixFault::Reserved);
        }
        Ok(Self { id, deadline_ns, kind })
    }

    /// The same of a record that lies in memory, and its body.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn parse_bytes(record: &[u8], prefix_bytes: usize, way: Way) -> Result<(Self, &[u8]), PrefixFault> {
        let mut fields = [0; FIELDS_BYTES];
        let len = record.len().min(FIELDS_BYTES);
        fields[..len].copy_from_slice(&record[..len]);
        let words = std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|byte| fields[word * 8 + byte])));
        let prefix = Self::parse(record.len() as u64, words, prefix_bytes, way)?;
        Ok((prefix, &record[prefix_bytes..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(prefix: Prefix) -> Vec<u8> {
        let mut bytes = vec![0xff; prefix_bytes(64)];
        prefix.write(&mut bytes);
        bytes.extend(b"body");
        bytes
    }

    #[test]
    fn every_prefix_reads_as_it_was_written_and_only_its_way() {
        use Way::{ToCaller, ToService};
        let causes = [Cause::Program, Cause::Dropped, Cause::ReplyTooLong, Cause::Other(200)];
        let refusals = causes.map(|cause| (Kind::Refusal(cause), ToCaller));
        let others = [
            (Kind::Request, ToService),
            (Kind::Cancellation, ToService),
            (Kind::Reply, ToCaller),
            (Kind::LastReply, ToCaller),
        ];
        for (kind, way) in others.into_iter().chain(refusals) {
            let deadline_ns = if kind == Kind::Request { 17 } else { 0 };
            let prefix = Prefix { id: u64::MAX, deadline_ns, kind };
            let bytes = written(prefix);
            assert_eq!(Prefix::parse_bytes(&bytes, 64, way), Ok((prefix, &b"body"[..])));
            let other_way = if way == ToCaller { ToService } else { ToCaller };
            assert_eq!(Prefix::parse_bytes(&bytes, 64, other_way), Err(PrefixFault::Kind(bytes[16])));
        }
    }

    #[test]
    fn what_is_not_written_is_refused() {
        let good = written(Prefix { id: 1, deadline_ns: 0, kind: Kind::LastReply });
        let spoiled = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Prefix::parse_bytes(&bytes, 64, Way::ToCaller).unwrap_err()
        };
        assert_eq!(spoiled(0, 0), PrefixFault::Id);
        assert_eq!(spoiled(8, 1), PrefixFault::Deadline);
        assert_eq!(spoiled(16, 0), PrefixFault::Kind(0));
        assert_eq!(spoiled(16, 6), PrefixFault::Kind(6));
        assert_eq!(spoiled(16, 4), PrefixFault::Cause(0));
        assert_eq!(spoiled(17, 9), PrefixFault::Cause(9));
        (18..24).for_each(|at| assert_eq!(spoiled(at, 1), PrefixFault::Reserved));
        for len in 0..64 {
            assert_eq!(Prefix::parse_bytes(&good[..len], 64, Way::ToCaller), Err(PrefixFault::Short(len as u64)));
        }
        assert_eq!(prefix_bytes(8), 24);
        assert_eq!(Prefix::parse_bytes(&good[..24], 24, Way::ToCaller).unwrap().1, b"");
    }
}
