//! A close look at one lane: its regions and seals, the words in them, its last records, and what is wrong with them.
//!
//! The invariant: whatever the words and the headers are, nothing here panics, loops for long, or takes much memory.
//! What is looked at may change meanwhile, so that only what breaks the protocol at any moment is a fault.

use super::files::{FileKey, FileRole, MemfdName, OpenedFile, open_at, read_words};
use super::process::{NotSeen, Pins};
use super::records::{self, RecordView};
use super::survey::{LaneFile, Search, own};
use super::words::{CONTROL_WORDS, LaneLook, STRIPE_WORDS};
use super::{ProcessView, Reason, Survey};
use crate::error::Result;
use crate::layout::{
    CONSUMED_LEFT_BIT, CONSUMED_OFFSET, CONTROL_LEN_BYTES, EVICTIONS_OFFSET, INTENT_OFFSET, LANE_COUNTERS_OFFSET,
    LAST_OFFSET, PUBLISHED_OFFSET, READ_OFFSET, SEAT_COUNTERS_OFFSET, SEAT_KIND_OFFSET, SEAT_LANE_ID_OFFSET,
    SEAT_START_OFFSET, SEAT_STRIPE_BYTES, SPACE_SEQ_OFFSET, SPACE_WAIT_OFFSET, STATE_OFFSET, WAIT_EPOCH_OFFSET,
    seat_len_bytes,
};
use crate::region::Seals;
use crate::wire::LANES_PER_SESSION_MAX;
use std::fmt;

/// The words of a control region: name, offset, and length in bytes.
const CONTROL: [(&str, usize, usize); 20] = [
    ("magic", 0, 8),
    ("layout version", 8, 4),
    ("flags", 12, 4),
    ("capacity", 16, 8),
    ("record align", 24, 4),
    ("payload align", 28, 4),
    ("generation", 48, 8),
    ("schema", 56, 8),
    ("data inode", 128, 8),
    ("record fds max", 140, 4),
    ("published", PUBLISHED_OFFSET, 8),
    ("last", LAST_OFFSET, 8),
    ("intent", INTENT_OFFSET, 8),
    ("space wait", SPACE_WAIT_OFFSET, 4),
    ("state", STATE_OFFSET, 4),
    ("evictions", EVICTIONS_OFFSET, 4),
    ("records", LANE_COUNTERS_OFFSET, 8),
    ("record bytes", LANE_COUNTERS_OFFSET + 8, 8),
    ("bells rung", LANE_COUNTERS_OFFSET + 16, 8),
    ("times blocked", LANE_COUNTERS_OFFSET + 24, 8),
];
/// Those of a stripe of a seat.
const STRIPE: [(&str, usize, usize); 9] = [
    ("consumed", CONSUMED_OFFSET, 8),
    ("space seq", SPACE_SEQ_OFFSET, 4),
    ("read", READ_OFFSET, 8),
    ("wait epoch", WAIT_EPOCH_OFFSET, 4),
    ("records", SEAT_COUNTERS_OFFSET, 8),
    ("record bytes", SEAT_COUNTERS_OFFSET + 8, 8),
    ("missed bytes", SEAT_COUNTERS_OFFSET + 16, 8),
    ("start", SEAT_START_OFFSET, 8),
    ("kind", SEAT_KIND_OFFSET, 4),
];

/// A lane, looked at closely by [`Survey::examine`].
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// # let mut ticks = fdring::Producer::create("doc-inspect-examination")?;
/// # ticks.send(b"hello").unwrap();
/// let lanes = fdring::inspect::lanes()?.examine("doc-inspect-examination")?;
/// assert!(lanes[0].regions[0].seals.contains("FUTURE_WRITE"));
/// assert_eq!(lanes[0].records[0].len, 5);
/// assert!(lanes[0].faults.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examination {
    /// The lane's name, as its memory is called; what could play tricks on a terminal is replaced.
    pub name: String,
    /// Its id, as its memory is called.
    pub id: [u8; 16],
    /// Its control region, its data region if one is found, and the seats of its readers.
    pub regions: Vec<RegionView>,
    /// The last records, the oldest first: 16 at most, and none that may be overwritten by now.
    pub records: Vec<RecordView>,
    /// The faults that were found, a clause each. Empty if there are none.
    pub faults: Vec<String>,
}

/// A region of a lane.
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// # let ticks = fdring::Producer::create("doc-inspect-region")?;
/// let lanes = fdring::inspect::lanes()?.examine("doc-inspect-region")?;
/// for region in &lanes[0].regions {
///     println!("{}: {} bytes, sealed {}", region.kind, region.len_bytes, region.seals);
/// }
/// # assert_eq!(lanes[0].regions[1].len_bytes, 4 << 20);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegionView {
    /// Which of the lane's regions it is.
    pub kind: RegionKind,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// The number of its file.
    pub inode: u64,
    /// Its seals, by their names in fcntl(2), with commas between them.
    pub seals: String,
    /// The process that has it mapped to write. `None` if none is seen.
    pub writer: Option<ProcessView>,
    /// The other processes that have it open or mapped.
    pub holders: Vec<ProcessView>,
    /// Its words. None of a data region; of a seat, those of this lane.
    pub words: Vec<WordView>,
}

/// Which region of a lane one is.
///
/// ```
/// assert_eq!(fdring::inspect::RegionKind::Seat.to_string(), "seat");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionKind {
    /// The words that the producer writes.
    Control,
    /// The ring.
    Data,
    /// The words that one reader writes.
    Seat,
}

/// A word of a region, as it was read.
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// # let ticks = fdring::Producer::create("doc-inspect-word")?;
/// let lanes = fdring::inspect::lanes()?.examine("doc-inspect-word")?;
/// let published = lanes[0].regions[0].words.iter().find(|word| word.name == "published").unwrap();
/// assert_eq!((published.offset, published.value), (512, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WordView {
    /// Its name in docs/protocol.md.
    pub name: &'static str,
    /// Where it lies in the region, in bytes.
    pub offset: u64,
    /// Its value.
    pub value: u64,
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Data => "data",
            Self::Seat => "seat",
        })
    }
}

impl Survey {
    /// Looks closely at the lanes of that name, or of that id in 32 hexadecimal digits, if the survey has found their
    /// memory. It also looks at lanes that break the protocol, which [`Survey::lanes`] leaves out.
    ///
    /// It is empty if there is none.
    ///
    /// ```
    /// # fn main() -> fdring::Result<()> {
    /// # let ticks = fdring::Producer::create("doc-inspect-examine")?;
    /// let survey = fdring::inspect::lanes()?;
    /// for lane in survey.examine("doc-inspect-examine")? {
    ///     assert_eq!(lane.faults, [""; 0]);
    /// }
    /// # assert_eq!(survey.examine("doc-inspect-examine")?.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os) if this process is short of descriptors. What cannot be looked at is a fault of
    /// the examination.
    pub fn examine(&self, wanted: &str) -> Result<Vec<Examination>> {
        let mut pins = Pins::default();
        let is_wanted = |name: &MemfdName| {
            let id = name.id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            name.role == FileRole::Control && (name.lane.as_deref() == Some(wanted) || id.as_deref() == Some(wanted))
        };
        let files = self.search.files().iter().filter(|(_, file)| is_wanted(&file.name));
        files.map(|(key, file)| Examiner { search: &self.search, pins: &mut pins }.examine(*key, file)).collect()
    }
}

struct Examiner<'a> {
    search: &'a Search,
    pins: &'a mut Pins,
}

impl Examiner<'_> {
    fn examine(mut self, key: FileKey, file: &LaneFile) -> Result<Examination> {
        let mut lane = Examination {
            name: file.name.lane.clone().unwrap_or_default(),
            id: file.name.id.unwrap_or_default(),
            regions: Vec::new(),
            records: Vec::new(),
            faults: Vec::new(),
        };
        let control_seals = Seals::SHRINK | Seals::GROW | Seals::FUTURE_WRITE | Seals::SEAL;
        let Some(control) = self.open(RegionKind::Control, key, file, control_seals, &mut lane)? else {
            return Ok(lane);
        };
        if control.len != CONTROL_LEN_BYTES {
            lane.faults.push(format!("the control region has {} bytes, not {CONTROL_LEN_BYTES}", control.len));
        }
        let words: [u64; CONTROL_WORDS] = match read_words(&control.fd, 0) {
            Ok(words) => words,
            Err(miss) => return fault(lane, "the control region", miss),
        };
        lane.regions[0].words = words_of(&words, &CONTROL, 0);
        let look = LaneLook::new(&words).map_err(|fault| lane.faults.push(format!("the control region: {fault}"))).ok();
        let Some(look) = look else { return Ok(lane) };
        if look.terms.id != lane.id {
            lane.faults.push("the control region has another id than its name says".to_owned());
        }
        let last = words[LAST_OFFSET / 8];
        self.check_positions(&look, last, &mut lane);
        let data = self.data(&look, &mut lane)?;
        let begins = self.seats(key, file, &look, &mut lane)?;
        if let Some(data) = data {
            let positions = records::Positions { published: look.published, last, begins };
            match records::look(&data.fd, &control.fd, &look.terms.geometry, look.terms.is_stamped, &positions) {
                Ok((records, faults)) => {
                    lane.records = records;
                    lane.faults.extend(faults);
                }
                Err(miss) => return fault(lane, "the data region", miss),
            }
        }
        Ok(lane)
    }

    /// Opens a region, and notes what it is and which seals it lacks.
    fn open(
        &mut self,
        kind: RegionKind,
        key: FileKey,
        file: &LaneFile,
        required: Seals,
        lane: &mut Examination,
    ) -> Result<Option<OpenedFile>> {
        let opened = match open_at(&file.places, key, self.search.devices(), self.pins) {
            Ok(opened) => opened,
            Err(NotSeen::Own(errno)) => return Err(own(errno)),
            Err(miss) => {
                lane.faults.push(format!("the {kind} region cannot be looked at: {}", sentence(miss)));
                return Ok(None);
            }
        };
        let seals = Seals::of(&opened.fd).ok();
        let missing = seals.map(|seals| required.without(seals)).filter(|missing| !missing.is_empty());
        if let Some(missing) = missing {
            lane.faults.push(format!("the {kind} region lacks the seals {missing}"));
        }
        let writer = file.writer().cloned();
        let mut holders: Vec<ProcessView> = Vec::new();
        for process in file.places.iter().map(|place| &place.process) {
            if writer.as_ref() != Some(process) && !holders.contains(process) {
                holders.push(process.clone());
            }
        }
        let seals = seals.map_or_else(|| "none".to_owned(), |seals| seals.to_string());
        let (len_bytes, inode) = (opened.len, key.inode);
        lane.regions.push(RegionView { kind, len_bytes, inode, seals, writer, holders, words: Vec::new() });
        Ok(Some(opened))
    }

    fn check_positions(&self, look: &LaneLook, last: u64, lane: &mut Examination) {
        let (published, intent, capacity) = (look.published, look.intent, look.terms.geometry.capacity());
        // Both may have moved between the two words, and `intent` is stored first.
        if published > intent.saturating_add(capacity) {
            lane.faults.push(format!("published is {published}, and far beyond intent, which is {intent}"));
        }
        if intent >= CONSUMED_LEFT_BIT {
            lane.faults.push(format!("intent is {intent}, which no lane reaches"));
        }
        if last > published.saturating_add(capacity) {
            lane.faults.push(format!("last is {last}, and far beyond published, which is {published}"));
        }
    }

    fn data(&mut self, look: &LaneLook, lane: &mut Examination) -> Result<Option<OpenedFile>> {
        let files = self.search.files();
        let found = files.iter().find(|(key, file)| file.name.role == FileRole::Data && key.inode == look.data_inode);
        let Some((key, file)) = found else {
            lane.faults
                .push(format!("no process that is seen has its data region, whose inode is {}", look.data_inode));
            return Ok(None);
        };
        let seals = Seals::SHRINK | Seals::GROW | Seals::FUTURE_WRITE;
        let opened = self.open(RegionKind::Data, *key, file, seals, lane)?;
        let capacity = look.terms.geometry.capacity();
        Ok(opened.filter(|opened| {
            let fits = opened.len == capacity;
            if !fits {
                lane.faults.push(format!("the data region has {} bytes, and the ring {capacity}", opened.len));
            }
            fits
        }))
    }

    /// Looks at the seats of the lane's readers; the positions at which records begin, as they say.
    fn seats(
        &mut self,
        control: FileKey,
        file: &LaneFile,
        look: &LaneLook,
        lane: &mut Examination,
    ) -> Result<Vec<u64>> {
        let mut begins = Vec::new();
        let files = self.search.files();
        let is_near = |seat: &LaneFile| seat.name.role == FileRole::Seat && seat.is_with(file);
        for (key, seat) in files.iter().filter(|(key, seat)| **key != control && is_near(seat)) {
            let opened = match open_at(&seat.places, *key, self.search.devices(), self.pins) {
                Ok(opened) => opened,
                Err(NotSeen::Own(errno)) => return Err(own(errno)),
                Err(_) => continue,
            };
            let len = opened.len.min(seat_len_bytes(LANES_PER_SESSION_MAX));
            for stripe in 0..len as usize / SEAT_STRIPE_BYTES {
                let at = stripe * SEAT_STRIPE_BYTES;
                let Ok(words) = read_words::<STRIPE_WORDS>(&opened.fd, at as u64) else { break };
                let id = [words[SEAT_LANE_ID_OFFSET / 8], words[SEAT_LANE_ID_OFFSET / 8 + 1]];
                if bytemuck::cast::<_, [u8; 16]>(id) != look.terms.id {
                    continue;
                }
                let word = |offset: usize| words[offset / 8];
                if word(CONSUMED_OFFSET) == 0
                    && word(SEAT_KIND_OFFSET) as u32 == 0
                    && word(WAIT_EPOCH_OFFSET) as u32 == 0
                {
                    // Nobody reads by it.
                    continue;
                }
                if self.open(RegionKind::Seat, *key, seat, Seals::SHRINK | Seals::GROW, lane)?.is_some() {
                    let region = lane.regions.len() - 1;
                    lane.regions[region].words = words_of(&words, &STRIPE, at);
                    begins.extend(check_stripe(&words, look, &lane.regions[region].writer, &mut lane.faults));
                }
            }
        }
        Ok(begins)
    }
}

/// Checks what a reader says, and gives the positions where it says that records begin.
fn check_stripe(
    words: &[u64; STRIPE_WORDS],
    look: &LaneLook,
    reader: &Option<ProcessView>,
    faults: &mut Vec<String>,
) -> [u64; 2] {
    let who =
        reader.as_ref().map_or_else(|| "a reader".to_owned(), |process| format!("the reader in process {process}"));
    let word = |offset: usize| words[offset / 8];
    let consumed = word(CONSUMED_OFFSET) & !CONSUMED_LEFT_BIT;
    let (read, kind, align) = (word(READ_OFFSET), word(SEAT_KIND_OFFSET) as u32, look.terms.geometry.record_align());
    // The lane may have gone on for a ring since its words were read, and a reader that comes may not have begun.
    let reached = look.published.saturating_add(look.terms.geometry.capacity());
    for (name, position) in [("consumed", consumed), ("read", read)] {
        if position > reached {
            faults.push(format!("{who} says {name} {position}, far beyond what is published, {}", look.published));
        } else if position & (align - 1) != 0 {
            faults.push(format!("{who} says {name} {position}, where no record can begin"));
        }
    }
    if kind > 3 {
        faults.push(format!("{who} says that it reads in the way {kind}, which is none"));
    }
    [consumed, read]
}

fn words_of(words: &[u64], names: &[(&'static str, usize, usize)], base: usize) -> Vec<WordView> {
    let word = |&(name, offset, len): &(&'static str, usize, usize)| {
        let whole = words[offset / 8];
        let value = match (len, offset % 8) {
            (8, _) => whole,
            (_, 0) => u64::from(whole as u32),
            _ => whole >> 32,
        };
        WordView { name, offset: (base + offset) as u64, value }
    };
    names.iter().map(word).collect()
}

/// The examination, which ends with what could not be looked at.
fn fault(mut lane: Examination, what: &str, miss: NotSeen) -> Result<Examination> {
    match miss {
        NotSeen::Own(errno) => Err(own(errno)),
        miss => {
            lane.faults.push(format!("{what} cannot be looked at: {}", sentence(miss)));
            Ok(lane)
        }
    }
}

fn sentence(miss: NotSeen) -> String {
    match miss {
        NotSeen::Nothing => Reason::Gone.to_string(),
        NotSeen::Reason(reason) => reason.to_string(),
        NotSeen::Own(errno) => errno.to_string(),
    }
}
