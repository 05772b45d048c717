//! What is read of other processes without their help: the words of control regions and seats, and lines of /proc.

use super::Script;
use super::frames::{control_header, lane_name};
use crate::inspect::{CONTROL_WORDS, FileKey, FoundFile, LaneLook, MemfdName, STRIPE_WORDS, StripeLook};
use crate::layout::{
    CONTROL_HEADER_WORDS, ControlHeader, Geometry, INTENT_OFFSET, PUBLISHED_OFFSET, SEAT_KIND_OFFSET, STATE_OFFSET,
};
use crate::terms::Barrier;
use crate::wire::LaneTerms;

/// Takes a lane from `data`, then words of its control region that are something else, then those of a seat, then a
/// line of /proc: what is accepted is what a producer would write, no number that is worked out exceeds those that it
/// is made of, and only what is named as a lane's file is taken for one.
pub fn inspect_words(data: &[u8]) {
    let mut script = Script::new(data);
    let geometry = Geometry::new(4096 << script.below(4), 8 << script.below(3), 8).expect("within the limits");
    let (name, schema, barrier) = (lane_name(script.below(4)), script.u64(), script.choose(Barrier::ALL));
    let terms = LaneTerms {
        name,
        id: [1; 16],
        geometry,
        schema,
        generation: 0,
        barrier,
        is_stamped: false,
        has_space_bell: false,
        has_one_worker: false,
        record_fds_max: 0,
    };
    let mut words = [0; CONTROL_WORDS];
    words[..CONTROL_HEADER_WORDS].copy_from_slice(&control_header(&terms).to_words());
    let landmarks = [0, geometry.capacity(), 3 * geometry.capacity()];
    words[PUBLISHED_OFFSET / 8] = script.word_near(&landmarks);
    words[INTENT_OFFSET / 8] = script.word_near(&landmarks);
    words[STATE_OFFSET / 8] = script.below(5) as u64;
    for _ in 0..script.below(4) {
        words[usize::from(script.u8()) % 160] = script.u64();
    }
    let Some(lane) = check_lane(&words) else { return check_line(script.rest()) };
    let mut stripe = [0; STRIPE_WORDS];
    stripe[SEAT_KIND_OFFSET / 8] = script.below(6) as u64;
    for _ in 0..script.below(8) {
        stripe[script.below(STRIPE_WORDS)] = script.word_near(&[lane.published, lane.published / 2, 1 << 63]);
    }
    check_stripe(&stripe, &lane);
    check_line(script.rest());
}

/// A lane is what its terms say, or none.
fn check_lane(words: &[u64; CONTROL_WORDS]) -> Option<LaneLook> {
    let lane = LaneLook::new(words).ok()?;
    let header = ControlHeader { data_inode: lane.data_inode, ..lane.terms.header() };
    assert_eq!(header.to_words()[..], words[..CONTROL_HEADER_WORDS], "a header of two spellings");
    assert!(lane.published.is_multiple_of(lane.terms.geometry.record_align()) && lane.published < 1 << 63);
    Some(lane)
}

/// What is said of a reader makes sense, whatever it says itself.
fn check_stripe(words: &[u64; STRIPE_WORDS], lane: &LaneLook) {
    let Some(look) = StripeLook::new(words) else { return };
    let view = look.view((FileKey { device: (0, 0), inode: 0 }, 0), lane, lane);
    assert!(view.behind_bytes.is_none_or(|behind| behind <= lane.published));
    assert!(view.held_bytes <= view.behind_bytes.unwrap_or(0), "more is held than is not released");
    assert!(look.is_still(&look) && look.sleeps_on(&look) == view.is_asleep);
}

/// A line of /proc/PID/maps, or what a link in /proc/PID/fd says.
fn check_line(line: &[u8]) {
    let is_named = |bytes: &[u8]| bytes.windows(14).any(|part| part == b"/memfd:fdring:");
    assert!(MemfdName::of_link(line).is_none() || line.starts_with(b"/memfd:fdring:"));
    assert!(FoundFile::of_mapping(line).is_none() || is_named(line));
}
