//! The feature `arbitrary`: control messages for fuzzers and property tests that are built on the crate of that name.
//!
//! What comes out is well-formed more often than not, and of a type that [`walk`](crate::cmsg::walk) knows more often
//! than not; every value of every field can come. Whole buffers are made by the package `fdring-fuzz`.

use crate::cmsg::{Credentials, RawMessage};
use arbitrary::{Arbitrary, Result, Unstructured};

/// Level and type of descriptors, credentials, a pidfd, a security label, a timestamp, and a hop limit of IPv6.
const KNOWN: [(i32, i32); 6] = [(1, 1), (1, 2), (1, 4), (1, 3), (1, 29), (41, 52)];

impl<'a> Arbitrary<'a> for RawMessage<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (level, kind) = if u.ratio(7, 8)? { *u.choose(&KNOWN)? } else { u.arbitrary()? };
        let data_len = usize::from(u.arbitrary::<u8>()? % 32).min(u.len());
        let well_formed = Self::new(level, kind, u.bytes(data_len)?);
        let len = match u.int_in_range(0..=7)? {
            0 => u.arbitrary()?,
            1 => well_formed.len.wrapping_add_signed(u.arbitrary::<i8>()?.into()),
            _ => well_formed.len,
        };
        Ok(Self { len, ..well_formed })
    }
}

impl<'a> Arbitrary<'a> for Credentials {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self { pid: u.arbitrary()?, uid: u.arbitrary()?, gid: u.arbitrary()? })
    }

    fn size_hint(_: usize) -> (usize, Option<usize>) {
        (12, Some(12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmsg::{ControlError, ControlMessage, walk};
    use std::collections::BTreeSet;

    #[test]
    fn messages_of_every_sort_come_and_each_is_walked_as_it_was_made() {
        let mut sorts = BTreeSet::new();
        // Bytes of a generator of its own, the same in every run.
        let mut state = 1u64;
        for _ in 0..5000 {
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            let message = RawMessage::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
            let mut control = [0; 64];
            let used = message.encode(&mut control).unwrap();
            sorts.insert(match walk(&control[..used]).next() {
                Some(Ok(ControlMessage::Rights(_))) => "rights",
                Some(Ok(ControlMessage::Credentials(_))) => "credentials",
                Some(Ok(ControlMessage::Pidfd(_))) => "pidfd",
                Some(Ok(ControlMessage::Other { level, kind, .. })) => {
                    assert_eq!((level, kind), (message.level, message.kind));
                    "other"
                }
                Some(Err(ControlError::BelowHeader { len, .. })) => {
                    assert!(len == message.len && len < 16);
                    "below header"
                }
                Some(Err(ControlError::PastEnd { len, .. })) => {
                    assert!(len == message.len && len > used as u64);
                    "past end"
                }
                Some(Err(ControlError::Body { level, kind, .. })) => {
                    assert_eq!((level, kind), (message.level, message.kind));
                    "body"
                }
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(sorts.len(), 7, "{sorts:?}");
        let sender = Credentials::arbitrary(&mut Unstructured::new(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])).unwrap();
        assert_eq!(sender, Credentials { pid: 1, uid: 2, gid: 3 });
    }
}
