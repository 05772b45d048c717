//! The bodies of Hello, Offer and Refuse: values, and how each is read and written.
//!
//! The invariant: for every body, `read` takes exactly what `write` writes. Limits are checked before anything is
//! collected, and a count is believed only as far as there are bytes behind it.
//!
//! Integers are little-endian and packed without alignment; a name is one byte of length and its bytes.

use super::text::{Fields, printable, text};
use super::values::Role;
use super::{FrameError, LANES_PER_SESSION_MAX, LaneName, SENTENCE_MAX_BYTES, VERSION_MAX, VERSION_MIN};
use crate::cmsg::FDS_PER_MESSAGE_MAX;
use crate::layout::{
    CONTROL_MAGIC, ControlHeader, FLAG_ASYMMETRIC, FLAG_DESCRIPTORS, FLAG_FIXED, FLAG_ONE_WORKER, FLAG_SPACE_BELL,
    FLAG_STAMPED, Geometry, GeometryError, LAYOUT_VERSION,
};
use crate::terms::{Barrier, BellKind, Refusal};

/// The first frame of a session. Frozen for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The version in the frame's header: the sender's newest. Of no consequence.
    pub(crate) header_version: u16,
    pub(crate) role: Role,
    pub(crate) version_min: u16,
    pub(crate) version_max: u16,
    /// None means all. A producer names none.
    pub(crate) wanted: Vec<LaneName>,
}

impl Hello {
    /// What this code says of itself.
    pub(crate) fn new(role: Role, wanted: Vec<LaneName>) -> Self {
        Self { header_version: VERSION_MAX, role, version_min: VERSION_MIN, version_max: VERSION_MAX, wanted }
    }

    pub(super) fn read(header_version: u16, fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let role = Role::read(fields)?;
        let (min, max) = (fields.u16("the lowest version")?, fields.u16("the highest version")?);
        if min > max {
            return Err(FrameError::VersionRange { min, max });
        }
        let count = usize::from(fields.u8("the number of wanted lanes")?);
        if count > LANES_PER_SESSION_MAX {
            return Err(FrameError::LaneCount { field: "the Hello", count, min: 0 });
        }
        let mut wanted = Vec::new();
        for _ in 0..count {
            let len = fields.u8("the length of a name")?;
            wanted.push(LaneName::from_bytes(fields.bytes(len.into(), "a lane's name")?)?);
        }
        check_distinct(&wanted)?;
        if !role.consumes() && count != 0 {
            return Err(FrameError::NamesOfProducer(count));
        }
        Ok(Self { header_version, role, version_min: min, version_max: max, wanted })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        assert!(self.wanted.len() <= LANES_PER_SESSION_MAX, "a Hello names at most 83 lanes");
        assert!(self.role.consumes() || self.wanted.is_empty(), "a producer names no lanes");
        out.push(self.role.to_byte());
        out.extend(self.version_min.to_le_bytes());
        out.extend(self.version_max.to_le_bytes());
        out.push(self.wanted.len() as u8);
        for name in &self.wanted {
            out.push(name.as_str().len() as u8);
            out.extend(name.as_str().as_bytes());
        }
    }
}

/// What a lane is: everything about it that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaneTerms {
    pub(crate) name: LaneName,
    pub(crate) id: [u8; 16],
    pub(crate) geometry: Geometry,
    pub(crate) schema: u64,
    pub(crate) generation: u64,
    /// The kind of barrier that its consumers may choose; all may choose the fence.
    pub(crate) barrier: Barrier,
    /// Whether each record holds the time of its commit.
    pub(crate) is_stamped: bool,
    /// Whether its consumers get a bell to ring when they release.
    pub(crate) has_space_bell: bool,
    /// Whether it has one consumer at a time, and each resumes where the last one stopped.
    pub(crate) has_one_worker: bool,
    /// The most descriptors of one record, up to [`FDS_PER_MESSAGE_MAX`]; 0 if records have none.
    pub(crate) record_fds_max: u8,
}

impl LaneTerms {
    /// The header of its control region, but for the inode of the data region.
    pub(crate) fn header(&self) -> ControlHeader {
        ControlHeader {
            magic: CONTROL_MAGIC,
            layout_version: LAYOUT_VERSION,
            flags: self.flags(),
            capacity: self.geometry.capacity(),
            record_align: self.geometry.record_align() as u32,
            payload_align: self.geometry.payload_align() as u32,
            lane_id: self.id,
            generation: self.generation,
            schema: self.schema,
            name: self.name.padded(),
            data_inode: 0,
            slot_bytes: 0,
            record_fds_max: self.record_fds_max.into(),
        }
    }

    /// What the header of a control region says, for one who has no Offer to compare it with; the error is a clause
    /// that says what was wrong with it.
    pub(crate) fn from_header(header: &ControlHeader) -> Result<Self, String> {
        let name = header.name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = LaneName::from_bytes(name).map_err(|error| error.to_string())?;
        let flags = LaneFlags::of(header.flags).map_err(|error| error.to_string())?;
        let record_fds_max = u8::try_from(header.record_fds_max).unwrap_or(u8::MAX);
        check_record_fds_max(flags.has_record_fds, record_fds_max).map_err(|error| error.to_string())?;
        let geometry = geometry_of(header.capacity, header.record_align, header.payload_align, flags.is_stamped)
            .map_err(|error| error.to_string())?;
        let numbers = (header.schema, header.generation);
        let terms = Self::new(name, header.lane_id, geometry, numbers, flags, record_fds_max);
        terms.check_header(header).map(|()| terms)
    }

    /// The terms of a lane as its parts say, which fit together; `schema` and `generation` are the two numbers.
    fn new(
        name: LaneName,
        id: [u8; 16],
        geometry: Geometry,
        (schema, generation): (u64, u64),
        flags: LaneFlags,
        record_fds_max: u8,
    ) -> Self {
        let LaneFlags { barrier, is_stamped, has_space_bell, has_one_worker, has_record_fds: _ } = flags;
        Self {
            name,
            id,
            geometry,
            schema,
            generation,
            barrier,
            is_stamped,
            has_space_bell,
            has_one_worker,
            record_fds_max,
        }
    }

    /// Checks that a control region describes this lane; which data region it names is another question. The error is a
    /// clause that says what was wrong with it.
    pub(crate) fn check_header(&self, header: &ControlHeader) -> Result<(), String> {
        let expected = ControlHeader { data_inode: header.data_inode, ..self.header() };
        if *header == expected {
            Ok(())
        } else if header.magic != expected.magic {
            Err(format!("its magic is {:#018x}", header.magic))
        } else if header.layout_version != expected.layout_version {
            Err(format!("its layout has the version {}, not {}", header.layout_version, expected.layout_version))
        } else {
            Err("it describes another lane".to_owned())
        }
    }

    /// The flags of the lane, as they lie in the Offer and in the control region.
    pub(crate) fn flags(&self) -> u32 {
        let barrier = match self.barrier {
            Barrier::Fence => 0,
            Barrier::Asymmetric => FLAG_ASYMMETRIC,
        };
        let stamped = if self.is_stamped { FLAG_STAMPED } else { 0 };
        let descriptors = if self.record_fds_max != 0 { FLAG_DESCRIPTORS } else { 0 };
        let space_bell = if self.has_space_bell { FLAG_SPACE_BELL } else { 0 };
        let one_worker = if self.has_one_worker { FLAG_ONE_WORKER } else { 0 };
        barrier | stamped | descriptors | space_bell | one_worker
    }

    /// How many descriptors of an Offer are this lane's.
    pub(crate) fn fd_count(&self) -> usize {
        3 + usize::from(self.has_space_bell)
    }

    /// Which of the descriptors of an Offer are this lane's, where `first` is the first of them.
    pub(crate) fn fds_from(&self, first: usize) -> LaneFds {
        let space_bell = self.has_space_bell.then_some(first + 3);
        LaneFds { bell: first, control: first + 1, data: first + 2, space_bell }
    }
}

/// Which of the descriptors of an Offer are those of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneFds {
    pub(crate) bell: usize,
    pub(crate) control: usize,
    pub(crate) data: usize,
    pub(crate) space_bell: Option<usize>,
}

/// Refuses a number of descriptors that does not go with whether records have any.
fn check_record_fds_max(has_record_fds: bool, record_fds_max: u8) -> Result<(), FrameError> {
    match usize::from(record_fds_max) {
        1..=FDS_PER_MESSAGE_MAX if has_record_fds => Ok(()),
        0 if !has_record_fds => Ok(()),
        count if has_record_fds => Err(FrameError::RecordFdsMax(count)),
        count => Err(FrameError::Reserved { field: "the most descriptors of a record", value: count as u64 }),
    }
}

/// The geometry of a lane, whose records are stamped or not.
fn geometry_of(
    capacity: u64,
    record_align: u32,
    payload_align: u32,
    is_stamped: bool,
) -> Result<Geometry, GeometryError> {
    let geometry = Geometry::new(capacity, record_align, payload_align)?;
    if is_stamped { geometry.stamped() } else { Ok(geometry) }
}

/// A lane in an Offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfferedLane {
    pub(crate) terms: LaneTerms,
    pub(crate) bell: BellKind,
}

/// The lanes of a session, and the version it will be spoken in. The descriptors go with it: see [`Offer::lane_fds`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) version: u16,
    pub(crate) session_id: [u8; 16],
    pub(crate) lanes: Vec<OfferedLane>,
}

impl Offer {
    /// Which of the descriptors is the seat's.
    pub(crate) const SEAT_FD: usize = 0;

    /// How many descriptors the Offer of these lanes has.
    pub(crate) fn fd_count<'a>(lanes: impl IntoIterator<Item = &'a LaneTerms>) -> usize {
        1 + lanes.into_iter().map(LaneTerms::fd_count).sum::<usize>()
    }

    /// The most descriptors that an Offer of that many lanes has, whatever their flags.
    pub(crate) fn fd_count_max(lanes: usize) -> usize {
        (1 + 4 * lanes).min(FDS_PER_MESSAGE_MAX)
    }

    /// Which of the descriptors are those of each lane.
    pub(crate) fn lane_fds(&self) -> impl Iterator<Item = LaneFds> {
        self.lanes.iter().scan(1, |first, lane| {
            let fds = lane.terms.fds_from(*first);
            *first += lane.terms.fd_count();
            Some(fds)
        })
    }

    pub(super) fn read(header: u16, fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let chosen = fields.u16("the chosen version")?;
        if chosen != header {
            return Err(FrameError::ChosenVersion { chosen, header });
        }
        let session_id = fields.take("the session's id")?;
        read_index(fields, "the seat", Self::SEAT_FD)?;
        let count = read_lane_count("the Offer", fields)?;
        let (mut lanes, mut first_fd): (Vec<OfferedLane>, _) = (Vec::new(), 1);
        for index in 0..count {
            let lane = OfferedLane::read(first_fd, fields)?;
            first_fd += lane.terms.fd_count();
            if lanes.iter().any(|earlier| earlier.terms.id == lane.terms.id) {
                return Err(FrameError::DuplicateId { index });
            }
            if lanes.iter().any(|earlier| earlier.terms.name == lane.terms.name) {
                return Err(FrameError::DuplicateName(lane.terms.name.to_string()));
            }
            lanes.push(lane);
        }
        Ok(Self { version: chosen, session_id, lanes })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_le_bytes());
        out.extend(self.session_id);
        write_index(Self::SEAT_FD, out);
        write_lane_count(self.lanes.len(), out);
        for (lane, fds) in self.lanes.iter().zip(self.lane_fds()) {
            lane.write(fds, out);
        }
    }
}

/// The flags of a lane that have a meaning and are not implemented.
const FLAGS_TO_COME: [(u32, &str); 1] = [(FLAG_FIXED, "a lane with fixed slots, all of one length (flag bit 5)")];
/// In place of a descriptor that an Offer does not name: the first is the seat's.
const NO_DESCRIPTOR: usize = 0;

/// The flags of a lane that are implemented.
const FLAGS_KNOWN: u32 = FLAG_ASYMMETRIC | FLAG_STAMPED | FLAG_DESCRIPTORS | FLAG_SPACE_BELL | FLAG_ONE_WORKER;

/// What the flags of a lane say.
#[derive(Clone, Copy, Debug)]
struct LaneFlags {
    barrier: Barrier,
    is_stamped: bool,
    has_space_bell: bool,
    has_one_worker: bool,
    has_record_fds: bool,
}

impl LaneFlags {
    /// What they say, if all of them are implemented.
    fn of(flags: u32) -> Result<Self, FrameError> {
        let known = FLAGS_TO_COME.iter().fold(FLAGS_KNOWN, |known, (bit, _)| known | bit);
        if flags & !known != 0 {
            return Err(FrameError::Reserved { field: "the flags of a lane", value: flags.into() });
        }
        if let Some((_, what)) = FLAGS_TO_COME.iter().find(|(bit, _)| flags & bit != 0) {
            return Err(FrameError::Unsupported(what));
        }
        let has = |flag| flags & flag != 0;
        Ok(Self {
            barrier: if has(FLAG_ASYMMETRIC) { Barrier::Asymmetric } else { Barrier::Fence },
            is_stamped: has(FLAG_STAMPED),
            has_space_bell: has(FLAG_SPACE_BELL),
            has_record_fds: has(FLAG_DESCRIPTORS),
            has_one_worker: has(FLAG_ONE_WORKER),
        })
    }
}

impl OfferedLane {
    /// Reads one whose descriptors begin with that of this index.
    fn read(first_fd: usize, fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let id = fields.take("a lane's id")?;
        let capacity = fields.u64("a lane's capacity")?;
        let generation = fields.u64("a lane's generation")?;
        let schema = fields.u64("a lane's schema")?;
        let record_align = fields.u32("a lane's record alignment")?;
        let payload_align = fields.u32("a lane's payload alignment")?;
        let flags = LaneFlags::of(fields.u32("a lane's flags")?)?;
        let LaneFlags { is_stamped, has_space_bell, has_record_fds, .. } = flags;
        let slot_len = fields.u32("the length of a slot")?;
        if slot_len != 0 {
            // It belongs to a flag that is not implemented.
            return Err(FrameError::Reserved { field: "the length of a slot", value: slot_len.into() });
        }
        let record_fds_max = fields.u8("the most descriptors of a record")?;
        check_record_fds_max(has_record_fds, record_fds_max)?;
        let bell = BellKind::read(fields)?;
        if has_space_bell && bell == BellKind::Eventfd {
            return Err(FrameError::EventfdSpaceBell);
        }
        read_index(fields, "a lane's bell", first_fd)?;
        read_index(fields, "a lane's control region", first_fd + 1)?;
        read_index(fields, "a lane's data region", first_fd + 2)?;
        read_index(fields, "a field of a lane that is reserved", NO_DESCRIPTOR)?;
        read_index(fields, "a lane's space bell", if has_space_bell { first_fd + 3 } else { NO_DESCRIPTOR })?;
        let name_len = fields.u8("the length of a name")?;
        let name = LaneName::from_bytes(fields.bytes(name_len.into(), "a lane's name")?)?;
        let geometry = geometry_of(capacity, record_align, payload_align, is_stamped)
            .map_err(|cause| FrameError::Geometry { name: name.to_string(), cause })?;
        let terms = LaneTerms::new(name, id, geometry, (schema, generation), flags, record_fds_max);
        Ok(Self { terms, bell })
    }

    fn write(&self, fds: LaneFds, out: &mut Vec<u8>) {
        let LaneTerms { name, id, geometry, schema, generation, .. } = &self.terms;
        out.extend(id);
        out.extend(geometry.capacity().to_le_bytes());
        out.extend(generation.to_le_bytes());
        out.extend(schema.to_le_bytes());
        out.extend((geometry.record_align() as u32).to_le_bytes());
        out.extend((geometry.payload_align() as u32).to_le_bytes());
        out.extend(self.terms.flags().to_le_bytes());
        out.extend([0; 4]); // No slots of one length.
        out.push(self.terms.record_fds_max);
        out.push(self.bell.to_byte());
        write_index(fds.bell, out);
        write_index(fds.control, out);
        write_index(fds.data, out);
        write_index(NO_DESCRIPTOR, out); // Reserved.
        write_index(fds.space_bell.unwrap_or(NO_DESCRIPTOR), out);
        out.push(name.as_str().len() as u8);
        out.extend(name.as_str().as_bytes());
    }
}

/// No, as a number for programs and a sentence for people. Frozen for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refuse {
    header_version: u16,
    refusal: Refusal,
    sentence: String,
}

impl Refuse {
    /// `sentence` may be anything: it is shortened, and what cannot be printed is replaced.
    pub(crate) fn new(refusal: Refusal, sentence: &str) -> Self {
        Self { header_version: VERSION_MAX, refusal, sentence: printable(sentence, SENTENCE_MAX_BYTES) }
    }

    /// The version in the frame's header: the sender's newest. Of no consequence.
    pub(crate) fn header_version(&self) -> u16 {
        self.header_version
    }

    pub(crate) fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// At most 512 bytes without control characters; print it through [`printable`] all the same.
    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    pub(super) fn read(header_version: u16, fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let refusal = Refusal::from_code(fields.u16("the code")?);
        let len = usize::from(fields.u16("the length of the sentence")?);
        if len > SENTENCE_MAX_BYTES {
            return Err(FrameError::SentenceLength(len));
        }
        let sentence = text(fields.bytes(len, "the sentence")?, "the sentence")?.to_owned();
        Ok(Self { header_version, refusal, sentence })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.refusal.code().to_le_bytes());
        out.extend((self.sentence.len() as u16).to_le_bytes());
        out.extend(self.sentence.as_bytes());
    }
}

/// Refuses a list in which a name comes twice.
pub(crate) fn check_distinct(names: &[LaneName]) -> Result<(), FrameError> {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(FrameError::DuplicateName(name.to_string()));
        }
    }
    Ok(())
}

pub(super) fn read_lane_count(field: &'static str, fields: &mut Fields<'_>) -> Result<usize, FrameError> {
    let count = usize::from(fields.u8("the number of lanes")?);
    let is_possible = (1..=LANES_PER_SESSION_MAX).contains(&count);
    if is_possible { Ok(count) } else { Err(FrameError::LaneCount { field, count, min: 1 }) }
}

pub(super) fn write_lane_count(count: usize, out: &mut Vec<u8>) {
    assert!((1..=LANES_PER_SESSION_MAX).contains(&count), "a session has 1 to 83 lanes");
    out.push(count as u8);
}

/// Reads the index of a descriptor, which the order of the protocol fixes.
fn read_index(fields: &mut Fields<'_>, field: &'static str, expected: usize) -> Result<(), FrameError> {
    let (came, expected) = (fields.u16(field)?, expected as u16);
    if came == expected { Ok(()) } else { Err(FrameError::DescriptorIndex { field, came, expected }) }
}

fn write_index(index: usize, out: &mut Vec<u8>) {
    out.extend((index as u16).to_le_bytes());
}
