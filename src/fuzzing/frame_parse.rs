//! Frames: any bytes and any number of descriptors through the parser.

use super::Script;
use crate::handshake::HandshakeError;
use crate::layout::{Geometry, LANE_NAME_MAX_BYTES};
use crate::terms::{Access, Delivery};
use crate::wire::{FRAME_MAX_BYTES, Frame, LANES_PER_SESSION_MAX, LaneAttach, Offer, SEATS_PER_REPORT_MAX, StartAt};

/// What parsing may allocate for each byte that came, and beside that, in bytes: a list of names costs most, for a name
/// of one letter has two bytes on the wire, and 16 and an allocation in memory, and the list grows by doubling.
const ALLOCATED_PER_BYTE_MAX: u64 = 32;
const ALLOCATED_BESIDE_MAX: u64 = 512;

/// [`frame_parse_counting`] without a counting allocator.
pub fn frame_parse(data: &[u8]) {
    frame_parse_counting(data, || 0);
}

/// Parses `data` as a frame: its first byte says whether the header is made to fit the rest, the second how many
/// descriptors came. Whatever parses comes back byte for byte, and speaks of nothing that did not come.
///
/// `allocated_bytes` says how much this thread has ever allocated; it does not grow out of proportion.
pub fn frame_parse_counting(data: &[u8], allocated_bytes: impl Fn() -> u64) {
    let mut script = Script::new(data);
    let (fits, fd_count) = (script.u8() % 2 == 1, usize::from(script.u8()));
    let mut bytes = script.rest().to_vec();
    if fits && bytes.len() >= 16 {
        let body_len = (bytes.len() - 16) as u32;
        bytes[8..12].copy_from_slice(&body_len.to_le_bytes());
        bytes[12..14].copy_from_slice(&(fd_count as u16).to_le_bytes());
    }
    let before = allocated_bytes();
    let parsed = Frame::parse(&bytes, fd_count);
    let allocated = allocated_bytes() - before;
    let bound = ALLOCATED_BESIDE_MAX + ALLOCATED_PER_BYTE_MAX * bytes.len().min(FRAME_MAX_BYTES) as u64;
    assert!(allocated <= bound, "{allocated} bytes were allocated for a frame of {}: {parsed:?}", bytes.len());
    match parsed {
        Ok(frame) => check_frame(&frame, &bytes, fd_count),
        Err(error) => {
            // What the peer is told is a frame itself.
            let refusal = HandshakeError::from(error).refuse_frame().expect("an answer to bytes that are no frame");
            assert_eq!(Frame::parse(&refusal.encode(), 0), Ok(refusal));
        }
    }
}

/// Whether `bytes` with so many descriptors are a frame: the parser alone, for the micro-benchmarks.
pub fn is_frame(bytes: &[u8], fd_count: usize) -> bool {
    Frame::parse(bytes, fd_count).is_ok()
}

fn check_frame(frame: &Frame, bytes: &[u8], fd_count: usize) {
    assert!(bytes.len() <= FRAME_MAX_BYTES);
    assert_eq!(frame.encode(), bytes, "{frame:?} has a second spelling");
    assert_eq!(frame.fd_count(), fd_count, "{frame:?} came with the wrong number of descriptors");
    match frame {
        Frame::Hello(hello) => {
            assert!(hello.wanted.len() <= LANES_PER_SESSION_MAX && hello.version_min <= hello.version_max);
            assert!(hello.role.consumes() || hello.wanted.is_empty());
            for (index, name) in hello.wanted.iter().enumerate() {
                check_name(name.as_str());
                assert!(!hello.wanted[..index].contains(name));
            }
        }
        Frame::Offer(offer) => check_offer(offer, fd_count),
        Frame::Attach(lanes) => {
            assert!((1..=LANES_PER_SESSION_MAX).contains(&lanes.len()) && lanes.iter().any(Option::is_some));
            lanes.iter().flatten().for_each(check_attach);
        }
        Frame::Query(lane) | Frame::Evicted(lane) => assert!(*lane < LANES_PER_SESSION_MAX),
        Frame::Report(report) => {
            assert!(report.lane < LANES_PER_SESSION_MAX);
            assert_eq!(report.listed.len(), (report.seats as usize).min(SEATS_PER_REPORT_MAX));
        }
        Frame::Attachments(attachments) => {
            assert!(attachments.lane < LANES_PER_SESSION_MAX && (1..=253).contains(&fd_count));
        }
        Frame::Attached(starts) => assert!((1..=LANES_PER_SESSION_MAX).contains(&starts.len())),
        Frame::Refuse(refuse) => assert!(refuse.sentence().len() <= 512 && !refuse.sentence().contains('\0')),
        Frame::Bye(_) => {}
    }
}

/// A lossy reader copies, takes no descriptors, and is alone in beginning at the newest.
fn check_attach(lane: &LaneAttach) {
    let is_lossy = lane.delivery == Delivery::Lossy;
    assert!(!is_lossy || lane.access == Access::Copies && !lane.descriptors);
    assert!(is_lossy || lane.start != StartAt::Newest);
}

/// Each index names a descriptor that came, and none is named twice.
fn check_offer(offer: &Offer, fd_count: usize) {
    assert!((1..=LANES_PER_SESSION_MAX).contains(&offer.lanes.len()));
    let mut is_named = vec![false; fd_count];
    is_named[Offer::SEAT_FD] = true;
    for (index, lane) in offer.lanes.iter().enumerate() {
        for fd in [Offer::bell_fd(index), Offer::control_fd(index), Offer::data_fd(index)] {
            assert!(!std::mem::replace(&mut is_named[fd], true), "descriptor {fd} serves twice");
        }
        let geometry = lane.terms.geometry;
        let (record, payload) = (geometry.record_align() as u32, geometry.payload_align() as u32);
        assert_eq!(Geometry::new(geometry.capacity(), record, payload), Ok(geometry));
        check_name(lane.terms.name.as_str());
        for other in &offer.lanes[..index] {
            assert!(other.terms.id != lane.terms.id && other.terms.name != lane.terms.name);
        }
    }
    assert!(!is_named.contains(&false), "a descriptor came that nobody names");
}

fn check_name(name: &str) {
    assert!((1..=LANE_NAME_MAX_BYTES).contains(&name.len()) && !name.chars().any(char::is_control));
}
