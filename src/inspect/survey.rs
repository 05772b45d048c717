//! Finding the lanes: all processes are looked through, and what they have of lanes is put together.
//!
//! The invariant: what is open of a lane is closed when a look is done. A survey keeps directories of /proc alone, of a
//! few processes, and only from a look at what is known on.

use super::files::{FileKey, FileRole, FoundFile, MemfdName, OpenPath, Via, open_at, read_into, read_words};
use super::process::{NotSeen, Pins, Process, is_hiding, is_in_namespace, numbers};
use super::words::{CONTROL_WORDS, LaneLook, STRIPE_WORDS, StripeLook};
use super::{ConsumerView, LaneState, LaneView, ProcessView, Rates, Reason, Survey, Unseen};
use crate::error::{Error, Result};
use crate::lane::LaneInfo;
use crate::layout::{self, CONTROL_LEN_BYTES, seat_len_bytes};
use crate::region::{Region, Seals, devices_of_memory};
use crate::wire::LANES_PER_SESSION_MAX;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The most control regions that are open at a time during a look.
const REGIONS_MAX: usize = 64;

/// Finds every lane of every process that this one may look into: those of its user, and for root all.
///
/// It takes about as long as listing the open files of these processes does: milliseconds for some hundreds.
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// let ticks = fdring::Producer::create("doc-inspect-lanes")?;
/// let survey = fdring::inspect::lanes()?;
/// assert!(survey.lanes.iter().any(|lane| lane.info.name == "doc-inspect-lanes"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Os`] if /proc is missing, or this process is short of descriptors. What cannot be seen of other processes
/// is no error: [`Survey::unseen`] lists it.
pub fn lanes() -> Result<Survey> {
    survey(None)
}

/// Finds the lanes that the process of this number writes or reads.
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// let ticks = fdring::Producer::create("doc-inspect-of-process")?;
/// let survey = fdring::inspect::process(std::process::id())?;
/// assert_eq!(survey.lanes[0].producer.as_ref().unwrap().pid, std::process::id());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Os`] if there is no such process, /proc is missing, or this process is short of descriptors.
pub fn process(pid: u32) -> Result<Survey> {
    match Process::open(pid) {
        Err(NotSeen::Nothing) => Err(Error::os(format!("look at process {pid}"))(Errno::SRCH)),
        Err(NotSeen::Own(errno)) => Err(own(errno)),
        _ => survey(Some(pid)),
    }
}

impl Survey {
    /// Looks again, at what is there now, and compares: [`LaneView::rates`], and since when nothing has changed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = fdring::Producer::create("doc-inspect-again")?;
    /// let mut survey = fdring::inspect::lanes()?;
    /// ticks.send(b"hello")?;
    /// survey.look_again()?;
    /// # let lane = survey.lanes.iter().find(|lane| lane.info.name == "doc-inspect-again").unwrap();
    /// assert!(lane.rates.unwrap().bytes_per_second > 0.0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if /proc is missing, or this process is short of descriptors. The survey stays as it was.
    pub fn look_again(&mut self) -> Result<()> {
        let now = survey(self.scope)?;
        self.pins.keep(&now.search.processes());
        self.go_on_as(now);
        Ok(())
    }

    /// Looks again at the lanes that are known and compares, as [`look_again`](Self::look_again) does, and searches no
    /// process for others. That takes a fraction of the time where there are many processes.
    ///
    /// Lanes and readers that have come since are not found, and those that are gone are left out. The survey keeps the
    /// directories in /proc of up to 128 processes open from then on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = fdring::Producer::create("doc-inspect-known")?;
    /// let mut survey = fdring::inspect::lanes()?;
    /// ticks.send(b"hello")?;
    /// let late = fdring::Producer::create("doc-inspect-known-late")?;
    /// survey.look_at_known()?;
    /// # let lane = survey.lanes.iter().find(|lane| lane.info.name == "doc-inspect-known").unwrap();
    /// assert_eq!(lane.published, 16);
    /// assert!(!survey.lanes.iter().any(|lane| lane.info.name == "doc-inspect-known-late"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if /proc is missing, or this process is short of descriptors. The survey stays as it was.
    pub fn look_at_known(&mut self) -> Result<()> {
        let mut ended = Vec::new();
        for process in self.search.processes() {
            match self.pins.check(process) {
                Ok(()) => {}
                Err(NotSeen::Own(errno)) => return Err(own(errno)),
                Err(_) => ended.push(process.clone()),
            }
        }
        let mut search = Search { lost: Vec::new(), ..self.search.clone() };
        search.forget(&ended);
        let mut now = search.survey(self.scope, &mut self.pins)?;
        now.unseen.retain(|unseen| unseen.reason != Reason::Gone);
        self.go_on_as(now);
        Ok(())
    }

    /// Takes the place of this survey, once it was compared with it.
    fn go_on_as(&mut self, mut now: Self) {
        for lane in &mut now.lanes {
            if let Some(before) =
                self.lanes.iter().find(|before| before.control == lane.control && before.info.id == lane.info.id)
            {
                lane.compare(before);
            }
        }
        now.pins = std::mem::take(&mut self.pins);
        *self = now;
    }
}

impl LaneView {
    /// Notes what has changed since an earlier look.
    fn compare(&mut self, before: &Self) {
        let over = self.looked_at.saturating_duration_since(before.looked_at);
        let bytes = (self.published, before.published);
        self.rates = Some(Rates::between(over, bytes, (self.records, before.records)));
        for consumer in &mut self.consumers {
            let Some(before) = before.consumers.iter().find(|before| before.seat == consumer.seat) else { continue };
            let bytes = (consumer.look.read(), before.look.read());
            consumer.rates = Some(Rates::between(over, bytes, (consumer.records, before.records)));
            if consumer.look.is_still(&before.look) {
                consumer.still_for = before.still_for + over;
            }
            if consumer.look.sleeps_on(&before.look) {
                consumer.asleep_for = before.asleep_for.map(|asleep| asleep + over);
            }
        }
    }
}

impl Rates {
    /// Of two numbers that grow, as they are now and as they were before.
    fn between(over: Duration, bytes: (u64, u64), records: (u64, u64)) -> Self {
        let per_second = |(now, then): (u64, u64)| now.saturating_sub(then) as f64 / over.as_secs_f64().max(1e-9);
        Self { over, bytes_per_second: per_second(bytes), records_per_second: per_second(records) }
    }
}

/// A file of a lane, and who has it.
#[derive(Clone, Debug)]
pub(super) struct LaneFile {
    pub(super) name: MemfdName,
    pub(super) places: Vec<OpenPath>,
}

impl LaneFile {
    /// The process that can write it: of several the first that was started. A process that is just being started by
    /// another has the memory of that one until it runs its own program, and so has a forked child. Both may have begun
    /// in one tick: then it is the one that is not another's child.
    pub(super) fn writer(&self) -> Option<&ProcessView> {
        let writers = || {
            let writes = |place: &&OpenPath| matches!(place.via, Via::Map { is_writable: true, .. });
            self.places.iter().filter(writes)
        };
        let is_child = |place: &OpenPath| writers().any(|other| other.process.pid == place.parent);
        writers().min_by_key(|place| (place.process.started, is_child(place))).map(|place| &place.process)
    }

    pub(super) fn is_with(&self, other: &Self) -> bool {
        let pids = || other.places.iter().map(|place| place.process.pid);
        self.places.iter().any(|place| pids().any(|pid| pid == place.process.pid))
    }
}

/// What was found in the processes that were looked through.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    devices: Vec<(u32, u32)>,
    files: Arc<BTreeMap<FileKey, LaneFile>>,
    /// The numbers of processes that could not be looked into, and the users to whom files belong that they make.
    unseen_processes: Vec<(u32, u32)>,
    unseen: Vec<Unseen>,
    /// Files that were found, and could not be looked at.
    lost: Vec<Unseen>,
    /// Whether /proc hides processes of others, or what they are (its option `hidepid`).
    is_hidden_from: bool,
}

pub(super) fn own(errno: Errno) -> Error {
    Error::os("look at the lanes of other processes")(errno)
}

fn survey(scope: Option<u32>) -> Result<Survey> {
    let mut search = Search { devices: devices_of_memory()?, is_hidden_from: is_hiding(), ..Search::default() };
    for pid in numbers()? {
        search.look_through(pid)?;
    }
    search.survey(scope, &mut Pins::default())
}

impl Search {
    /// Looks at what was found.
    fn survey(mut self, scope: Option<u32>, pins: &mut Pins) -> Result<Survey> {
        let mut lanes = self.lanes(scope, pins)?;
        let mut unseen = [&self.unseen[..], &self.lost].concat();
        if let Some(pid) = scope {
            let is_of = |process: &Option<ProcessView>| process.as_ref().is_some_and(|process| process.pid == pid);
            lanes
                .retain(|lane| is_of(&lane.producer) || lane.consumers.iter().any(|consumer| is_of(&consumer.process)));
            unseen.retain(|unseen| unseen.process.is_none() || is_of(&unseen.process));
        }
        unseen.extend(
            [(self.is_hidden_from, Reason::Hidden), (is_in_namespace(), Reason::Namespace)]
                .into_iter()
                .filter_map(|(is_so, reason)| is_so.then_some(Unseen { process: None, lane: None, reason })),
        );
        lanes.sort_by(|one, other| (&one.info.name, one.control).cmp(&(&other.info.name, other.control)));
        Ok(Survey { lanes, unseen, scope, search: self, pins: Pins::default() })
    }

    pub(super) fn files(&self) -> &BTreeMap<FileKey, LaneFile> {
        &self.files
    }

    pub(super) fn devices(&self) -> &[(u32, u32)] {
        &self.devices
    }

    /// The processes that have something of a lane.
    fn processes(&self) -> Vec<&ProcessView> {
        let mut processes: Vec<&ProcessView> =
            self.files.values().flat_map(|file| &file.places).map(|place| &place.process).collect();
        processes.sort_by_key(|process| process.pid);
        processes.dedup();
        processes
    }

    /// Leaves out what processes had that have ended.
    fn forget(&mut self, ended: &[ProcessView]) {
        if !ended.is_empty() {
            let files = Arc::make_mut(&mut self.files);
            files.values_mut().for_each(|file| file.places.retain(|place| !ended.contains(&place.process)));
            files.retain(|_, file| !file.places.is_empty());
        }
    }

    /// Notes what a process has of lanes.
    fn look_through(&mut self, pid: u32) -> Result<()> {
        let process = match Process::open(pid) {
            Ok(process) => process,
            Err(NotSeen::Own(errno)) => return Err(own(errno)),
            Err(NotSeen::Nothing) => return Ok(()),
            // Not even who it is.
            Err(NotSeen::Reason(_)) => {
                self.is_hidden_from = true;
                return Ok(());
            }
        };
        match process.files(&self.devices) {
            Ok(found) => {
                for FoundFile { key, name, via } in found {
                    let files = Arc::make_mut(&mut self.files);
                    let file = files.entry(key).or_insert_with(|| LaneFile { name, places: Vec::new() });
                    file.places.push(OpenPath { process: process.view.clone(), parent: process.parent, via });
                }
            }
            Err(NotSeen::Own(errno)) => return Err(own(errno)),
            Err(NotSeen::Nothing) => {}
            Err(NotSeen::Reason(reason)) => {
                self.unseen_processes.push((pid, process.file_uid()));
                self.unseen.push(Unseen { process: Some(process.view), lane: None, reason });
            }
        }
        Ok(())
    }

    /// Puts together what was found.
    fn lanes(&mut self, scope: Option<u32>, pins: &mut Pins) -> Result<Vec<LaneView>> {
        let files = Arc::clone(&self.files);
        let of_role = |role| files.iter().filter(move |(_, file)| file.name.role == role);
        let mut looks = Vec::new();
        for (key, file) in of_role(FileRole::Control) {
            let look = self.look_at_lane(*key, file, pins);
            if let Some(mut opened) = self.or_unseen(scope, file, look)? {
                opened.region = opened.region.filter(|_| looks.len() < REGIONS_MAX);
                looks.push((*key, file, opened));
            }
        }
        let mut all_readers = Vec::new();
        for (key, file) in of_role(FileRole::Seat) {
            let readers = self.readers_of(*key, file, pins);
            all_readers.extend(self.or_unseen(scope, file, readers)?.into_iter().flatten());
        }
        let mut lanes = Vec::new();
        for (key, file, SurveyedLane { look: before, uid, since, region }) in looks {
            let looked_at = Instant::now();
            let after = match region {
                Some(region) => look_at_region(&region),
                None => self.look_at_lane(key, file, pins).map(|opened| opened.look),
            };
            let after = match after {
                Ok(after) => after,
                Err(NotSeen::Own(errno)) => return Err(own(errno)),
                // It was closed meanwhile: as it was then.
                Err(_) => before.clone(),
            };
            let readers = all_readers.iter().filter(|reader| reader.look.lane_id == before.terms.id);
            let readers = readers.filter(|reader| reader.file.is_with(file));
            let mut consumers: Vec<_> = readers.filter_map(|reader| reader.view(&before, &after)).collect();
            consumers.sort_by_key(|consumer| consumer.process.as_ref().map(|process| process.pid));
            let producer = file.writer().cloned();
            let data = of_role(FileRole::Data).find(|(data, _)| data.inode == after.data_inode);
            let data = data.map(|(key, file)| (*key, file.places.clone()));
            let places = file.places.iter().chain(data.iter().flat_map(|(_, places)| places));
            let keepers = keepers(places, producer.as_ref(), &consumers);
            lanes.push(LaneView {
                info: LaneInfo::new(&after.terms),
                state: self.state_of(&after, file, uid),
                producer,
                since,
                published: after.published,
                is_blocked: after.is_blocked,
                evictions: after.evictions,
                records: after.counters.records,
                record_bytes: after.counters.record_bytes,
                bells_rung: after.counters.bells_rung,
                times_blocked: after.counters.times_blocked,
                consumers,
                keepers,
                rates: None,
                looked_at,
                control: key,
                control_places: file.places.clone(),
                data,
            });
        }
        Ok(lanes)
    }

    /// What was found; otherwise it is noted why it was not. That is said of the process that can write the file, or of
    /// one that has it: the one that is asked about, if it does.
    fn or_unseen<T>(&mut self, scope: Option<u32>, file: &LaneFile, look: Result<T, NotSeen>) -> Result<Option<T>> {
        let reason = match look {
            Ok(found) => return Ok(Some(found)),
            Err(NotSeen::Own(errno)) => return Err(own(errno)),
            Err(NotSeen::Nothing) => Reason::Gone,
            Err(NotSeen::Reason(reason)) => reason,
        };
        let mut holders = file.places.iter().map(|place| &place.process);
        let asked_about = holders.clone().find(|process| scope == Some(process.pid));
        let process = file.writer().or(asked_about).or_else(|| holders.next()).cloned();
        self.lost.push(Unseen { process, lane: file.name.lane.clone(), reason });
        Ok(None)
    }

    /// What a control region says.
    fn look_at_lane(&self, key: FileKey, file: &LaneFile, pins: &mut Pins) -> Result<SurveyedLane, NotSeen> {
        let opened = open_at(&file.places, key, &self.devices, pins)?;
        let (uid, since) = (opened.uid, opened.since);
        let seals = Seals::SHRINK | Seals::GROW | Seals::FUTURE_WRITE | Seals::SEAL;
        let region = opened.into_region("the control region", CONTROL_LEN_BYTES, seals)?;
        Ok(SurveyedLane { look: look_at_region(&region)?, uid, since, region: Some(region) })
    }

    /// Those who read by the stripes of a seat.
    fn readers_of<'a>(
        &self,
        key: FileKey,
        file: &'a LaneFile,
        pins: &mut Pins,
    ) -> Result<Vec<SeatReader<'a>>, NotSeen> {
        let opened = open_at(&file.places, key, &self.devices, pins)?;
        let (len_bytes, since) = (opened.len.min(seat_len_bytes(LANES_PER_SESSION_MAX)), opened.since);
        let region = opened.into_region("the seat", len_bytes, Seals::SHRINK | Seals::GROW)?;
        let mut words = vec![0; len_bytes as usize / 8];
        read_into(&region, 0, &mut words)?;
        let stripes = words.as_chunks::<STRIPE_WORDS>().0.iter().enumerate();
        let reader =
            |(index, words)| Some(SeatReader { seat: (key, index), file, look: StripeLook::new(words)?, since });
        Ok(stripes.filter_map(reader).collect())
    }

    /// Whether more can come on a lane, which was made by a process of the user `uid`.
    fn state_of(&self, look: &LaneLook, file: &LaneFile, uid: u32) -> LaneState {
        let may_be_unseen = || self.may_be_unseen(file, uid);
        match (look.state, file.writer()) {
            (layout::LaneState::Finished, _) => LaneState::Finished,
            (layout::LaneState::Abandoned, _) => LaneState::Abandoned,
            (layout::LaneState::Open, Some(_)) => LaneState::Live,
            (layout::LaneState::Open, None) if may_be_unseen() => LaneState::ProducerUnseen,
            (layout::LaneState::Open, None) => LaneState::ProducerDead,
        }
    }

    /// Whether a process that cannot be seen may be the producer of a lane that was made by the user `uid`.
    fn may_be_unseen(&self, file: &LaneFile, uid: u32) -> bool {
        // Those who read it watch its process, and know whether that has ended.
        let processes = file.places.iter().filter_map(|place| Process::open_again(&place.process).ok());
        let watched: Vec<i32> = processes.filter_map(|process| process.watched().ok()).flatten().collect();
        if !watched.is_empty() {
            return watched.into_iter().any(|pid| match pid {
                0 => true,
                ..0 => false,
                1.. => Pid::from_raw(pid).is_some_and(|pid| self.is_unseen(pid)),
            });
        }
        self.is_hidden_from || is_in_namespace() || self.unseen_processes.iter().any(|(_, unseen)| *unseen == uid)
    }

    /// Whether there is a process of that number which could not be looked into.
    fn is_unseen(&self, pid: Pid) -> bool {
        let is_known = self.unseen_processes.iter().any(|(unseen, _)| unseen.cast_signed() == pid.as_raw_pid());
        // What /proc hides must not be sent a signal either.
        is_known || self.is_hidden_from && test_kill_process(pid) == Err(Errno::PERM)
    }
}

/// A lane, and what its control region said when it was opened.
#[derive(Debug)]
struct SurveyedLane {
    look: LaneLook,
    /// The user who made it, and when.
    uid: u32,
    since: Option<SystemTime>,
    /// To look again.
    region: Option<Region>,
}

fn look_at_region(control: &Region) -> Result<LaneLook, NotSeen> {
    let words: [u64; CONTROL_WORDS] = read_words(control, 0)?;
    let broken = |fault| NotSeen::Reason(Reason::Broken { fault: format!("the control region: {fault}") });
    LaneLook::new(&words).map_err(broken)
}

/// One who reads by a stripe of a seat.
#[derive(Debug)]
struct SeatReader<'a> {
    seat: (FileKey, usize),
    file: &'a LaneFile,
    look: StripeLook,
    since: Option<SystemTime>,
}

impl SeatReader<'_> {
    /// What is known of it; `None` if it has ended.
    fn view(&self, before: &LaneLook, after: &LaneLook) -> Option<ConsumerView> {
        let process = match (self.file.writer(), self.file.name.pid) {
            (Some(process), _) => Some(process.clone()),
            // What its producer calls it by: nobody who can be seen maps the seat.
            (None, Some(pid)) => match Process::open(pid) {
                Ok(process) if process.files(&[]).is_err() => Some(process.view),
                Err(NotSeen::Reason(_) | NotSeen::Own(_)) => None,
                // It has ended, or has no such seat.
                Ok(_) | Err(NotSeen::Nothing) => return None,
            },
            (None, None) => None,
        };
        let view = self.look.view(self.seat, before, after);
        let asleep_for = view.is_asleep.then_some(Duration::ZERO);
        Some(ConsumerView { process, since: self.since, asleep_for, ..view })
    }
}

/// Who keeps a lane's memory beside its producer and those who read it.
fn keepers<'a>(
    places: impl Iterator<Item = &'a OpenPath>,
    producer: Option<&ProcessView>,
    consumers: &[ConsumerView],
) -> Vec<ProcessView> {
    let known = || producer.into_iter().chain(consumers.iter().filter_map(|consumer| consumer.process.as_ref()));
    let mut keepers: Vec<ProcessView> = Vec::new();
    for OpenPath { process, .. } in places {
        if !known().any(|known| known.pid == process.pid) && !keepers.contains(process) {
            keepers.push(process.clone());
        }
    }
    keepers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LaneOptions;
    use crate::{Attach, Consumer, Producer, Server, Session};
    use rustix::fs::{Mode, OFlags, open};

    /// The calls of read(2) and its kin that this thread has made, of which this is one. See proc_pid_io(5).
    fn reads() -> u64 {
        let io = open("/proc/thread-self/io", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut bytes = [0; 512];
        let len = rustix::io::read(io, &mut bytes[..]).unwrap();
        let text = std::str::from_utf8(&bytes[..len]).unwrap();
        text.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
    }

    /// A process that is just being started has the memory of the one that starts it for a moment, and its number may
    /// be the smaller one: those that are found first come first.
    #[test]
    fn of_several_that_can_write_a_file_the_first_that_was_started_is_its_writer() {
        let place = |(pid, parent), started, via| {
            let process = ProcessView { pid, uid: None, command: String::new(), started };
            OpenPath { process, parent, via }
        };
        let writes = || Via::Map { start: 0, end: 4096, is_writable: true };
        let reads = Via::Map { start: 0, end: 4096, is_writable: false };
        let name = MemfdName::of_link(b"/memfd:fdring:seat (deleted)").unwrap();
        let places = vec![
            place((2, 1), 5, reads),
            place((3, 7), 20, writes()),
            place((5, 7), 10, writes()), // in the tick in which its parent began
            place((7, 2), 10, writes()),
            place((9, 7), 30, writes()),
        ];
        let mut file = LaneFile { name, places };
        assert_eq!(file.writer().map(|process| process.pid), Some(7));
        file.places.retain(|place| place.process.pid < 7);
        assert_eq!(file.writer().map(|process| process.pid), Some(5), "that its parent is gone is nothing to it");
        file.places.retain(|place| place.process.pid < 3);
        assert!(file.writer().is_none());
    }

    #[test]
    fn a_look_at_what_is_known_reads_each_region_and_no_process() {
        let lanes: Vec<Producer> = (0..20)
            .map(|number| LaneOptions::new(format!("reads-{number}")).capacity(4096).create().unwrap())
            .collect();
        let _server = Server::listen("@fdring-inspect-reads", &lanes).unwrap();
        let attach = |lane: &Producer| {
            let session = Session::connect("@fdring-inspect-reads").unwrap();
            session.attach_one(Attach::lane(&lane.lane().name)).unwrap()
        };
        let _consumers: Vec<Consumer> = lanes.iter().map(attach).collect();
        // Of this process alone: others may come and go.
        let mut search = Search { devices: devices_of_memory().unwrap(), ..Search::default() };
        search.look_through(std::process::id()).unwrap();
        let mut survey = search.survey(None, &mut Pins::default()).unwrap();
        survey.look_at_known().unwrap();
        let of_role = |role| survey.search.files.values().filter(|file| file.name.role == role).count() as u64;
        let (controls, seats) = (of_role(FileRole::Control), of_role(FileRole::Seat));
        assert!(controls >= 20 && seats >= 20);
        let mut look = || {
            let before = reads();
            survey.look_at_known().unwrap();
            reads() - before
        };
        // The least of some looks: what another test's reader leaves behind takes more.
        let took = (0..50).map(|_| look()).min().unwrap();
        // Twice each lane, once each seat, and the count itself.
        assert!(took <= 2 * controls + seats + 1, "{took} reads of {controls} lanes and {seats} seats");
    }
}
