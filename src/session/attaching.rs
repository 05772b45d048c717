//! The second half of attaching: an Attach that was said, and the readers once the producer has answered.
//!
//! The invariant: evictions are counted from before the Attach was said, so that none is missed. What does not wait is
//! apart from what does, for callers that have others to see to.

use super::arriving::SessionPlace;
use super::attach::Attach;
use super::client::{Session, send_with_fds, step};
use super::frame_socket::FrameSocket;
use super::hearing::receive;
use super::opened::OpenedLane;
use super::options::SessionOptions;
use crate::consumer::{Attachment, Consumer, InboxEnd, Tap, make_inboxes};
use crate::crash;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::handshake::{Handshake, Step};
use crate::link::{Keepsake, Link};
use crate::os::barrier;
use crate::os::fork::ForkGuard;
use crate::os::interrupt::Interrupter;
use crate::os::peer::Peer;
use crate::ring::LaneWords;
use crate::sync::Ordering;
use crate::terms::{Barrier, Delivery};
use crate::trace::event;
use crate::wire::LaneAttach;
use std::sync::Arc;
use std::time::Duration;

impl Session {
    /// Says how each lane is to be read, or that it is not; waits for nothing.
    pub(super) fn say_attach(self, how: Vec<Option<(Attach, Delivery)>>) -> Result<Attaching> {
        let Self { socket, peer, mut handshake, lanes, options, deadline, guard, place, .. } = self;
        guard.check()?;
        // Read before the Attach: any later eviction may be that of this consumer.
        let evictions = lanes.iter().map(|lane| lane.map.evictions().load(Ordering::Relaxed)).collect();
        let can_call = barrier::can_call();
        let barriers: Vec<_> =
            lanes.iter().map(|lane| if can_call { lane.terms.barrier } else { Barrier::Fence }).collect();
        let attach = barriers.iter().zip(&how).map(|(barrier, how)| {
            how.as_ref().map(|(how, delivery)| LaneAttach {
                delivery: *delivery,
                start: how.starts_at().into(),
                access: how.access(),
                barrier: *barrier,
                descriptors: how.takes_fds(),
            })
        });
        let attach: Vec<_> = attach.collect();
        let (inboxes, sockets) = make_inboxes(&attach, guard)?;
        send_with_fds(&socket, &handshake.attach(attach), &sockets, "attaching")?;
        drop(sockets);
        crash::point!("session-attach-sent");
        let said = Said { how, evictions, barriers, inboxes };
        Ok(Attaching { socket, peer, handshake, lanes, options, deadline, guard, place, said })
    }
}

/// A session that has said how its lanes are to be read, and awaits the answer.
#[derive(Debug)]
#[must_use = "dropping it closes the connection"]
pub(crate) struct Attaching {
    socket: FrameSocket,
    peer: Peer,
    handshake: Handshake,
    lanes: Vec<OpenedLane>,
    options: SessionOptions,
    deadline: Deadline,
    guard: ForkGuard,
    place: Option<Arc<SessionPlace>>,
    said: Said,
}

/// What was said of each lane, and what goes with that.
#[derive(Debug)]
struct Said {
    how: Vec<Option<(Attach, Delivery)>>,
    evictions: Vec<u32>,
    barriers: Vec<Barrier>,
    inboxes: Vec<Option<InboxEnd>>,
}

impl Attaching {
    /// The consumers of all lanes, once the producer has answered.
    pub(crate) fn finish_all(self) -> Result<Vec<Consumer>> {
        let of_consumer =
            |endpoint| if let AttachedReader::Consumer(consumer) = endpoint { Some(consumer) } else { None };
        Ok(self.finish()?.into_iter().flatten().filter_map(of_consumer).collect())
    }

    /// The readers of the lanes, once the producer has answered.
    pub(super) fn finish(self) -> Result<Vec<Option<AttachedReader>>> {
        let Self { mut socket, peer, mut handshake, lanes, options, deadline, guard, place, said } = self;
        let Said { how, evictions, barriers, mut inboxes } = said;
        let starts = match receive(&mut socket, &peer, deadline, &options, ATTACHING) {
            Err(Error::Closed { .. }) if place.is_some() => {
                // It says no more, and what it has published is there all the same.
                check_remains(&peer, deadline, &lanes)?;
                vec![0; lanes.len()]
            }
            heard => match step(&socket, &mut handshake, heard?, ATTACHING)? {
                (Step::Attached(starts), _) => starts,
                _ => return Err(Error::peer(ATTACHING, "the producer said something else")),
            },
        };
        crash::point!("session-attached-received");
        let are_read: Vec<bool> = how.iter().map(Option::is_some).collect();
        let keepsake = place.map(|place| place as Keepsake);
        let mut links = Link::of_lanes(socket.into_connection(), peer, handshake, &are_read, keepsake)?;
        let mut readers = Vec::with_capacity(lanes.len());
        for (index, opened) in lanes.into_iter().enumerate() {
            let (Some((how, delivery)), Some(link)) = (&how[index], links[index].take()) else {
                readers.push(None);
                continue;
            };
            let (start, barrier) = (starts[index], barriers[index]);
            event!(INFO, "attached", lane = opened.terms.name.as_str(), start, producer_pid = link.producer().0);
            let OpenedLane { map: lane, seat, bell, space_bell, terms } = opened;
            let (inbox, evictions) = (inboxes[index].take(), evictions[index]);
            let (in_place, spin) = (how.trust(), options.spin);
            let attachment =
                Attachment { terms, lane, seat, bell, space_bell, inbox, barrier, start, evictions, in_place, spin };
            let mut reader = AttachedReader::new(attachment, *delivery, Arc::new(link), guard)?;
            options.interrupter.iter().try_for_each(|interrupter| reader.watch_interrupter(interrupter))?;
            readers.push(Some(reader));
        }
        Ok(readers)
    }
}

/// The reader of an attached lane.
#[allow(clippy::large_enum_variant, reason = "a few, for a moment")]
pub(super) enum AttachedReader {
    Consumer(Consumer),
    Tap(Tap),
}

impl AttachedReader {
    fn new(attachment: Attachment, delivery: Delivery, link: Arc<Link>, guard: ForkGuard) -> Result<Self> {
        Ok(match delivery {
            Delivery::Lossless => Self::Consumer(Consumer::new(attachment, link, guard)?),
            Delivery::Lossy => Self::Tap(Tap::new(attachment, link, guard)?),
        })
    }

    fn watch_interrupter(&mut self, interrupter: &Interrupter) -> Result<()> {
        match self {
            Self::Consumer(consumer) => consumer.watch_interrupter(interrupter),
            Self::Tap(tap) => tap.watch_interrupter(interrupter),
        }
    }
}

/// What a session waits for once it has said how each lane is to be read, in words that follow "while".
const ATTACHING: &str = "waiting to be attached";
/// How long a process that has hung up may take to end.
const DEATH_GRACE: Duration = Duration::from_secs(1);

/// Checks that a producer which says no more has ended, and has overwritten nothing: then its lanes can be read from
/// their first byte, although it never took account of this consumer.
fn check_remains(peer: &Peer, deadline: Deadline, lanes: &[OpenedLane]) -> Result<()> {
    let grace = deadline.or_after(DEATH_GRACE).remaining().unwrap_or(DEATH_GRACE);
    if !peer.ends_within(grace) {
        return Err(Error::Closed { doing: ATTACHING.to_owned() });
    }
    // Relaxed: the kernel has said that the process which stored them is no more.
    let is_whole = |lane: &&OpenedLane| lane.map.intent().load(Ordering::Relaxed) <= lane.map.geometry().capacity();
    match lanes.iter().find(|lane| !is_whole(lane)) {
        None => Ok(()),
        Some(lane) => {
            let name = &lane.terms.name;
            Err(Error::Closed { doing: format!("{ATTACHING} to lane {name}, which it had begun to overwrite") })
        }
    }
}
