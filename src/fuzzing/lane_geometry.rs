//! Geometries and control headers: what is offered, what the control region says, and every access that follows.

use super::Script;
use super::frames::{alter, control_header, lane_name};
use crate::error::Result;
use crate::layout::{CONTROL_LEN_BYTES, Geometry, PAYLOAD_MAX_BYTES, RecordHeader};
use crate::memory::{ControlMap, LaneMap};
use crate::region::{HugePages, Region, RegionOptions};
use crate::ring::RingWords;
use crate::session::opened::check_header;
use crate::terms::Barrier;
use crate::wire::LaneTerms;
use std::cell::OnceCell;
use std::os::fd::AsFd;

/// The longest ring that is really mapped here.
const MAPPED_MAX_BYTES: u64 = 64 << 10;

thread_local! {
    /// A control region that stays writable, so that it serves again.
    static CONTROL: OnceCell<Region> = const { OnceCell::new() };
    /// The data regions of the capacities from 4 KiB to 64 KiB.
    static DATA: [OnceCell<Region>; 5] = const { [const { OnceCell::new() }; 5] };
}

/// Takes capacity and alignments from `data`, then positions and lengths to look at, then alterations of the header
/// that describes all that: a geometry is accepted only if every access derived from it lies inside the ring, and a
/// header only if it says what was offered.
pub fn lane_geometry(data: &[u8]) {
    let mut script = Script::new(data);
    let capacity = script.word_near(&[4096, 8192, 65536, 1 << 20, 1 << 40, 0]);
    let (record_align, payload_align) = (alignment(&mut script), alignment(&mut script));
    let Ok(geometry) = Geometry::new(capacity, record_align, payload_align) else { return };
    check_limits(&geometry);
    let looks: Vec<(u64, u64)> = (0..script.below(8)).map(|_| look(&mut script, &geometry)).collect();
    for (position, len) in &looks {
        check_record(&geometry, *position, *len);
    }
    if capacity <= MAPPED_MAX_BYTES {
        check_mapped(&mut script, geometry, &looks).expect("regions of this process's own");
    }
}

fn alignment(script: &mut Script<'_>) -> u32 {
    match script.u8() {
        byte @ ..0x20 => 1 << byte,
        0xff => script.u32(),
        byte => u32::from(byte) << 4,
    }
}

fn look(script: &mut Script<'_>, geometry: &Geometry) -> (u64, u64) {
    let capacity = geometry.capacity();
    let position = script.word_near(&[0, capacity, capacity / 2, 3 * capacity, u64::MAX - capacity]);
    (position, script.word_near(&[0, geometry.payload_max(), capacity / 2]) & PAYLOAD_MAX_BYTES)
}

/// The rules of the layout in numbers that cannot overflow.
fn check_limits(geometry: &Geometry) {
    let [capacity, record, payload] = [geometry.capacity(), geometry.record_align(), geometry.payload_align()];
    assert!(capacity.is_power_of_two() && (4096..=1 << 40).contains(&capacity) && capacity >= 4 * record);
    assert!(record.is_power_of_two() && (8..=4096).contains(&record));
    assert!(payload.is_power_of_two() && (8..=record).contains(&payload));
    assert_eq!(geometry.payload_offset(), payload);
    let longest = geometry.payload_max();
    assert!(longest <= PAYLOAD_MAX_BYTES && geometry.record_size(longest) <= capacity / 2);
}

/// A record of any length a header can claim, anywhere: what passes the reader's comparison lies inside the ring.
fn check_record(geometry: &Geometry, position: u64, len: u64) {
    let (offset, room) = (geometry.offset(position), geometry.room_to_end(position));
    assert!(offset < geometry.capacity() && offset + room == geometry.capacity());
    let size = geometry.record_size(len);
    let exact = u128::from(geometry.payload_offset()) + u128::from(len);
    let aligned = exact.div_ceil(u128::from(geometry.record_align())) * u128::from(geometry.record_align());
    assert_eq!(u128::from(size), aligned, "the sum overflowed");
    if size <= room {
        let end = offset + geometry.payload_offset() + len;
        assert!(end <= geometry.capacity(), "the payload leaves the ring");
    }
    if offset.is_multiple_of(geometry.record_align()) && room <= u64::from(u32::MAX) {
        let padding = RecordHeader::padding(room);
        assert_eq!(u64::from(padding.len) + 8, room);
        assert_eq!(RecordHeader::from_word(padding.to_word()), Some(padding));
    }
}

/// The same with a real ring, and with a header that may say something else.
fn check_mapped(script: &mut Script<'_>, geometry: Geometry, looks: &[(u64, u64)]) -> Result<()> {
    let (name, schema) = (lane_name(script.below(4)), script.u64());
    let terms = LaneTerms {
        name,
        id: [1; 16],
        geometry,
        schema,
        generation: u64::from(script.u8()),
        barrier: script.choose(Barrier::ALL),
        is_stamped: geometry.stamped().is_ok() && schema & 1 != 0,
        has_space_bell: schema & 2 != 0,
        has_one_worker: schema & 4 != 0,
        record_fds_max: if schema & 8 != 0 { 1 + (schema >> 8) as u8 % 253 } else { 0 },
    };
    let header = control_header(&terms);
    let right = bytemuck::bytes_of(&header.to_words()).to_vec();
    let mut bytes = right.clone();
    alter(script, &mut bytes);
    bytes.resize(right.len(), 0);
    let control = CONTROL.with(|control| {
        let region = control.get_or_init(|| region(CONTROL_LEN_BYTES));
        rustix::io::pwrite(region.as_fd(), &bytes, 0).expect("an unsealed region");
        region.map_read_only()
    })?;
    let control = ControlMap::new(control);
    let is_accepted = check_header(&control.header(), &terms).is_ok();
    // Which data region it names is not judged here.
    let is_right = bytes[..128] == right[..128] && bytes[136..] == right[136..];
    assert_eq!(is_accepted, is_right, "a header was judged wrongly: {bytes:x?}");
    let index = (geometry.capacity() / 4096).trailing_zeros() as usize;
    let data = DATA.with(|data| data[index].get_or_init(|| region(geometry.capacity())).map_read_only())?;
    let lane = LaneMap::new(control, data, geometry);
    let mut copy = Vec::new();
    for (position, len) in looks {
        assert_eq!(lane.header_word(*position), 0);
        let len = (*len).min(geometry.room_to_end(*position & !7)) as usize;
        copy.clear();
        copy.resize(len / 8, u64::MAX);
        lane.copy_out(*position & !7, &mut copy);
        assert!(copy.iter().all(|word| *word == 0), "a copy from elsewhere");
    }
    Ok(())
}

fn region(len_bytes: u64) -> Region {
    let options = RegionOptions { name: "fdring-fuzz", len_bytes, huge_pages: HugePages::No };
    Region::create(&options).expect("memory for a small region")
}
