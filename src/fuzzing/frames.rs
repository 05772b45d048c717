//! Frames of a fuzzer's making, for the targets that talk: right ones, and right ones with something altered.

use super::Script;
use crate::layout::{CONTROL_MAGIC, ControlHeader, Geometry, LAYOUT_VERSION};
use crate::terms::{Access, Barrier, BellKind, Delivery, Start};
use crate::wire::{
    ByeReason, Frame, Hello, LaneAttach, LaneName, LaneTerms, Offer, OfferedLane, Refuse, RefuseCode, Role,
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
    }
}

/// A frame of the script's choice, which would parse; about lanes like `lanes` where it speaks of any.
pub(super) fn frame(script: &mut Script<'_>, lanes: &[LaneTerms]) -> Frame {
    match script.below(8) {
        0 => Frame::Hello(hello(script)),
        1 => Frame::Hello(Hello::new(Role::Consumer, Vec::new())),
        2 => Frame::Offer(offer(script, lanes)),
        3 => Frame::Attach((0..1 + script.below(3)).map(|_| lane_attach(script)).collect()),
        4 => {
            let copies = |script: &mut Script<'_>| LaneAttach {
                delivery: Delivery::Lossless,
                start: script.choose(Start::ALL),
                access: Access::Copies,
                barrier: Barrier::Fence,
            };
            Frame::Attach(lanes.iter().map(|_| copies(script)).collect())
        }
        5 => Frame::Attached((0..1 + script.below(3)).map(|_| script.word_near(&[0, 4096])).collect()),
        6 => {
            let (code, len) = (RefuseCode::from_word(u16::from(script.u8())), script.below(32));
            Frame::Refuse(Refuse::new(code, &String::from_utf8_lossy(script.bytes(len))))
        }
        _ => Frame::Bye(ByeReason::from_word(u16::from(script.u8()))),
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
    let versions = [u16::from(script.u8() % 4), u16::from(script.u8() % 4)];
    Hello {
        header_version: u16::from(script.u8()),
        role: script.choose(Role::ALL),
        version_min: versions[0].min(versions[1]),
        version_max: versions[0].max(versions[1]),
        wanted,
    }
}

fn offer(script: &mut Script<'_>, lanes: &[LaneTerms]) -> Offer {
    let rotation = script.below(lanes.len().max(1));
    let count = 1 + script.below(lanes.len().max(1));
    let bell = script.choose(BellKind::ALL);
    let lanes = lanes.iter().cycle().skip(rotation).take(count).map(|terms| OfferedLane { terms: terms.clone(), bell });
    Offer { version: 1, session_id: [3; 16], lanes: lanes.collect() }
}

fn lane_attach(script: &mut Script<'_>) -> LaneAttach {
    LaneAttach {
        delivery: script.choose(Delivery::ALL),
        start: script.choose(Start::ALL),
        access: script.choose(Access::ALL),
        barrier: script.choose(Barrier::ALL),
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
