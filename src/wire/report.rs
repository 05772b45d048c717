//! The bodies of Query, Report and Attachments: what a consumer may ask about a lane, and what goes with a record.
//!
//! The invariant: what is listed is bounded, and as much as the protocol says.

use super::attach::{read_lane_index, write_lane_index};
use super::text::Fields;
use super::values::SeatKind;
use super::{FrameError, HEADER_LEN_BYTES};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::layout::LaneState;
use std::time::Duration;

/// How long a consumer waits between two Queries of a session, and a producer between two Reports.
pub(crate) const QUERY_INTERVAL: Duration = Duration::from_millis(100);
/// Stands for a user whom the producer's user namespace has no number for.
pub(crate) const UNKNOWN_UID: u32 = u32::MAX;
/// The most seats that a Report lists; of more, those that took their seats first.
pub(crate) const SEATS_PER_REPORT_MAX: usize = 1024;
/// The most records whose descriptors one frame carries.
pub(crate) const RECORDS_PER_FRAME_MAX: usize = 32;
/// The length of the longest Attachments, with its header, in bytes.
pub(crate) const ATTACHMENTS_MAX_BYTES: usize =
    HEADER_LEN_BYTES + 10 + RECORDS_PER_FRAME_MAX * AttachedRecord::LEN_BYTES;

/// What a producer knows of a lane and its seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// As the Offer numbers them.
    pub(crate) lane: usize,
    pub(crate) published: u64,
    pub(crate) state: LaneState,
    /// How many seats the lane has that the asker may know of, listed or not.
    pub(crate) seats: u32,
    pub(crate) listed: Vec<ReportedSeat>,
}

/// A seat in a Report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportedSeat {
    /// 0 if it is unknown.
    pub(crate) pid: u32,
    /// [`UNKNOWN_UID`] if it is unknown.
    pub(crate) uid: u32,
    pub(crate) kind: SeatKind,
    pub(crate) is_asleep: bool,
    pub(crate) consumed: u64,
    pub(crate) read: u64,
    /// How long it has had its seat.
    pub(crate) since_ns: u64,
    /// How long `consumed` has stood still, as far as the producer has seen.
    pub(crate) still_ns: u64,
}

impl Report {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let lane = read_lane_index("the Report", fields)?;
        let published = fields.u64("the producer's position")?;
        let state = LaneState::read(fields)?;
        let seats = fields.u32("the number of seats")?;
        let listed = usize::from(fields.u16("the number of seats that are listed")?);
        if listed != listed_of(seats) {
            return Err(FrameError::SeatCount { listed, seats });
        }
        let listed: Result<_, _> = (0..listed).map(|_| ReportedSeat::read(fields)).collect();
        Ok(Self { lane, published, state, seats, listed: listed? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        assert_eq!(self.listed.len(), listed_of(self.seats), "a Report lists all seats, or the first 1024");
        write_lane_index(self.lane, out);
        out.extend(self.published.to_le_bytes());
        out.push(self.state.to_byte());
        out.extend(self.seats.to_le_bytes());
        out.extend((self.listed.len() as u16).to_le_bytes());
        self.listed.iter().for_each(|seat| seat.write(out));
    }
}

/// How many of that many seats are listed.
fn listed_of(seats: u32) -> usize {
    (seats as usize).min(SEATS_PER_REPORT_MAX)
}

impl ReportedSeat {
    fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        Ok(Self {
            pid: fields.u32("the process id of a seat")?,
            uid: fields.u32("the user id of a seat")?,
            kind: SeatKind::read(fields)?,
            is_asleep: fields.flag("whether a consumer sleeps")?,
            consumed: fields.u64("what a consumer has released")?,
            read: fields.u64("what a consumer has read")?,
            since_ns: fields.u64("how long a consumer has had its seat")?,
            still_ns: fields.u64("how long a consumer has released nothing")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.pid.to_le_bytes());
        out.extend(self.uid.to_le_bytes());
        out.extend([self.kind.to_byte(), self.is_asleep.into()]);
        [self.consumed, self.read, self.since_ns, self.still_ns].iter().for_each(|word| out.extend(word.to_le_bytes()));
    }
}

/// The descriptors of records that are published together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachments {
    /// As the Offer numbers them.
    pub(crate) lane: usize,
    /// How many records with descriptors were published before. Frames of one number are attempts at one publication,
    /// and the last of them counts.
    pub(crate) number: u64,
    /// The records, by their positions: 1 to [`RECORDS_PER_FRAME_MAX`]. The descriptors of the first come first.
    pub(crate) records: Vec<AttachedRecord>,
}

/// A record in Attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttachedRecord {
    /// Where it begins.
    pub(crate) position: u64,
    /// The number of its descriptors, from 1 on.
    pub(crate) count: u8,
}

impl Attachments {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let lane = read_lane_index("the Attachments", fields)?;
        let number = fields.u64("the number of a record")?;
        let listed = fields.u8("the number of records")?;
        if !(1..=RECORDS_PER_FRAME_MAX).contains(&listed.into()) {
            return Err(FrameError::AttachedRecords(listed));
        }
        let mut records: Vec<AttachedRecord> = Vec::new();
        for _ in 0..listed {
            let record = AttachedRecord::read(fields)?;
            if records.last().is_some_and(|last| last.position >= record.position) {
                return Err(FrameError::AttachedOrder(record.position));
            }
            records.push(record);
        }
        Ok(Self { lane, number, records })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_lane_index(self.lane, out);
        out.extend(self.number.to_le_bytes());
        out.push(self.records.len() as u8);
        for AttachedRecord { position, count } in &self.records {
            out.extend(position.to_le_bytes());
            out.push(*count);
        }
    }

    /// The number of descriptors of all of its records.
    pub(super) fn fd_count(&self) -> usize {
        self.records.iter().map(|record| usize::from(record.count)).sum()
    }
}

impl AttachedRecord {
    /// In a frame.
    const LEN_BYTES: usize = 9;

    fn read(fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let position = fields.u64("the position of a record")?;
        let count = fields.u8("the number of a record's descriptors")?;
        let is_possible = (1..=FDS_PER_MESSAGE_MAX).contains(&count.into());
        if is_possible { Ok(Self { position, count }) } else { Err(FrameError::AttachmentCount(count)) }
    }
}
