//! What comes with an Offer: checked, mapped and sealed.
//!
//! The invariant: nothing is mapped before its seals, its size and its geometry have been checked, and every descriptor
//! is owned from the moment it came.

use super::options::SessionOptions;
use super::unwelcome;
use crate::crash;
use crate::error::{Error, Result};
use crate::layout::{CONTROL_LEN_BYTES, ControlHeader, seat_len_bytes};
use crate::memory::{ControlMap, LaneMap, SeatMap};
use crate::os::bell::{Bell, BellEnd};
use crate::os::spin::has_one_processor;
use crate::os::thread::{self, STACK_BYTES};
use crate::region::{Mapping, Region, Seals};
use crate::sync::Ordering;
use crate::wire::{LaneTerms, Offer, OfferedLane};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};

/// One lane of an Offer, mapped.
#[derive(Debug)]
pub(super) struct OpenedLane {
    // Dropped in this order: the ring before the seat.
    pub(super) map: Arc<LaneMap>,
    pub(super) seat: SeatMap,
    pub(super) bell: BellEnd,
    /// What it rings when it releases, if the lane has it.
    pub(super) space_bell: Option<Bell>,
    pub(super) terms: LaneTerms,
}

/// How many threads may be left behind at once that open what was offered: those of sessions that are over. Only peers
/// that keep the locks of their files leave any.
const LEFT_BEHIND_MAX: usize = 64;
/// How many are, in this process.
static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// A thread that waits for what is to be opened. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Opener {
    hands_over: SyncSender<(Offer, Vec<OwnedFd>)>,
    outcome: Receiver<Result<Vec<OpenedLane>>>,
    has_parted: Arc<AtomicBool>,
}

/// What is being opened. Dropping it leaves the thread behind that does it.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) outcome: Receiver<Result<Vec<OpenedLane>>>,
    _waits: Waiting,
}

/// The end that waits for the thread; whether one of the two ends has gone.
#[derive(Debug)]
struct Waiting(Arc<AtomicBool>);

/// The thread's end.
struct Opens(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        LEFT_BEHIND.fetch_add(1, Ordering::Relaxed);
        // Pairs with the swap of the thread: who comes second takes back what was counted.
        if self.0.swap(true, Ordering::AcqRel) {
            LEFT_BEHIND.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Opens {
    fn drop(&mut self) {
        // Pairs with the swap of the one who waits.
        if self.0.swap(true, Ordering::AcqRel) {
            LEFT_BEHIND.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Begins to open what came with an Offer, as an [`Opener`] does that is started for it.
pub(super) fn begin_opening(
    offer: Offer,
    fds: Vec<OwnedFd>,
    options: &SessionOptions,
    then: impl FnOnce() + Send + 'static,
) -> Result<Opening> {
    match Opener::start(options, then) {
        Ok(opener) => Ok(opener.open(offer, fds)),
        Err(error) => {
            unwelcome::close(fds);
            Err(error)
        }
    }
}

impl Opener {
    /// Starts a thread that opens what comes with an Offer: the process that made the files can keep their locks for as
    /// long as it likes. Who starts it before the Offer is there waits less: both take some time.
    ///
    /// It calls `then` when the outcome can be received. A caller that does not wait for it leaves the thread behind,
    /// which closes what it has when it ends; fails while too many are left behind.
    pub(super) fn start(options: &SessionOptions, then: impl FnOnce() + Send + 'static) -> Result<Self> {
        if LEFT_BEHIND.load(Ordering::Relaxed) >= LEFT_BEHIND_MAX {
            let doing = format!("open what is offered while {LEFT_BEHIND_MAX} threads still open what others offered");
            return Err(Error::os(doing)(Errno::AGAIN));
        }
        let (prefault, core_dumps) = (options.prefault, options.core_dumps);
        let (hands_over, handed) = sync_channel::<(Offer, Vec<OwnedFd>)>(1);
        let (says, outcome) = sync_channel(1);
        let has_parted = Arc::new(AtomicBool::new(false));
        let opens = Opens(Arc::clone(&has_parted));
        let open = move || {
            // Asked for the first time it takes some twenty system calls. The first wait for a record asks it too.
            has_one_processor();
            let Ok((offer, fds)) = handed.recv() else { return };
            let lanes = open_lanes(&offer, fds, prefault).inspect(|lanes| {
                lanes.iter().filter(|_| core_dumps).for_each(|lane| lane.map.include_in_dumps());
            });
            let opened = lanes.iter().flatten().filter(|_| prefault);
            let opened: Vec<_> = opened.map(|lane| Arc::downgrade(&lane.map)).collect();
            // Nobody may be waiting any more.
            let _ = says.send(lanes);
            drop(opens);
            then();
            thread::let_others_run();
            prefault_while_used(&opened);
        };
        thread::start("fdring-opener", STACK_BYTES, open)?;
        Ok(Self { hands_over, outcome, has_parted })
    }

    /// Begins to open what came with an Offer. Only from here on can the thread be left behind.
    pub(super) fn open(self, offer: Offer, fds: Vec<OwnedFd>) -> Opening {
        let Self { hands_over, outcome, has_parted } = self;
        let opening = Opening { outcome, _waits: Waiting(has_parted) };
        if let Err(SendError((_, fds))) = hands_over.send((offer, fds)) {
            // The thread has ended by a panic, and the receiver of its outcome hears that.
            unwelcome::close(fds);
        }
        opening
    }
}

/// Checks, maps and seals all that came with an Offer.
fn open_lanes(offer: &Offer, fds: Vec<OwnedFd>, prefault: bool) -> Result<Vec<OpenedLane>> {
    // The frame's parser has compared the count. The loop below takes them in the order of the protocol.
    let mut fds = unwelcome::check_kinds(offer, fds)?.into_iter();
    let mut next = |what: &str| fds.next().ok_or_else(|| Error::peer("reading the Offer", format!("no {what} came")));
    let seat = open_seat(next("seat")?, offer.lanes.len())?;
    let mut lanes = Vec::with_capacity(offer.lanes.len());
    for (index, lane) in offer.lanes.iter().enumerate() {
        let bell = BellEnd::receive(lane.bell, next("bell")?)?;
        let map = open_lane(lane, next("control region")?, next("data region")?, prefault)?;
        let space_bell = if lane.terms.has_space_bell { Some(Bell::receive(next("space bell")?)?) } else { None };
        let seat = SeatMap::new(Arc::clone(&seat), index);
        check_stripe(&seat, &lane.terms)?;
        lanes.push(OpenedLane { map: Arc::new(map), seat, bell, space_bell, terms: lane.terms.clone() });
    }
    Ok(lanes)
}

/// Maps the seat for writing, and then seals it against every other writer.
fn open_seat(fd: OwnedFd, lanes: usize) -> Result<Arc<Mapping>> {
    let seat = Region::receive(fd, "the seat", seat_len_bytes(lanes), Seals::SHRINK | Seals::GROW)?;
    let seals = seat.seals()?;
    if [Seals::WRITE, Seals::FUTURE_WRITE, Seals::SEAL].iter().any(|seal| seals.contains(*seal)) {
        let fault = format!("its memfd has the seals {seals}, so that no seat can be taken there");
        return Err(Error::peer("handing over the seat", fault));
    }
    let mapping = seat.map_read_write().map_err(unwelcome::blame_for_permission)?;
    crash::point!("session-seat-mapped");
    seat.seal(Seals::FUTURE_WRITE).map_err(unwelcome::blame_for_permission)?;
    crash::point!("session-seat-sealed");
    // Until that seal the producer's side could punch holes into it, which a later write here would have to fill.
    seat.reallocate()?;
    Ok(Arc::new(mapping))
}

fn open_lane(lane: &OfferedLane, control: OwnedFd, data: OwnedFd, prefault: bool) -> Result<LaneMap> {
    let terms = &lane.terms;
    let shape = Seals::SHRINK | Seals::GROW | Seals::FUTURE_WRITE;
    let control = Region::receive(control, "the control region", CONTROL_LEN_BYTES, shape | Seals::SEAL)?;
    let control = ControlMap::new(control.map_read_only().map_err(unwelcome::blame_for_permission)?);
    let header = control.header();
    check_header(&header, terms)?;
    let data = Region::receive(data, "the data region", terms.geometry.capacity(), shape)?;
    let inode = data.inode()?;
    if header.data_inode != inode {
        let fault =
            format!("it names the data region with the inode {}, and that came with {inode}", header.data_inode);
        return Err(Error::peer(format!("reading the control region of lane {}", terms.name), fault));
    }
    // Where there is no hole, none comes: FUTURE_WRITE keeps everyone from punching one.
    let prefault_at_once = prefault && !data.has_no_hole();
    let data = data.map_read_only().map_err(unwelcome::blame_for_permission)?;
    if prefault_at_once {
        // A page for which there is no memory is an error here, where a record's first touch of it would raise SIGBUS.
        data.prefault()?;
    }
    let map = LaneMap::new(control, data, terms.geometry);
    Ok(map.stamped(terms.is_stamped).with_record_fds(terms.record_fds_max))
}

/// Maps the pages of rings while their readers begin to read: for 4 MiB that takes about as long as all else that is
/// done to connect. It stops when a reader has gone.
fn prefault_while_used(rings: &[Weak<LaneMap>]) {
    for ring in rings {
        let mut next = Some(0);
        while let Some((ring, offset)) = ring.upgrade().zip(next) {
            next = ring.prefault_step(offset);
            drop(ring);
            // On one processor, its reader goes first.
            thread::let_others_run();
        }
    }
}

/// Checks that a stripe of the seat is for the lane that was offered.
fn check_stripe(seat: &SeatMap, terms: &LaneTerms) -> Result<()> {
    match seat.lane_id() == terms.id {
        true => Ok(()),
        false => {
            let fault = format!("the stripe of lane {} has the id of another lane", terms.name);
            Err(Error::peer("handing over the seat", fault))
        }
    }
}

/// Checks that the control region describes the lane that was offered; which data region it names is another question.
pub(crate) fn check_header(header: &ControlHeader, terms: &LaneTerms) -> Result<()> {
    let checked = terms.check_header(header);
    checked.map_err(|fault| Error::peer(format!("reading the control region of lane {}", terms.name), fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::thread::testing::{Work, start_instead};
    use std::sync::mpsc::channel;

    #[test]
    fn threads_that_were_never_given_an_offer_are_not_left_behind() {
        // They run later than anybody who connects meanwhile.
        let (keeps, kept) = channel::<Work>();
        let _instead = start_instead(move |work| {
            keeps.send(work).unwrap();
            Ok(())
        });
        for _ in 0..2 * LEFT_BEHIND_MAX {
            drop(Opener::start(&SessionOptions::new(), || ()).unwrap());
        }
        kept.try_iter().for_each(|work| work());
    }
}
