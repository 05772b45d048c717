//! A tap on a lane of another process, which knows nothing of it.
//!
//! The invariant: what is mapped was checked as if a peer had sent it, so that no touch raises SIGBUS; and it is mapped
//! through descriptors that were opened to be read, so that it never looks like a writer's.

use super::files::{FileKey, OpenPath, OpenedFile, open_at};
use super::process::{NotSeen, Pins, Process};
use super::{LaneState, LaneView, Reason};
use crate::consumer::{Attachment, Tap};
use crate::error::{Error, Result};
use crate::fds::pidfd_of;
use crate::handshake::Handshake;
use crate::layout::{CONSUMED_LEFT_BIT, CONTROL_LEN_BYTES};
use crate::link::Link;
use crate::memory::{ControlMap, LaneMap, SeatMap};
use crate::os::bell::BellEnd;
use crate::os::closing::Connection;
use crate::os::fork::ForkGuard;
use crate::os::peer::{Peer, is_out_of_descriptors};
use crate::region::{HugePages, Region, RegionOptions, Seals, devices_of_memory};
use crate::ring::LaneWords;
use crate::ring::places::begins_record;
use crate::sync::{Ordering, fence};
use crate::terms::{Barrier, BellKind, Start};
use crate::wire::LaneTerms;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::sync::Arc;
use std::time::Duration;

impl LaneView {
    /// Taps the lane, without the help of its producer, which learns nothing of it.
    ///
    /// It is a [`Tap`] like any other: lossy, with the same errors, and at its end when the lane is finished or its
    /// producer has died. Two things differ. Nobody wakes it, so it naps: for 1 ms at first, and for up to 64 ms if
    /// nothing comes for long. And the producer is not asked for the oldest record that is whole: [`Start::Oldest`] is
    /// the first record of all if nothing was overwritten yet, and otherwise the last one, as [`Start::Newest`] is.
    ///
    /// Of a lane whose producer is not seen ([`LaneState::ProducerUnseen`]), it learns that the producer finished or
    /// gave up, but not that it died: it waits on.
    ///
    /// It keeps the lane's memory for as long as it lives.
    ///
    /// ```
    /// use fdring::{Producer, inspect, options::Start};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("doc-inspect-tap")?;
    /// let survey = inspect::lanes()?;
    /// let lane = survey.lanes.iter().find(|lane| lane.info.name == "doc-inspect-tap").expect("it is there");
    /// let mut tap = lane.tap(Start::Latest)?;
    /// # ticks.send(b"hello")?;
    /// # ticks.finish();
    /// while let Some(record) = tap.receive()? {
    ///     println!("{} bytes", record.len());
    /// }
    /// # assert_eq!(tap.position(), 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if the lane is gone, its memory may not be opened, or this process is short of descriptors
    /// - [`Error::Peer`] if the lane's memory breaks the protocol
    /// - [`Error::Invalid`] for [`Start::Resume`], since a tap has no place to resume at, and for a position at
    ///   which no record begins, or whose record was overwritten
    pub fn tap(&self, start: Start) -> Result<Tap> {
        let doing = || format!("tap lane {}", self.info.name);
        let failed = |miss| explain(miss, doing());
        let guard = ForkGuard::get()?;
        // First, so that it is this very process's, if that is still there after it.
        let pidfd = self.producer.as_ref().map(|producer| pidfd_of(producer.pid.cast_signed()));
        let (peer, is_dead) = match (&self.producer, pidfd) {
            (Some(producer), Some(Ok(pidfd))) => {
                let is_dead = matches!(Process::open_again(producer), Err(NotSeen::Nothing));
                (Peer { pid: Some(producer.pid), uid: producer.uid, pidfd: Some(pidfd) }, is_dead)
            }
            (_, Some(Err(error))) if is_out_of_descriptors(&error) => return Err(Error::os(doing())(error)),
            // It has ended, unless it may not be asked for, as under some filters of system calls.
            (_, Some(Err(error))) => (Peer::UNKNOWN, error.raw_os_error() == Some(Errno::SRCH.raw_os_error())),
            _ => (Peer::UNKNOWN, self.state != LaneState::ProducerUnseen),
        };
        let devices = devices_of_memory()?;
        let mut pins = Pins::default();
        let mut open = |places: &[OpenPath], key: FileKey| open_at(places, key, &devices, &mut pins).map_err(failed);
        let control = open(&self.control_places, self.control)?;
        let (data, places) = self.data.as_ref().ok_or_else(|| failed(NotSeen::Nothing))?;
        let (lane, terms) = map(control, open(places, *data)?, self.info.id)?;
        let start = position_of(&lane, start, &terms)?;
        let (link, bell) = silence(peer, guard).map_err(Error::os(doing()))??;
        if is_dead {
            link.note_death();
        }
        let seat = Region::create(&RegionOptions { name: "fdring:tap", len_bytes: 4096, huge_pages: HugePages::No })?;
        let attachment = Attachment {
            terms,
            lane: Arc::new(lane),
            seat: SeatMap::new(Arc::new(seat.map_read_write()?), 0),
            bell,
            space_bell: None,
            inbox: None,
            barrier: Barrier::Fence,
            start,
            evictions: 0,
            in_place: None,
            // To spin is to take the line of `published` from the producer again and again.
            spin: Duration::ZERO,
        };
        Tap::unrung(attachment, Arc::new(link), guard)
    }
}

/// Checks and maps the two regions of the lane of that id.
fn map(control: OpenedFile, data: OpenedFile, id: [u8; 16]) -> Result<(LaneMap, LaneTerms)> {
    let shape = Seals::SHRINK | Seals::GROW | Seals::FUTURE_WRITE;
    let control = Region::look_at(control.fd, "the control region", CONTROL_LEN_BYTES, shape | Seals::SEAL)?;
    let control = ControlMap::new(control.map_whole()?);
    let header = control.header();
    let broken = |fault: String| Error::peer("keeping the control region", fault);
    let terms = LaneTerms::from_header(&header).map_err(broken)?;
    if terms.id != id {
        return Err(broken("it is of another lane now".to_owned()));
    }
    let data = Region::look_at(data.fd, "the data region", terms.geometry.capacity(), shape)?;
    if data.inode()? != header.data_inode {
        return Err(broken(format!("it names a data region with the inode {}", header.data_inode)));
    }
    let lane = LaneMap::new(control, data.map_whole()?, terms.geometry);
    let lane = lane.stamped(terms.is_stamped).with_record_fds(terms.record_fds_max);
    Ok((lane, terms))
}

/// Where a tap begins.
fn position_of(lane: &LaneMap, start: Start, terms: &LaneTerms) -> Result<u64> {
    let published = lane.published().load(Ordering::Relaxed);
    // Pairs with the release store in `Writer::publish`: this `last` goes with `published`, or a later one.
    fence(Ordering::Acquire);
    let last = lane.last().load(Ordering::Relaxed);
    let intent = lane.intent().load(Ordering::Relaxed);
    let capacity = terms.geometry.capacity();
    let is_boundary = |position: u64| position & (terms.geometry.record_align() - 1) == 0;
    if !is_boundary(published) || published >= CONSUMED_LEFT_BIT {
        let fault = format!("no record can end at {published}, where the last is said to");
        return Err(Error::peer("keeping the control region", fault));
    }
    let newest = || match last < published && is_boundary(last) && published - last <= capacity {
        true => last,
        false => published,
    };
    let is_missing = |position| {
        Error::Invalid(format!("no record of lane {} begins at {position}, or it was overwritten", terms.name))
    };
    match start {
        Start::Latest => Ok(published),
        Start::Newest => Ok(newest()),
        Start::Oldest if intent <= capacity => Ok(0),
        Start::Oldest => Ok(newest()),
        Start::At(position) if position <= published && begins_record(lane, position..published, |at| at == last) => {
            // Pairs with the release fence in `Writer::raise_intent`: a reader that has loaded a header written after
            // it sees an `intent` that covers it.
            fence(Ordering::Acquire);
            match lane.intent().load(Ordering::Relaxed).saturating_sub(position) <= capacity {
                true => Ok(position),
                false => Err(is_missing(position)),
            }
        }
        Start::At(position) => Err(is_missing(position)),
        _ => Err(Error::Invalid("a tap has no place to resume at; begin at the latest record".to_owned())),
    }
}

/// A session in which nobody says anything, and a bell that nobody rings: the two ends of one pair of sockets.
fn silence(peer: Peer, guard: ForkGuard) -> io::Result<Result<(Link, BellEnd)>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, bell) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let connect = || {
        let bell = BellEnd::receive(BellKind::Socketpair, bell)?;
        let handshake = Handshake::consumer(Vec::new()).expect("no names, none of them twice");
        let links = Link::of_lanes(Connection::new(socket, guard), peer, handshake, &[true], None)?;
        Ok((links.into_iter().flatten().next().expect("one lane is read"), bell))
    };
    Ok(connect())
}

/// Says why a lane could not be opened.
fn explain(miss: NotSeen, doing: String) -> Error {
    let denied = |reason: Reason| io::Error::new(io::ErrorKind::PermissionDenied, reason.to_string());
    let cause = match miss {
        NotSeen::Nothing => Errno::SRCH.into(),
        NotSeen::Own(errno) => return Error::os(doing)(errno),
        NotSeen::Reason(Reason::Broken { fault }) => return Error::peer("keeping its lanes", fault),
        NotSeen::Reason(reason) => denied(reason),
    };
    Error::Os { doing, cause, remedy: "" }
}
