//! The walker against the macros of cmsg(3), over any bytes and over the sequences that these stand for; and the encoder
//! against them, byte for byte.
#![no_main]

use fdring::cmsg::{ControlError, ControlMessage, RawMessage, walk};
use fdring_fuzz::messages::Sequence;
use fdring_fuzz::oracle::{Outcome, find};

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Header {
    offset: u64,
    len: u64,
    level: i32,
    kind: i32,
}

unsafe extern "C" {
    fn fdring_macros(control: *mut u8, size: usize, found: *mut Header, room: usize) -> usize;
    fn fdring_macro_encode(level: i32, kind: i32, body: *const u8, size: usize, control: *mut u8) -> usize;
}

/// The macros want a buffer that is aligned.
fn aligned(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))).collect()
}

fn by_macros(control: &[u8]) -> Vec<Header> {
    let mut words = aligned(control);
    let mut found = vec![Header::default(); control.len() / 8 + 1];
    // SAFETY: the buffers have these lengths, and live until the call returns.
    let count =
        unsafe { fdring_macros(words.as_mut_ptr().cast(), control.len(), found.as_mut_ptr(), found.len()) };
    assert!(count <= found.len(), "the macros do not end");
    found.truncate(count);
    found
}

/// Walker and macros see the same headers, but for a tail that is no header, of which the macros say nothing.
fn compare(control: &[u8]) {
    let macros = by_macros(control);
    let mut walk = walk(control);
    for header in &macros {
        assert_eq!(walk.offset() as u64, header.offset, "{control:02x?}");
        let (level, kind) = match walk.next().expect("the walk ends too early") {
            Ok(ControlMessage::Rights(_)) => (1, 1),
            Ok(ControlMessage::Credentials(_)) => (1, 2),
            Ok(ControlMessage::Pidfd(_)) => (1, 4),
            Ok(ControlMessage::Other { level, kind, data }) => {
                assert_eq!(header.len, 16 + data.len() as u64);
                (level, kind)
            }
            Ok(other) => panic!("{other:?}"),
            Err(ControlError::BelowHeader { len, level, kind, .. } | ControlError::PastEnd { len, level, kind, .. }) => {
                assert_eq!(header.len, len);
                (level, kind)
            }
            Err(ControlError::Body { level, kind, len, .. }) => {
                assert_eq!(header.len, 16 + len as u64);
                (level, kind)
            }
            Err(other) => panic!("the macros see a header where the walker says {other}"),
        };
        assert_eq!((level, kind), (header.level, header.kind), "{control:02x?}");
    }
    let after = walk.next();
    assert!(
        matches!(after, None | Some(Err(ControlError::HeaderPastEnd { .. }))),
        "the macros miss {after:?} in {control:02x?}"
    );
    let found = find(control);
    let headers = found.iter().filter(|found| found.outcome != Outcome::CutHeader);
    assert!(headers.map(|found| (found.offset as u64, found.len)).eq(macros.iter().map(|one| (one.offset, one.len))));
}

/// What the encoder writes is what the macros write.
fn compare_encoders(control: &[u8]) {
    for found in find(control).iter().filter(|found| found.is_whole()) {
        let message = RawMessage::new(found.level, found.kind, &found.body);
        let mut ours = vec![0xa5; message.space_bytes()];
        let used = message.encode(&mut ours).expect("the room it asks for");
        let mut words = vec![0_u64; used.div_ceil(8)];
        let (level, kind, body) = (found.level, found.kind, &found.body);
        // SAFETY: the body has this length, and the buffer `CMSG_SPACE` of it.
        let space = unsafe { fdring_macro_encode(level, kind, body.as_ptr(), body.len(), words.as_mut_ptr().cast()) };
        let theirs: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!((space, &theirs), (used, &ours));
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    compare(data);
    compare_encoders(data);
    let generated = Sequence::from_bytes(data).to_bytes();
    compare(&generated);
    compare_encoders(&generated);
});
