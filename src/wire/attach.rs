//! The bodies of Attach, Attached and Evicted: how each lane is read, from where, and until when.
//!
//! The invariant: every [`LaneAttach`] is one that the protocol allows, whether or not this code implements it.

use super::body::{read_lane_count, write_lane_count};
use super::text::Fields;
use super::{FrameError, LANES_PER_SESSION_MAX};
use crate::terms::{Access, Barrier, Delivery, Start};

/// How a consumer will read one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneAttach {
    pub(crate) delivery: Delivery,
    pub(crate) start: StartAt,
    pub(crate) access: Access,
    pub(crate) barrier: Barrier,
    /// Whether it takes the descriptors that go with records.
    pub(crate) descriptors: bool,
}

/// Where a consumer asks to begin, see [`Start`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    Latest,
    Oldest,
    /// At the last record that is published. For lossy reading only.
    Newest,
    /// Where the last consumer stopped, on lanes that remember it.
    Resume,
    Position(u64),
}

impl From<Start> for StartAt {
    fn from(start: Start) -> Self {
        match start {
            Start::Latest => Self::Latest,
            Start::Oldest => Self::Oldest,
            Start::Resume => Self::Resume,
            Start::Newest => Self::Newest,
            Start::At(position) => Self::Position(position),
        }
    }
}

const LOSSLESS: u8 = 1;
const LOSSY: u8 = 2;
/// The lane is not read.
const NOT_READ: u8 = 3;
/// What follows the delivery of a lane that is not read: the first of each choice, no descriptors, no position.
const NOTHING: [u8; 12] = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Each lane of the Offer; `None` if it is not read.
pub(super) fn read_attach(fields: &mut Fields<'_>) -> Result<Vec<Option<LaneAttach>>, FrameError> {
    let count = read_lane_count("the Attach", fields)?;
    let mut lanes = Vec::new();
    for lane in 0..count {
        lanes.push(read_lane(lane, fields)?);
    }
    if lanes.iter().all(Option::is_none) {
        return Err(FrameError::NothingToRead);
    }
    Ok(lanes)
}

pub(super) fn write_attach(lanes: &[Option<LaneAttach>], out: &mut Vec<u8>) {
    write_lane_count(lanes.len(), out);
    assert!(lanes.iter().any(Option::is_some), "an Attach is for one lane at least");
    for lane in lanes {
        match lane {
            Some(lane) => lane.write(out),
            None => {
                out.push(NOT_READ);
                out.extend(NOTHING);
            }
        }
    }
}

fn read_lane(lane: usize, fields: &mut Fields<'_>) -> Result<Option<LaneAttach>, FrameError> {
    let delivery = match fields.u8("the delivery")? {
        LOSSLESS => Delivery::Lossless,
        LOSSY => Delivery::Lossy,
        NOT_READ if fields.take("a lane that is not read")? == NOTHING => return Ok(None),
        NOT_READ => return Err(FrameError::Attach { lane, how: "not at all, but somehow" }),
        value => return Err(FrameError::UnknownValue { field: "the delivery", value, min: 1, max: 3 }),
    };
    let start = fields.u8("the start")?;
    let access = Access::read(fields)?;
    let barrier = Barrier::read(fields)?;
    let descriptors = fields.flag("the wish for descriptors")?;
    let position = fields.u64("the position to start at")?;
    let start = StartAt::from_wire(start, position)?;
    let read = LaneAttach { delivery, start, access, barrier, descriptors };
    match read.fault() {
        Some(how) => Err(FrameError::Attach { lane, how }),
        None => Ok(Some(read)),
    }
}

impl LaneAttach {
    fn write(&self, out: &mut Vec<u8>) {
        assert_eq!(self.fault(), None, "the protocol allows no such Attach");
        let delivery = match self.delivery {
            Delivery::Lossless => LOSSLESS,
            Delivery::Lossy => LOSSY,
        };
        let (start, position) = self.start.to_wire();
        out.extend([delivery, start, self.access.to_byte(), self.barrier.to_byte(), self.descriptors.into()]);
        out.extend(position.to_le_bytes());
    }

    /// What the protocol does not allow in it, if anything.
    fn fault(&self) -> Option<&'static str> {
        match (self.delivery, self.start, self.access) {
            (Delivery::Lossy, _, Access::InPlace) => Some("lossy and in place"),
            (Delivery::Lossy, ..) if self.descriptors => Some("lossy and with descriptors"),
            (Delivery::Lossless, StartAt::Newest, _) => Some("lossless from the newest record on"),
            _ => None,
        }
    }
}

impl StartAt {
    fn from_wire(byte: u8, position: u64) -> Result<Self, FrameError> {
        let start = match byte {
            1 => Self::Latest,
            2 => Self::Oldest,
            3 => Self::Newest,
            4 => Self::Resume,
            5 => return Ok(Self::Position(position)),
            value => return Err(FrameError::UnknownValue { field: "the start", value, min: 1, max: 5 }),
        };
        let unused = FrameError::Reserved { field: "the position of another start than 5", value: position };
        if position == 0 { Ok(start) } else { Err(unused) }
    }

    fn to_wire(self) -> (u8, u64) {
        match self {
            Self::Latest => (1, 0),
            Self::Oldest => (2, 0),
            Self::Newest => (3, 0),
            Self::Resume => (4, 0),
            Self::Position(position) => (5, position),
        }
    }
}

/// Where each lane of the Offer starts; 0 if it is not read.
pub(super) fn read_attached(fields: &mut Fields<'_>) -> Result<Vec<u64>, FrameError> {
    let count = read_lane_count("the Attached", fields)?;
    (0..count).map(|_| fields.u64("a start position")).collect()
}

pub(super) fn write_attached(starts: &[u64], out: &mut Vec<u8>) {
    write_lane_count(starts.len(), out);
    out.extend(starts.iter().flat_map(|start| start.to_le_bytes()));
}

/// The lane that a frame is about, as the Offer numbers them.
pub(super) fn read_lane_index(frame: &'static str, fields: &mut Fields<'_>) -> Result<usize, FrameError> {
    let lane = fields.u8("the number of a lane")?;
    let is_possible = usize::from(lane) < LANES_PER_SESSION_MAX;
    if is_possible { Ok(lane.into()) } else { Err(FrameError::LaneIndex { frame, lane }) }
}

pub(super) fn write_lane_index(lane: usize, out: &mut Vec<u8>) {
    assert!(lane < LANES_PER_SESSION_MAX, "a session has at most 83 lanes");
    out.push(lane as u8);
}
