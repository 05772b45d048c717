//! The bodies of Hello, Offer and Refuse: values, and how each is read and written.
//!
//! The invariant: for every body, `read` takes exactly what `write` writes. Limits are checked before anything is
//! collected, and a count is believed only as far as there are bytes behind it.
//!
//! Integers are little-endian and packed without alignment; a name is one byte of length and its bytes.

use super::text::{Fields, printable, text};
use super::values::Role;
use super::{FrameError, LANES_PER_SESSION_MAX, LaneName, SENTENCE_MAX_BYTES, VERSION_MAX, VERSION_MIN};
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
            record_fds_max: 0,
        }
    }

    /// What the header of a control region says, for one who has no Offer to compare it with; the error is a clause
    /// that says what was wrong with it.
    pub(crate) fn from_header(header: &ControlHeader) -> Result<Self, String> {
        let name = header.name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = LaneName::from_bytes(name).map_err(|error| error.to_string())?;
        let (barrier, is_stamped) = read_flags(header.flags).map_err(|error| error.to_string())?;
        let geometry = geometry_of(header.capacity, header.record_align, header.payload_align, is_stamped)
            .map_err(|error| error.to_string())?;
        let (id, schema, generation) = (header.lane_id, header.schema, header.generation);
        let terms = Self { name, id, geometry, schema, generation, barrier, is_stamped };
        terms.check_header(header).map(|()| terms)
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
        barrier | if self.is_stamped { FLAG_STAMPED } else { 0 }
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

/// The lanes of a session, and the version it will be spoken in. The descriptors go with it: see [`Offer::bell_fd`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) version: u16,
    pub(crate) session_id: [u8; 16],
    pub(crate) lanes: Vec<OfferedLane>,
}

impl Offer {
    /// Which of the descriptors is the seat's.
    pub(crate) const SEAT_FD: usize = 0;

    /// How many descriptors an Offer of that many lanes has.
    pub(crate) const fn fd_count(lanes: usize) -> usize {
        1 + 3 * lanes
    }

    /// Which of the descriptors is the bell of the lane at `lane`.
    pub(crate) const fn bell_fd(lane: usize) -> usize {
        1 + 3 * lane
    }

    /// Which of the descriptors is the control region of the lane at `lane`.
    pub(crate) const fn control_fd(lane: usize) -> usize {
        2 + 3 * lane
    }

    /// Which of the descriptors is the data region of the lane at `lane`.
    pub(crate) const fn data_fd(lane: usize) -> usize {
        3 + 3 * lane
    }

    pub(super) fn read(header: u16, fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let chosen = fields.u16("the chosen version")?;
        if chosen != header {
            return Err(FrameError::ChosenVersion { chosen, header });
        }
        let session_id = fields.take("the session's id")?;
        read_index(fields, "the seat", Self::SEAT_FD)?;
        let count = read_lane_count("the Offer", fields)?;
        let mut lanes: Vec<OfferedLane> = Vec::new();
        for index in 0..count {
            let lane = OfferedLane::read(index, fields)?;
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
        for (index, lane) in self.lanes.iter().enumerate() {
            lane.write(index, out);
        }
    }
}

/// The flags of a lane that have a meaning and are not implemented.
const FLAGS_TO_COME: [(u32, &str); 4] = [
    (FLAG_DESCRIPTORS, "a lane whose records carry descriptors (flag bit 2)"),
    (FLAG_SPACE_BELL, "a lane with a space bell (flag bit 3)"),
    (FLAG_ONE_WORKER, "a lane of one worker (flag bit 4)"),
    (FLAG_FIXED, "a lane with fixed slots, all of one length (flag bit 5)"),
];
/// Stands where an Offer names no descriptor: the first is the seat's.
const NO_DESCRIPTOR: usize = 0;

/// The flags of a lane that are implemented.
const FLAGS_KNOWN: u32 = FLAG_ASYMMETRIC | FLAG_STAMPED;

/// The barrier that the flags of a lane offer, and whether its records are stamped.
fn read_flags(flags: u32) -> Result<(Barrier, bool), FrameError> {
    let known = FLAGS_TO_COME.iter().fold(FLAGS_KNOWN, |known, (bit, _)| known | bit);
    if flags & !known != 0 {
        return Err(FrameError::Reserved { field: "the flags of a lane", value: flags.into() });
    }
    if let Some((_, what)) = FLAGS_TO_COME.iter().find(|(bit, _)| flags & bit != 0) {
        return Err(FrameError::Unsupported(what));
    }
    let barrier = if flags & FLAG_ASYMMETRIC != 0 { Barrier::Asymmetric } else { Barrier::Fence };
    Ok((barrier, flags & FLAG_STAMPED != 0))
}

impl OfferedLane {
    fn read(index: usize, fields: &mut Fields<'_>) -> Result<Self, FrameError> {
        let id = fields.take("a lane's id")?;
        let capacity = fields.u64("a lane's capacity")?;
        let generation = fields.u64("a lane's generation")?;
        let schema = fields.u64("a lane's schema")?;
        let record_align = fields.u32("a lane's record alignment")?;
        let payload_align = fields.u32("a lane's payload alignment")?;
        let flags = fields.u32("a lane's flags")?;
        let (barrier, is_stamped) = read_flags(flags)?;
        let (slot_len, fds_max) = (fields.u32("the length of a slot")?, fields.u8("the most descriptors of a record")?);
        // Both belong to flags that are not implemented.
        let belonging =
            [("the length of a slot", slot_len.into()), ("the most descriptors of a record", fds_max.into())];
        if let Some((field, value)) = belonging.into_iter().find(|(_, value)| *value != 0) {
            return Err(FrameError::Reserved { field, value });
        }
        let bell = BellKind::read(fields)?;
        read_index(fields, "a lane's bell", Offer::bell_fd(index))?;
        read_index(fields, "a lane's control region", Offer::control_fd(index))?;
        read_index(fields, "a lane's data region", Offer::data_fd(index))?;
        read_index(fields, "a lane's descriptor socket", NO_DESCRIPTOR)?;
        read_index(fields, "a lane's space bell", NO_DESCRIPTOR)?;
        let name_len = fields.u8("the length of a name")?;
        let name = LaneName::from_bytes(fields.bytes(name_len.into(), "a lane's name")?)?;
        let geometry = geometry_of(capacity, record_align, payload_align, is_stamped)
            .map_err(|cause| FrameError::Geometry { name: name.to_string(), cause })?;
        Ok(Self { terms: LaneTerms { name, id, geometry, schema, generation, barrier, is_stamped }, bell })
    }

    fn write(&self, index: usize, out: &mut Vec<u8>) {
        let LaneTerms { name, id, geometry, schema, generation, .. } = &self.terms;
        out.extend(id);
        out.extend(geometry.capacity().to_le_bytes());
        out.extend(generation.to_le_bytes());
        out.extend(schema.to_le_bytes());
        out.extend((geometry.record_align() as u32).to_le_bytes());
        out.extend((geometry.payload_align() as u32).to_le_bytes());
        out.extend(self.terms.flags().to_le_bytes());
        out.extend([0; 5]); // No slots of one length, no descriptors with records.
        out.push(self.bell.to_byte());
        write_index(Offer::bell_fd(index), out);
        write_index(Offer::control_fd(index), out);
        write_index(Offer::data_fd(index), out);
        write_index(NO_DESCRIPTOR, out);
        write_index(NO_DESCRIPTOR, out);
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
