//! Control messages: any bytes through the walker, against a second implementation; and the encoder's own through it.

use super::Script;
use crate::cmsg::{
    ControlError, ControlMessage, EncodeError, FDS_PER_MESSAGE_MAX, RawMessage, encode_rights, rights_space_bytes, walk,
};

/// Walks over `data` as control messages and compares with what a plainer reading of cmsg(3) finds; then encodes `data`
/// as descriptors' numbers, and walks over that.
///
/// Numbers stay numbers: nothing here owns a descriptor.
pub fn cmsg_walk(data: &[u8]) {
    compare_with_reference(data);
    // As if it came from a buffer that was cut anywhere, or begins anywhere.
    compare_with_reference(&data[data.len().min(1)..]);
    round_trip(data);
}

fn compare_with_reference(control: &[u8]) {
    let expected = reference(control);
    let mut messages = walk(control);
    for (message, next) in &expected {
        let offset = messages.offset();
        let walked = messages.next().expect("the walk ends too early");
        assert_eq!(&Plain::from(walked), message, "at offset {offset} of {control:x?}");
        if let Plain::Fault(fault) = message {
            assert!(!fault.to_string().contains(char::is_control), "{fault:?} does not print");
        }
        check_encoder(control, offset);
        assert_eq!(messages.offset(), *next, "after the message at offset {offset} of {control:x?}");
    }
    assert_eq!(messages.next(), None, "the walk goes on after {} messages", expected.len());
    assert_eq!(messages.next(), None, "the walk begins again");
    assert_eq!(messages.offset(), control.len());
}

/// A message that is all there is written again as it came, but for the padding, which is zeros.
fn check_encoder(control: &[u8], offset: usize) {
    let Some((header, rest)) = control[offset..].split_at_checked(16) else { return };
    let len = number(&header[..8]);
    if len < 16 || len - 16 > rest.len() as u128 {
        return;
    }
    let data = &rest[..len as usize - 16];
    let (level, kind) = (signed(&header[8..12]), signed(&header[12..]));
    let message = RawMessage::new(level, kind, data);
    assert_eq!(u128::from(message.len), len);
    let mut encoded = vec![0xa5; message.space_bytes()];
    assert_eq!(message.encode(&mut encoded), Ok(encoded.len()));
    let (written, padding) = encoded.split_at(len as usize);
    assert_eq!(written, &control[offset..offset + len as usize]);
    assert!(padding.len() < 8 && padding.iter().all(|byte| *byte == 0), "the padding is not zeroed");
    let room = encoded.len() - 1;
    assert_eq!(message.encode(&mut encoded[..room]), Err(EncodeError::NoRoom { room }));
}

/// A message, with everything copied out of it.
#[derive(Debug, PartialEq)]
enum Plain {
    Rights(Vec<i32>),
    Credentials(i32, u32, u32),
    Pidfd(i32),
    Other(i32, i32, Vec<u8>),
    Fault(ControlError),
}

impl From<Result<ControlMessage<'_>, ControlError>> for Plain {
    fn from(walked: Result<ControlMessage<'_>, ControlError>) -> Self {
        match walked {
            Ok(ControlMessage::Rights(numbers)) => {
                let len = numbers.len();
                let numbers: Vec<i32> = numbers.collect();
                assert_eq!(numbers.len(), len, "the count of numbers is wrong");
                Self::Rights(numbers)
            }
            Ok(ControlMessage::Credentials(who)) => Self::Credentials(who.pid, who.uid, who.gid),
            Ok(ControlMessage::Pidfd(number)) => Self::Pidfd(number),
            Ok(ControlMessage::Other { level, kind, data }) => Self::Other(level, kind, data.to_vec()),
            Err(error) => Self::Fault(error),
        }
    }
}

/// What was found, in a line: as `fuzz/corpus/cmsg_walk.verdicts` has it.
#[cfg(test)]
fn summary(messages: impl Iterator<Item = Plain>) -> String {
    let words: Vec<String> = messages
        .map(|message| match message {
            Plain::Rights(numbers) => format!("rights {}", numbers.len()),
            Plain::Credentials(..) => "credentials".to_owned(),
            Plain::Pidfd(_) => "pidfd".to_owned(),
            Plain::Other(_, _, data) => format!("other {}", data.len()),
            Plain::Fault(ControlError::HeaderPastEnd { .. }) => "cut header".to_owned(),
            Plain::Fault(ControlError::BelowHeader { .. }) => "below header".to_owned(),
            Plain::Fault(ControlError::PastEnd { .. }) => "past end".to_owned(),
            Plain::Fault(ControlError::Body { .. }) => "body".to_owned(),
        })
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
pub(super) fn found_by_walk(control: &[u8]) -> String {
    summary(walk(control).map(Plain::from))
}

#[cfg(test)]
pub(super) fn found_by_reference(control: &[u8]) -> String {
    summary(reference(control).into_iter().map(|(message, _)| message))
}

/// Little-endian bytes as a number, digit by digit.
fn number(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |number, byte| number * 256 + u128::from(*byte))
}

fn signed(bytes: &[u8]) -> i32 {
    (number(bytes) as u32).cast_signed()
}

/// Every message with the offset of the one after it: by one cursor over numbers that cannot overflow.
fn reference(control: &[u8]) -> Vec<(Plain, usize)> {
    let end = control.len();
    let mut found = Vec::new();
    let mut offset = 0;
    while offset != end {
        let rest = end - offset;
        let stop = |error| vec![(Plain::Fault(error), end)];
        if rest <= 15 {
            found.extend(stop(ControlError::HeaderPastEnd { offset, rest }));
            return found;
        }
        let len = number(&control[offset..offset + 8]);
        let level = signed(&control[offset + 8..offset + 12]);
        let kind = signed(&control[offset + 12..offset + 16]);
        if len <= 15 {
            found.extend(stop(ControlError::BelowHeader { offset, len: len as u64, level, kind }));
            return found;
        }
        if offset as u128 + len > end as u128 {
            found.extend(stop(ControlError::PastEnd { offset, len: len as u64, level, kind, rest }));
            return found;
        }
        let body = &control[offset + 16..offset + len as usize];
        let message = interpret(level, kind, body).unwrap_or(Plain::Fault(ControlError::Body {
            offset,
            level,
            kind,
            len: body.len(),
        }));
        offset += len as usize;
        while offset % 8 != 0 && offset != end {
            offset += 1; // Offsets count from the beginning of the buffer, so this is the padding.
        }
        found.push((message, offset));
    }
    found
}

/// `None` if the body's length is wrong for its type. SOL_SOCKET is 1; its types 1 to 3 are in unix(7).
fn interpret(level: i32, kind: i32, body: &[u8]) -> Option<Plain> {
    match (level, kind, body.len()) {
        (1, 1, len) if len % 4 == 0 => Some(Plain::Rights(body.chunks(4).map(signed).collect())),
        (1, 2, 12) => {
            let (uid, gid) = (number(&body[4..8]) as u32, number(&body[8..12]) as u32);
            Some(Plain::Credentials(signed(&body[..4]), uid, gid))
        }
        (1, 4, 4) => Some(Plain::Pidfd(signed(body))),
        (1, 1 | 2 | 4, _) => None,
        _ => Some(Plain::Other(level, kind, body.to_vec())),
    }
}

fn round_trip(data: &[u8]) {
    let mut script = Script::new(data);
    let room = usize::from(script.u16()) % 2048;
    let mut numbers: Vec<i32> = script.rest().chunks(4).map(signed).collect();
    // Small inputs reach the limit too.
    while numbers.len() > 60 && numbers.len() <= FDS_PER_MESSAGE_MAX {
        numbers.extend_from_within(..);
    }
    numbers.truncate(FDS_PER_MESSAGE_MAX + 1);
    encode(&numbers, room);
    // Two numbers of descriptors, one of which is odd: then there is padding.
    encode(&numbers, rights_space_bytes(numbers.len()));
    numbers.pop();
    encode(&numbers, rights_space_bytes(numbers.len()) + 1);
}

/// Encodes these numbers into so much room, and walks over what was written.
fn encode(numbers: &[i32], room: usize) {
    let mut control = vec![0xa5; room];
    let encoded = encode_rights(numbers.iter().copied(), &mut control);
    let space = rights_space_bytes(numbers.len());
    match encoded {
        Ok(used) => {
            assert!((1..=FDS_PER_MESSAGE_MAX).contains(&numbers.len()) && used == space && used <= room);
            assert!(control[used..].iter().all(|byte| *byte == 0xa5), "wrote behind the message");
            let body_end = 16 + 4 * numbers.len();
            assert!(control[body_end..used].iter().all(|byte| *byte == 0), "the padding is not zeroed");
            compare_with_reference(&control[..used]);
            let walked: Vec<Plain> = walk(&control[..used]).map(Plain::from).collect();
            assert_eq!(walked, [Plain::Rights(numbers.to_vec())]);
        }
        Err(EncodeError::Empty) => assert!(numbers.is_empty()),
        Err(EncodeError::TooMany) => assert!(numbers.len() > FDS_PER_MESSAGE_MAX),
        Err(EncodeError::NoRoom { room: said }) => assert!(said == room && space > room),
    }
}
