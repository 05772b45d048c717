//! The seats of a consumer, one on each lane of its session: offered, taken, and given up.
//!
//! The invariant: a seat is taken only if nobody but those who map it at that moment can ever write it, and nobody can
//! take its memory away. When a consumer has gone is not decided here: [`serving`](super::serving) does that.

use super::ending::Ending;
use super::inquiry::Inquiry;
use crate::crash;
use crate::error::{Error, Result};
use crate::lane::{Lane, Occupant, SeatHandle};
use crate::layout::{SEAT_LANE_ID_OFFSET, SEAT_STRIPE_BYTES, seat_len_bytes};
use crate::memory::SeatMap;
use crate::os::barrier;
use crate::os::bell::{Bell, BellEnd};
use crate::os::fd_sender::FdSender;
use crate::os::notice::Notice;
use crate::os::peer::Peer;
use crate::region::{HugePages, Mapping, Region, RegionOptions, Seals, close_received};
use crate::ring::places::NoPlace;
use crate::ring::roster::Joiner;
use crate::sync::Ordering;
use crate::terms::{Access, Delivery, Refusal, Start};
use crate::wire::{LaneAttach, Offer, StartAt};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

/// The number of the next seat. One count for all servers of this process: several may offer the same lane.
static NEXT_SEAT_ID: AtomicU64 = AtomicU64::new(1);

/// The consumer's ends of the bells of a lane.
#[derive(Debug)]
pub(super) struct BellEnds {
    bell: OwnedFd,
    space_bell: Option<OwnedFd>,
}

/// A seat and the bells that are offered to a consumer, for the lanes of its session.
#[derive(Debug)]
pub(super) struct Offered {
    seat: Region,
    lanes: Vec<Arc<Lane>>,
    /// Of each lane its bell, and the end of its space bell, if it has one.
    bells: Vec<(Bell, Option<BellEnd>)>,
    /// The process id of the consumer, if it is known.
    pid: Option<u32>,
    uid: Option<u32>,
}

impl Offered {
    /// Makes the seat, and the bells of each lane; the consumer's ends of the bells, in the order of the lanes.
    pub(super) fn new(lanes: Vec<Arc<Lane>>, peer: &Peer) -> Result<(Self, Vec<BellEnds>)> {
        let Peer { pid, uid, .. } = *peer;
        let name = pid.map_or_else(|| "fdring:seat".to_owned(), |pid| format!("fdring:seat:{pid}"));
        let len_bytes = seat_len_bytes(lanes.len());
        let seat = Region::create(&RegionOptions { name: &name, len_bytes, huge_pages: HugePages::No })?;
        for (index, lane) in lanes.iter().enumerate() {
            seat.write_at(&lane.terms.id, (index * SEAT_STRIPE_BYTES + SEAT_LANE_ID_OFFSET) as u64)?;
        }
        seat.seal(Seals::SHRINK | Seals::GROW)?;
        let create = |lane: &Arc<Lane>| {
            let (bell, end) = Bell::create()?;
            let space_bell = if lane.terms.has_space_bell { Some(BellEnd::create()?) } else { None };
            let (heard, rung) = space_bell.unzip();
            Ok(((bell, heard), BellEnds { bell: end, space_bell: rung }))
        };
        let bells: Result<Vec<_>> = lanes.iter().map(create).collect();
        let (bells, ends) = bells?.into_iter().unzip();
        Ok((Self { seat, lanes, bells, pid, uid }, ends))
    }

    /// The descriptors of the Offer, in the order of the protocol.
    pub(super) fn descriptors<'a>(&'a self, bell_ends: &'a [BellEnds]) -> Vec<BorrowedFd<'a>> {
        let mut fds = vec![self.seat.as_fd()];
        for (lane, ends) in self.lanes.iter().zip(bell_ends) {
            fds.extend([ends.bell.as_fd(), lane.control.as_fd(), lane.data.as_fd()]);
            fds.extend(ends.space_bell.as_ref().map(AsFd::as_fd));
        }
        debug_assert_eq!(fds.len(), Offer::fd_count(self.lanes.iter().map(|lane| &lane.terms)), "that of the protocol");
        fds
    }

    /// Whether the consumer may send descriptors with its Attach: the sockets for those of records.
    pub(super) fn takes_sockets(&self) -> bool {
        self.lanes.iter().any(|lane| lane.terms.record_fds_max != 0)
    }

    /// How many lanes are offered.
    #[cfg(feature = "tracing")]
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn lanes_have_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.has_ended())
    }

    /// Checks the seat and gives the consumer its place on every lane that it reads; the seats, and where it starts on
    /// each lane, 0 if it does not read. `sockets` are those for the descriptors of records, of each lane where they
    /// are asked for. `notice` is raised if a lane evicts it.
    pub(super) fn take(
        self,
        terms: &[Option<LaneAttach>],
        sockets: Vec<OwnedFd>,
        notice: &Arc<Notice>,
    ) -> Result<(Seats, Vec<u64>), Ending> {
        let mut senders = self.take_sockets(terms, sockets)?;
        let wishes = self.lanes.iter().zip(terms).filter_map(|(lane, terms)| terms.as_ref().map(|terms| (lane, terms)));
        let starts: Result<Vec<Start>, Ending> = wishes.map(|(lane, terms)| start_of(lane, terms)).collect();
        let mut wishes = starts?.into_iter();
        let Self { seat, lanes, bells, pid, uid } = self;
        let mapping = Arc::new(check_seat(&seat)?);
        crash::point!("steward-seat-checked");
        let (id, since) = (NEXT_SEAT_ID.fetch_add(1, Ordering::Relaxed), Instant::now());
        let (mut places, mut starts) = (Vec::new(), vec![0; lanes.len()]);
        for (number, ((lane, (bell, space_bell)), terms)) in lanes.into_iter().zip(bells).zip(terms).enumerate() {
            let (Some(terms), Some(start)) = (terms, terms.and_then(|_| wishes.next())) else { continue };
            let (barrier, delivery, in_place) = (terms.barrier, terms.delivery, terms.access == Access::InPlace);
            let (words, evicted) = (SeatMap::new(Arc::clone(&mapping), number), Arc::new(AtomicBool::new(false)));
            let occupant = Occupant { pid, uid, since, reads_in_place: in_place };
            // A tap never holds the lane back, and so never rings.
            let bells = (bell, space_bell.filter(|_| delivery == Delivery::Lossless));
            let (sender, takes_fds) = (senders[number].take(), terms.descriptors);
            let port = SeatHandle::new(words, bells, sender, occupant, Arc::clone(&evicted), Arc::clone(notice));
            match lane.roster.join(&*lane.map, Joiner { id, start, delivery, barrier, takes_fds }, port) {
                Ok(start) => starts[number] = start,
                Err(error) => {
                    Seats { places, region: Arc::new(seat), id }.take_back();
                    return Err(refusal_of(error, &lane));
                }
            }
            // A tap looks twice instead: it makes its producer pay for nothing.
            let needs_barrier = delivery == Delivery::Lossless && barrier != lane.terms.barrier;
            places.push(LanePlace { lane, number, needs_barrier, in_place, evicted, is_told: false });
        }
        let seats = Seats { places, region: Arc::new(seat), id };
        crash::point!("steward-joined");
        seats.make_barrier()?;
        Ok((seats, starts))
    }
}

impl Offered {
    /// The sockets for the descriptors of records, of each lane if they are asked for.
    fn take_sockets(
        &self,
        terms: &[Option<LaneAttach>],
        sockets: Vec<OwnedFd>,
    ) -> Result<Vec<Option<FdSender>>, Ending> {
        let mut sockets = sockets.into_iter();
        let mut take = |number: usize, lane: &Lane| {
            let Some(socket) = sockets.next() else { return Ok(None) };
            FdSender::receive(socket, number, lane.terms.record_fds_max).map(Some)
        };
        let lanes = self.lanes.iter().zip(terms).enumerate();
        let senders = lanes.map(|(number, (lane, terms))| match terms {
            Some(LaneAttach { descriptors: true, .. }) => take(number, lane),
            _ => Ok(None),
        });
        let senders: Result<Vec<_>> = senders.collect();
        // After an error there may be some left.
        close_received(sockets.collect());
        senders.map_err(|error| match error {
            Error::Peer { .. } => Ending::Refuse(Refusal::Protocol, error.to_string()),
            error => Ending::own(error),
        })
    }
}

/// Where a consumer that is to read so starts, if that is implemented.
fn start_of(lane: &Lane, terms: &LaneAttach) -> Result<Start, Ending> {
    let refuse = |what: &str| {
        let sentence = format!("{what} is not implemented here; attach from the latest or oldest record on");
        Err(Ending::Refuse(Refusal::Unsupported, sentence))
    };
    if terms.descriptors && lane.terms.record_fds_max == 0 {
        let sentence =
            format!("records of lane {} have no descriptors; attach without asking for any", lane.terms.name);
        return Err(Ending::Refuse(Refusal::Unsupported, sentence));
    }
    if lane.terms.has_one_worker {
        return match terms.delivery {
            // Wherever it wants to begin: the records are for one worker, and this one is next.
            Delivery::Lossless => Ok(Start::Resume),
            Delivery::Lossy => refuse("a tap of the lane of one worker"),
        };
    }
    match terms.start {
        StartAt::Latest => Ok(Start::Latest),
        StartAt::Oldest => Ok(Start::Oldest),
        StartAt::Newest => Ok(Start::Newest),
        StartAt::Resume if terms.delivery == Delivery::Lossy => refuse("a tap that resumes"),
        StartAt::Resume if lane.roster.keeps_places() => Ok(Start::Resume),
        StartAt::Resume => Err(refusal_of(NoPlace::NotKept, lane)),
        StartAt::Position(position) => Ok(Start::At(position)),
    }
}

/// Tells a reader why it cannot begin where it wants to.
fn refusal_of(error: NoPlace, lane: &Lane) -> Ending {
    let name = &lane.terms.name;
    match error {
        NoPlace::NotKept => {
            let sentence =
                format!("lane {name} keeps no places to resume at; attach from the latest or oldest record on");
            Ending::Refuse(Refusal::Unsupported, sentence)
        }
        NoPlace::AllTaken => {
            let sentence = format!("no place of lane {name} is vacant for this user; try again later");
            Ending::Refuse(Refusal::Busy, sentence)
        }
        NoPlace::NotThere { position, oldest, published } => {
            let why = match position {
                _ if position < oldest => "it is no longer there",
                _ if position > published => "it is not reached yet",
                _ => "no record begins there",
            };
            let sentence = format!(
                "lane {name} has what it published from {oldest} to {published}, and cannot be read \
                 from {position} on: {why}"
            );
            Ending::Refuse(Refusal::Position, sentence)
        }
    }
}

/// Makes sure that nobody but those who map it now can ever write the seat or take its memory away, and maps it.
fn check_seat(seat: &Region) -> Result<Mapping, Ending> {
    let refuse = |sentence: &str| Err(Ending::Refuse(Refusal::Region, sentence.to_owned()));
    let seals = seat.seals().map_err(Ending::own)?;
    if !seals.contains(Seals::FUTURE_WRITE) {
        return refuse("the seat is not sealed against further writers (F_SEAL_FUTURE_WRITE)");
    }
    if seals.contains(Seals::SEAL) {
        return refuse("the seals of the seat are sealed (F_SEAL_SEAL), so its death could never be seen");
    }
    // After FUTURE_WRITE nothing can be punched out any more. To fill what was punched out before would be to wait for
    // the file's lock, which the consumer can keep.
    if !seat.is_allocated().map_err(Ending::own)? {
        return refuse("the seat has holes; fill it (fallocate) after sealing it");
    }
    seat.map_seat_for_producer().map_err(Ending::own)
}

/// The seats of an attached consumer.
#[derive(Debug)]
pub(super) struct Seats {
    /// One for each lane that it reads.
    places: Vec<LanePlace>,
    region: Arc<Region>,
    /// The number of its seats, the same on each of its lanes.
    id: u64,
}

/// A consumer's place on one lane.
#[derive(Debug)]
struct LanePlace {
    lane: Arc<Lane>,
    /// As the Offer numbers it.
    number: usize,
    /// Whether a barrier must come between its joining and its first sleep.
    needs_barrier: bool,
    in_place: bool,
    /// Set by the lane once it has evicted the consumer.
    evicted: Arc<AtomicBool>,
    /// Whether the consumer was told that.
    is_told: bool,
}

impl LanePlace {
    fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }
}

impl Seats {
    /// The number that they have on each of their lanes.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The lane of that number, if it is read.
    pub(super) fn lane(&self, number: usize) -> Option<&Lane> {
        self.places.iter().find(|place| place.number == number).map(|place| &*place.lane)
    }

    /// Whether any lane is read in place that has not evicted the consumer.
    pub(super) fn in_place(&self) -> bool {
        self.places.iter().any(|place| place.in_place && !place.is_evicted())
    }

    /// Whether every lane has evicted the consumer.
    pub(super) fn are_evicted(&self) -> bool {
        self.places.iter().all(LanePlace::is_evicted)
    }

    /// Whether none of the lanes that it reads will ever bring anything more.
    pub(super) fn lanes_have_ended(&self) -> bool {
        self.places.iter().all(|place| place.lane.has_ended())
    }

    /// Whether a lane has evicted the consumer, which was not told that.
    pub(super) fn owe_word(&self) -> bool {
        self.places.iter().any(|place| place.is_evicted() && !place.is_told)
    }

    /// Has `tell` tell the consumer of each lane that has evicted it, by the lane and its number, as far as that can be
    /// done now; how many it was told of.
    pub(super) fn tell_evictions(&mut self, tell: impl Fn(&Lane, usize) -> bool) -> u64 {
        // Asked once: a lane may evict it at any moment, and if all have, the session ends without such a word.
        let evicted: Vec<bool> = self.places.iter().map(LanePlace::is_evicted).collect();
        if evicted.iter().all(|is_evicted| *is_evicted) {
            return 0;
        }
        let mut told = 0;
        for (place, is_evicted) in self.places.iter_mut().zip(evicted) {
            if is_evicted && !place.is_told {
                place.is_told = tell(&place.lane, place.number);
                told += u64::from(place.is_told);
            }
        }
        told
    }

    /// Begins to ask the kernel whether anyone still maps them. `notice` is raised when the answer is there.
    pub(super) fn inquire(&self, notice: &Arc<Notice>) -> Inquiry {
        Inquiry::begin(&self.region, notice)
    }

    /// Frees them: the consumer has gone.
    pub(super) fn leave(&self) {
        self.places.iter().for_each(|place| place.lane.roster.leave(&*place.lane.map, self.id));
    }

    /// Frees them: the consumer was never told that it has them.
    pub(super) fn take_back(&self) {
        self.places.iter().for_each(|place| place.lane.roster.take_back(&*place.lane.map, self.id));
    }

    /// Whether the consumer has left every lane that has not evicted it: it said so.
    pub(super) fn have_left(&self) -> bool {
        let has_left = |place: &LanePlace| place.lane.roster.seat(self.id).is_none_or(|seat| seat.has_left());
        self.places.iter().filter(|place| !place.is_evicted()).all(has_left)
    }

    /// Takes them away from a consumer that may still be reading; how many it was not told to have lost already.
    pub(super) fn evict(&self) -> u64 {
        self.places.iter().for_each(|place| place.lane.roster.evict(&*place.lane.map, self.id));
        self.places.iter().filter(|place| !place.is_told).count() as u64
    }

    /// Makes the barrier that comes between the joining and the first sleep of a consumer that fences, on a lane whose
    /// producer does not. Without it a publication could go unheard beside that sleep, so the seats are freed again:
    /// the consumer was not told where it starts, and reads nothing yet.
    fn make_barrier(&self) -> Result<(), Ending> {
        let is_needed = self.places.iter().any(|place| place.needs_barrier);
        if !is_needed || barrier::heavy_within() {
            return Ok(());
        }
        self.take_back();
        let sentence = "the kernel refused the barrier that comes before a consumer's first sleep".to_owned();
        Err(Ending::Refuse(Refusal::Internal, sentence))
    }
}
