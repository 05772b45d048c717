//! Frames of a fuzzer's making, for the targets that talk: right ones, and right ones with something altered.

use super::Script;
use crate::layout::{CONTROL_MAGIC, ControlHeader, Geometry, LAYOUT_VERSION, LaneState};
use crate::terms::{Access, Barrier, BellKind, Delivery, Refusal};
use crate::wire::{
    AttachedRecord, Attachments, ByeReason, Frame, Hello, LANES_PER_SESSION_MAX, LaneAttach, LaneName, LaneTerms,
    Offer, OfferedLane, Refuse, Report, ReportedSeat, Role, SEATS_PER_REPORT_MAX, SeatKind, StartAt,
};

/// Names that lanes may have and be asked for by: two short ones, one of several scripts, the longest.
pub(super) const NAMES: [&str; 4] =
    ["a", "ticks", "Bücher", "0123456789012345678901234567890123456789012345678901234567890123"];

pub(super) fn lane_name(index: usize) -> LaneName {
    LaneName::new(NAMES[index]).expect("the names above are possible")
}

/// The lanes of a producer, with names and ids that are all different.
pub(super) fn lane_terms(count: usize, geometry: Geometry) -> Vec<LaneTerms> {
    let lane = |index| LaneTerms {
        name: lane_name(index),
        id: [index as u8; 16],
        geometry,
        schema: 7,
        generation: 0,
        barrier: Barrier::Asymmetric,
        is_stamped: false,
        has_space_bell: false,
        has_one_worker: false,
        record_fds_max: 0,
    };
    (0..count.min(NAMES.len())).map(lane).collect()
}

/// What the control region of a lane says of it.
pub(super) fn control_header(terms: &LaneTerms) -> ControlHeader {
    ControlHeader {
        magic: CONTROL_MAGIC,
        layout_version: LAYOUT_VERSION,
        flags: terms.flags(),
        capacity: terms.geometry.capacity(),
        record_align: terms.geometry.record_align() as u32,
        payload_align: terms.geometry.payload_align() as u32,
        lane_id: terms.id,
        generation: terms.generation,
        schema: terms.schema,
        name: terms.name.padded(),
        data_inode: 0,
        slot_bytes: 0,
        record_fds_max: terms.record_fds_max.into(),
    }
}

/// A frame of the script's choice, which would parse; about lanes like `lanes` if it speaks of any.
pub(super) fn frame(script: &mut Script<'_>, lanes: &[LaneTerms]) -> Frame {
    match script.below(13) {
        0 => Frame::Hello(hello(script)),
        1 => Frame::Hello(Hello::new(Role::Consumer, Vec::new())),
        2 => Frame::Offer(offer(script, lanes)),
        3 => {
            let count = 1 + script.below(3);
            Frame::Attach(lane_attaches(script, count))
        }
        4 => Frame::Attach(lane_attaches(script, lanes.len().max(1))),
        5 => Frame::Attached((0..1 + script.below(3)).map(|_| script.word_near(&[0, 4096])).collect()),
        6 => {
            let (refusal, len) = (Refusal::from_code(u16::from(script.u8())), script.below(32));
            Frame::Refuse(Refuse::new(refusal, &String::from_utf8_lossy(script.bytes(len))))
        }
        7 => Frame::Bye(ByeReason::from_word(u16::from(script.u8()))),
        8 => Frame::Hello(Hello::new(Role::Producer, Vec::new())),
        9 => Frame::Evicted(script.below(LANES_PER_SESSION_MAX)),
        10 => Frame::Query(script.below(LANES_PER_SESSION_MAX)),
        11 => Frame::Report(report(script)),
        _ => {
            let (lane, position) = (script.below(LANES_PER_SESSION_MAX), script.word_near(&[0, 4096]));
            let number = script.u8().into();
            let mut records = vec![AttachedRecord { position, count: 1 + script.u8() % 253 }];
            for _ in 0..script.u8() % 4 {
                let position = records[records.len() - 1].position.saturating_add(script.u8().into());
                records.push(AttachedRecord { position, count: 1 + script.u8() % 253 });
            }
            Frame::Attachments(Attachments { lane, number, records })
        }
    }
}

fn hello(script: &mut Script<'_>) -> Hello {
    let mut wanted: Vec<LaneName> = Vec::new();
    for _ in 0..script.below(NAMES.len() + 1) {
        let name = lane_name(script.below(NAMES.len()));
        if !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    let role = script.choose(Role::ALL);
    let versions = [u16::from(script.u8() % 4), u16::from(script.u8() % 4)];
    Hello {
        header_version: u16::from(script.u8()),
        role,
        version_min: versions[0].min(versions[1]),
        version_max: versions[0].max(versions[1]),
        wanted: if role.consumes() { wanted } else { Vec::new() },
    }
}

fn offer(script: &mut Script<'_>, lanes: &[LaneTerms]) -> Offer {
    let rotation = script.below(lanes.len().max(1));
    let count = 1 + script.below(lanes.len().max(1));
    let bell = script.choose(BellKind::ALL);
    let lanes = lanes.iter().cycle().skip(rotation).take(count).map(|terms| OfferedLane { terms: terms.clone(), bell });
    Offer { version: 1, session_id: [3; 16], lanes: lanes.collect() }
}

/// An Attach for `count` lanes, one of which is read at least.
pub(super) fn lane_attaches(script: &mut Script<'_>, count: usize) -> Vec<Option<LaneAttach>> {
    let mut lanes: Vec<_> = (0..count).map(|_| lane_attach(script)).collect();
    if lanes.iter().all(Option::is_none) {
        lanes[0] = Some(PLAIN);
    }
    lanes
}

/// What everybody can be attached by.
pub(super) const PLAIN: LaneAttach = LaneAttach {
    delivery: Delivery::Lossless,
    start: StartAt::Latest,
    access: Access::Copies,
    barrier: Barrier::Fence,
    descriptors: false,
};

/// From one byte: 0 to 3 are what this library's consumers say.
fn lane_attach(script: &mut Script<'_>) -> Option<LaneAttach> {
    let byte = script.u8();
    let access = if byte & 1 == 0 { Access::Copies } else { Access::InPlace };
    let start = match byte >> 1 & 7 {
        0 | 6 => StartAt::Latest,
        1 | 7 => StartAt::Oldest,
        2 => StartAt::Resume,
        3 => StartAt::Position(script.word_near(&[0, 64, 4096])),
        _ => return None,
    };
    let barrier = if byte & 0x10 == 0 { Barrier::Fence } else { Barrier::Asymmetric };
    let lossless = LaneAttach { start, access, barrier, descriptors: byte & 0x20 != 0, ..PLAIN };
    let lossy = LaneAttach { delivery: Delivery::Lossy, start, barrier, ..PLAIN };
    Some(match byte >> 6 {
        0 | 1 => lossless,
        2 => lossy,
        _ => LaneAttach { start: StartAt::Newest, ..lossy },
    })
}

fn report(script: &mut Script<'_>) -> Report {
    let seat = |script: &mut Script<'_>| ReportedSeat {
        pid: script.u32(),
        uid: script.u8().into(),
        kind: script.choose(SeatKind::ALL),
        is_asleep: script.u8() & 1 != 0,
        consumed: script.word_near(&[0, 4096]),
        read: script.word_near(&[0, 4096]),
        since_ns: script.u64(),
        still_ns: script.u64(),
    };
    let (listed, seats) = match script.u8() {
        0xff => (vec![seat(script); SEATS_PER_REPORT_MAX], SEATS_PER_REPORT_MAX as u32 + u32::from(script.u8())),
        byte => ((0..byte % 3).map(|_| seat(script)).collect(), u32::from(byte % 3)),
    };
    Report {
        lane: script.below(LANES_PER_SESSION_MAX),
        published: script.word_near(&[0, 4096]),
        state: script.choose(LaneState::ALL),
        seats,
        listed,
    }
}

/// Alters up to three places of `bytes`, or their length.
pub(super) fn alter(script: &mut Script<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..script.below(4) {
        let at = usize::from(script.u16()) % (bytes.len() + 1);
        match script.below(5) {
            0 => bytes.truncate(at),
            1 => {
                let len = script.below(16);
                bytes.extend_from_slice(script.bytes(len));
            }
            2 => overwrite(bytes, at, &script.u64().to_le_bytes()),
            3 => overwrite(bytes, at, &script.u32().to_le_bytes()),
            _ => overwrite(bytes, at, &[script.u8()]),
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in bytes[at..].iter_mut().zip(with) {
        *byte = *new;
    }
}
