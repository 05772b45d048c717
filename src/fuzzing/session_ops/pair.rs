//! A hostile caller, and beside it perhaps an honest one, of a service: an end that is both a producer and a consumer.

use super::super::Script;
use super::super::frames::PLAIN;
use super::oddities::{abuse, seal};
use super::producer::{Hostile, Lane};
use super::{ACTIONS_MAX, DEADLINE, PATIENCE, hear, unique_address};
use crate::call::prefix::{Kind, Prefix};
use crate::call::{CallError, Caller, CallerOptions, Service, ServiceOptions, ServiceStats};
use crate::error::{Error, Result};
use crate::errors::{ReceiveError, Refusal};
use crate::layout::{RecordHeader, seat_len_bytes};
use crate::memory::SeatMap;
use crate::region::{Mapping, Region, Seals};
use crate::ring::{LaneWords, LaneWriter, SeatWords};
use crate::sync::Ordering;
use crate::wire::{Frame, LaneAttach, Role};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CAPACITY_BYTES: u64 = 4096;
/// The words of a request's payload: those of its prefix, and its body.
const REQUEST_WORDS: usize = 7;

/// What the service counts at last, with the hostile caller gone.
pub(super) fn play(script: &mut Script<'_>) -> ServiceStats {
    let choice = script.u8();
    let mut served = Served::new(choice & 0x40 != 0);
    let mut hostile = Both::new(&served.address, choice);
    for _ in 0..ACTIONS_MAX {
        if script.is_empty() {
            break;
        }
        match script.below(48) {
            0..4 => served.call(),
            action => hostile.act(action, script),
        }
        served.answer();
    }
    drop(hostile);
    served.finish()
}

/// A service that says each request again, and perhaps an honest caller.
struct Served {
    address: String,
    service: Service,
    honest: Option<Caller>,
    calls: u64,
}

impl Served {
    fn new(has_honest: bool) -> Self {
        let address = unique_address();
        let deadline = if has_honest { PATIENCE } else { DEADLINE };
        let options = ServiceOptions::new().deadline(deadline).capacity(CAPACITY_BYTES).callers_max(4);
        let service = options.spin(Duration::ZERO).listen(&*address).expect("a name of its own");
        let honest = has_honest.then(|| caller(&address).expect("the service takes an honest caller"));
        Self { address, service, honest, calls: 0 }
    }

    /// Answers what has come: the service goes on, whatever a caller does.
    fn answer(&mut self) {
        loop {
            match self.service.try_receive() {
                Ok(request) => {
                    let body = request.to_vec();
                    // The caller may have gone.
                    let _ = request.reply(&body);
                }
                Err(ReceiveError::Empty) => return,
                Err(error) => panic!("a service came to an end: {error}"),
            }
        }
    }

    fn call(&mut self) {
        if let Some(mut caller) = self.honest.take() {
            self.call_by(&mut caller).expect("an honest call has a reply");
            self.honest = Some(caller);
        }
    }

    /// An honest call gets its own reply, whatever others do.
    fn call_by(&mut self, caller: &mut Caller) -> Result<(), CallError> {
        self.calls += 1;
        let body = self.calls.to_le_bytes();
        let mut ticket = caller.send(&body, PATIENCE)?;
        let begin = Instant::now();
        loop {
            self.answer();
            match caller.wait_timeout(&mut ticket, Duration::from_micros(100)) {
                Ok(reply) => {
                    assert_eq!(reply.as_deref(), Some(&body[..]), "the reply to another call");
                    return Ok(());
                }
                Err(CallError::Empty) => assert!(begin.elapsed() < PATIENCE, "no reply"),
                Err(error) => return Err(error),
            }
        }
    }

    /// An honest caller that comes last has a call, too. On a busy machine the service's time for its handshake may be
    /// up, of which it learns before it has connected or after that: then it tries again.
    fn finish(mut self) -> ServiceStats {
        self.call();
        let begin = Instant::now();
        while self.honest.is_none() {
            let is_in_time = begin.elapsed() < PATIENCE;
            match caller(&self.address) {
                Ok(mut caller) => match self.call_by(&mut caller) {
                    Ok(()) => self.honest = Some(caller),
                    Err(CallError::Lost(ReceiveError::Closed)) if is_in_time => {}
                    Err(error) => panic!("an honest call failed: {error}"),
                },
                Err(Error::Refused { refusal: Refusal::TimedOut, .. }) if is_in_time => {}
                Err(error) => panic!("the service takes no honest caller: {error}"),
            }
        }
        self.service.stats()
    }
}

fn caller(address: &str) -> Result<Caller> {
    CallerOptions::new().capacity(CAPACITY_BYTES).deadline(PATIENCE).spin(Duration::ZERO).connect(address)
}

/// The hostile end: a producer of requests, and a consumer of replies, of which it has the descriptors and the seat.
struct Both {
    writes: Hostile,
    fds: Vec<OwnedFd>,
    seat: Option<Arc<Mapping>>,
}

impl Both {
    fn new(address: &str, choice: u8) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
        let name = SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).expect("a short name");
        connect(&socket, &name).expect("the service listens");
        let writes = Hostile::new(socket, choice).expect("memory for small lanes");
        if choice & 0x10 == 0 {
            writes.greet(Role::Both);
        }
        Self { writes, fds: Vec::new(), seat: None }
    }

    fn act(&mut self, action: usize, script: &mut Script<'_>) {
        match action {
            4..28 => self.writes.act(action - 4, script),
            28 | 29 => self.writes.greet(Role::Both),
            30..33 => self.hear(),
            33..36 => self.attach(script),
            36..39 => self.write_seat(script),
            39 => {
                let bits = script.u8();
                self.fds.first().into_iter().for_each(|seat| seal(seat, bits));
            }
            40 => self.abuse(script),
            _ => self.request(script),
        }
    }

    /// Hears frames until one has descriptors, as an Offer behind a Hello.
    fn hear(&mut self) {
        for _ in 0..2 {
            let Some((_, fds)) = hear(&self.writes.socket) else { return };
            if !fds.is_empty() {
                self.fds = fds;
                return;
            }
        }
    }

    /// As an honest consumer of replies does it.
    fn attach(&mut self, script: &mut Script<'_>) {
        const FUTURE_WRITE: u8 = 16;
        if let Some(seat) = self.fds.first().and_then(|fd| fd.try_clone().ok()) {
            let region = Region::receive(seat, "the seat", seat_len_bytes(1), Seals::SHRINK | Seals::GROW);
            self.seat = region.and_then(|region| region.map_read_write()).ok().map(Arc::new).or(self.seat.take());
        }
        self.fds.first().into_iter().for_each(|seat| seal(seat, FUTURE_WRITE));
        let lanes: Vec<Option<LaneAttach>> = vec![Some(PLAIN); 1 + usize::from(script.u8() == 0xff)];
        self.writes.say(&Frame::Attach(lanes).encode());
    }

    fn write_seat(&self, script: &mut Script<'_>) {
        let Some(mapping) = &self.seat else { return };
        let seat = SeatMap::new(Arc::clone(mapping), 0);
        let value = script.word_near(&[0, CAPACITY_BYTES, 64, u64::MAX, 1 << 40]);
        match script.below(4) {
            0 => seat.wait_epoch().store(value as u32, Ordering::Relaxed),
            1 => seat.space_seq().store(value as u32, Ordering::Relaxed),
            _ => seat.consumed().store(value, Ordering::Relaxed),
        }
    }

    /// The regions of the replies are the service's (invariant 17).
    fn abuse(&self, script: &mut Script<'_>) {
        let index = script.below(4);
        let Some(fd) = self.fds.get(index) else { return };
        let has_worked = abuse(script, fd);
        assert!(!has_worked || index < 2, "descriptor {index} could be changed");
    }

    /// A request or a cancellation as it should be, or with one word of its payload changed.
    fn request(&mut self, script: &mut Script<'_>) {
        let Lane { ring, honest, .. } = &mut self.writes.lanes[0];
        let kind = if script.u8().is_multiple_of(4) { Kind::Cancellation } else { Kind::Request };
        let mut bytes = [0x5a; 8 * REQUEST_WORDS];
        Prefix { id: u64::from(script.u8()), deadline_ns: 0, kind }.write(&mut bytes[..24]);
        let (chunks, _) = bytes.as_chunks();
        let mut words: [u64; REQUEST_WORDS] = std::array::from_fn(|index| u64::from_le_bytes(chunks[index]));
        if let Some(word) = words.get_mut(usize::from(script.u8())) {
            *word = script.word_near(&[0, 1, 5, 1 << 8 | 1, 1 << 16 | 1, 1 << 63]);
        }
        let begin = *honest;
        ring.set_header_word(begin, RecordHeader::data(8 * REQUEST_WORDS as u32, 0).to_word());
        for (at, word) in (8..).step_by(8).zip(words) {
            ring.set_header_word(begin.wrapping_add(at), word);
        }
        *honest = begin.wrapping_add(8 * (1 + REQUEST_WORDS as u64));
        ring.lane().intent().store(*honest, Ordering::Relaxed);
        ring.lane().last().store(begin, Ordering::Relaxed);
        ring.lane().published().store(*honest, Ordering::Release);
        self.writes.ring_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::seeds::{CALLS, PAIRS_UP};
    use crate::test_support::wait_until;

    /// The scripts of the seeds `pair-64-calls` and `pair-64-lies-of-its-id`. On a busy machine they may hear nothing
    /// in time, and are played again.
    #[test]
    fn a_caller_of_a_script_joins_calls_and_is_found_out() {
        let plays = |more: &[u8], expected: (u64, u64, u64)| {
            wait_until("the script has come to its end", || {
                let script = [&[0x40][..], &PAIRS_UP, more].concat();
                let ServiceStats { joined, requests, evicted, .. } = play(&mut Script::new(&script));
                (joined, requests, evicted) == expected
            });
        };
        // The honest one has joined, too, and has made two calls.
        plays(&CALLS, (2, 4, 0));
        plays(&[41, 1, 0, 0xff], (2, 2, 1));
    }
}
