//! Contenders of your own: what each has to offer.
//!
//! The two steps [`Contender::send`] and [`Contender::receive`] suffice for every measure but connecting and
//! descriptors. The loops have provided forms that are made of them; one that offers something quicker for many records
//! overrides these. What is built in (fdring, raw rings, kernel channels) stands behind the same trait, in `forms.rs`.

use crate::clock::Laps;
use crate::payload;
use crate::plan::BATCH;
use std::error::Error;
use std::fmt;
use std::os::fd::BorrowedFd;

/// What a contender's calls return: an error ends the contender, and the run goes on without it.
pub type Fallible<T = ()> = Result<T, Box<dyn Error>>;

/// One process's ends of a contender, or what it says against opening them.
pub type Opened = Fallible<Box<dyn Contender>>;

/// One process's ends of a contender.
///
/// The parent sends, or begins round trips; the child receives, or answers. Record `n` is filled with the number `n` by
/// [`payload::write`] or [`payload::fill`], and every one that is received
/// is read by [`payload::sum`]: the sums tell whether all came, and whether each answer is that of
/// its round. A form of its own of [`ping`](Self::ping) or [`pong`](Self::pong) checks that itself.
///
/// [`ContenderKind::open`] is called once in each process, for all that the contender [does](ContenderKind::does). The
/// parent opens its ends; then the child opens and connects its own, so that it may come to what the parent has
/// opened; then the parent connects. What waits for the other process belongs into [`connect`](Self::connect): a parent
/// that waits in [`ContenderKind::open`] waits for a process that is not there yet.
///
/// # Several ends
///
/// A [`Way`] says how many ends a side has, and which of them is meant. No more than one of these numbers is above 1:
///
/// | capability | the way | `send` sends | `receive` receives |
/// | --- | --- | --- | --- |
/// | [`Capability::FanOut`] | `consumers` 1 to 4 | to each of the first `consumers` | at consumer `consumer` |
/// | [`Capability::ProducersCost`] | the same | the same | the same |
/// | [`Capability::FanIn`] | `producers` 1 to 8 | from producer `producer` | at the one consumer, from any |
/// | [`Capability::Share`] | `workers` 1 to 4 | to worker `worker` | at worker `worker` |
/// | [`Capability::Lanes`] | `lanes` 1 to 16 | over lane `lane` | from lane `lane` |
/// | all others | all 1 | over the one way there is | from there |
///
/// With one end, all of them are the same way: a contender can use its first pair of ends for it.
/// [`send`](Self::send) and [`receive`](Self::receive) are called in the same turn ([`Way::turn`]): record `n` is
/// received at the end that it was sent to.
///
/// # What can be measured
///
/// A contender of one's own takes part in every measure by its [`Capability`], as those do that are built in. It
/// cannot take part in five: the counts of system calls, memory and descriptors, which are of fdring's two ends; what
/// its taps cost; what its tasks cost; a client's whole life; and what runs between two threads of one process.
/// `ipcbench grid` measures it on more than two processors too, by a pair of ends for each producer with each
/// consumer.
///
/// One whose calls always sleep, or always spin, leaves the capabilities out that ask for the other; one way it
/// may do either, and says so in its name.
///
/// # Examples
///
/// Unix datagrams, in the measures of the three capabilities that [`ContenderKind::new`] declares:
///
/// ```no_run
/// use ipcbench::{Contender, ContenderKind, Fallible, Opened, Program, Role, Waiting, Way, payload};
/// use std::io::{ErrorKind, Result};
/// use std::os::linux::net::SocketAddrExt;
/// use std::os::unix::net::{SocketAddr, UnixDatagram};
///
/// struct Datagrams(UnixDatagram, SocketAddr, Vec<u8>);
///
/// fn open(role: Role, run: &str) -> Opened {
///     let address = |role| SocketAddr::from_abstract_name(format!("{run}-{role:?}"));
///     let socket = UnixDatagram::bind_addr(&address(role)?)?;
///     Ok(Box::new(Datagrams(socket, address(role.other())?, vec![0; 64 << 10])))
/// }
///
/// fn again(mut call: impl FnMut() -> Result<usize>) -> Result<usize> {
///     loop {
///         match call() {
///             Err(error) if error.kind() == ErrorKind::WouldBlock => {}
///             result => return result,
///         }
///     }
/// }
///
/// impl Contender for Datagrams {
///     fn connect(&mut self) -> Fallible {
///         Ok(self.0.connect_addr(&self.1)?)
///     }
///     fn prepare(&mut self, way: Way) -> Fallible {
///         Ok(self.0.set_nonblocking(way.waiting == Waiting::Spinning)?)
///     }
///     fn send(&mut self, way: Way, n: u64) -> Fallible {
///         let Self(socket, _, buffer) = self;
///         payload::write(&mut buffer[..way.len], n);
///         again(|| socket.send(&buffer[..way.len])).map(drop).map_err(Into::into)
///     }
///     fn receive(&mut self, _: Way) -> Fallible<u64> {
///         let Self(socket, _, buffer) = self;
///         let len = again(|| socket.recv(buffer))?;
///         Ok(payload::sum(&buffer[..len]))
///     }
/// }
///
/// static KINDS: &[ContenderKind] = &[ContenderKind { len_max: 16 << 10, ..ContenderKind::new("Unix datagram", open)
/// }];
///
/// fn main() -> std::process::ExitCode {
///     ipcbench::main(&Program { command: "datagrams", contenders: KINDS, measures: true, ..Program::default() })
/// }
/// ```
///
/// `crates/ipcbench/examples/datagram.rs` has these in all measures.
pub trait Contender {
    /// The other process has opened its ends too: connects to them. The child does so first.
    fn connect(&mut self) -> Fallible {
        Ok(())
    }

    /// A slice over `way` begins.
    fn prepare(&mut self, way: Way) -> Fallible {
        let _ = way;
        Ok(())
    }

    /// Sends record `n`, and publishes it: by the way's producer, over its lane, to its worker, or to each of its
    /// consumers. In the measure `load` the number is a time.
    fn send(&mut self, way: Way, n: u64) -> Fallible;

    /// Waits for one record, in the way's own manner, and reads it; its sum.
    fn receive(&mut self, way: Way) -> Fallible<u64>;

    /// Sends the records 0 to `records` − 1, to each of the way's consumers, from its producers in turn, to its workers
    /// in turn, over its lanes in turn.
    fn send_all(&mut self, way: Way, records: u64) -> Fallible {
        (0..records).try_for_each(|n| self.send(way.turn(n), n))
    }

    /// Receives as many, at each of the way's consumers, or at its workers or from its lanes in turn, record by record;
    /// the sum over all.
    fn receive_all(&mut self, way: Way, records: u64) -> Fallible<u64> {
        let mut total = 0u64;
        for n in 0..records {
            for consumer in 0..way.consumers {
                total = total.wrapping_add(self.receive(Way { consumer, ..way.turn(n) })?);
            }
        }
        Ok(total)
    }

    /// Round trips with both sides spinning, from the side that begins; each ends with [`Laps::end`].
    fn ping(&mut self, way: Way, rounds: u64, laps: &mut Laps) -> Fallible {
        for n in 0..rounds {
            self.send(way, n)?;
            payload::check(way.len, n, self.receive(way)?)?;
            laps.end();
        }
        Ok(())
    }

    /// The same, from the side that answers.
    fn pong(&mut self, way: Way, rounds: u64) -> Fallible {
        for n in 0..rounds {
            payload::check(way.len, n, self.receive(way)?)?;
            self.send(way, n)?;
        }
        Ok(())
    }

    /// The parent's half of a visit, for [`Capability::Connect`]: waits until the child comes by
    /// [`visit`](Self::visit), at the same time, and sends it a record, of 56 bytes in what is built in. The ends
    /// that [`ContenderKind::open`] and [`connect`](Self::connect) have made are there meanwhile, and take no part.
    fn welcome(&mut self) -> Fallible {
        Err("it takes no visitors".into())
    }

    /// The child's half, which is timed from the call to its return: connects anew, to what the parent has opened for
    /// that, and receives the record. It keeps what it has made until [`leave`](Self::leave).
    fn visit(&mut self) -> Fallible {
        Err("it makes no visits".into())
    }

    /// Ends a visit, once it was timed. The child's is called first, when `visit` has returned, and closes what that
    /// has made. Then the parent's is called, which waits until it sees that the visitor has gone, if its next
    /// `welcome` would take it for another; that is not timed. Nothing is done unless a contender says otherwise.
    fn leave(&mut self) -> Fallible {
        Ok(())
    }

    /// Sends these descriptors in one message, with a byte or more beside them if it takes that, for
    /// [`Capability::Descriptors`]. Either end may sleep.
    fn send_fds(&mut self, fds: &[BorrowedFd<'_>]) -> Fallible {
        let _ = fds;
        Err("it carries no descriptors".into())
    }

    /// Sends that number of messages, each with these descriptors: one after another, unless a contender can send
    /// several at once. Only asked for where that is a case of its own.
    fn send_many_fds(&mut self, fds: &[BorrowedFd<'_>], messages: usize) -> Fallible {
        (0..messages).try_for_each(|_| self.send_fds(fds))
    }

    /// Receives a message of `count` descriptors and closes them; how many they were.
    fn receive_fds(&mut self, count: usize) -> Fallible<usize> {
        let _ = count;
        Err("it carries no descriptors".into())
    }
}

/// What a slice goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The length of each record, in bytes: a multiple of 8.
    pub len: usize,
    /// How the two sides wait for each other.
    pub waiting: Waiting,
    /// How many consumers the child has; each gets every record. 1 but for [`Capability::FanOut`].
    pub consumers: usize,
    /// Which of them receives, from 0 on.
    pub consumer: usize,
    /// How many producers the parent has, all to one consumer. 1 but for [`Capability::FanIn`].
    pub producers: usize,
    /// Which of them sends, from 0 on.
    pub producer: usize,
    /// How many workers the child has; each record goes to one of them. 1 but for [`Capability::Share`].
    pub workers: usize,
    /// Which of them the record is for, from 0 on.
    pub worker: usize,
    /// Over how many lanes the parent spreads its records, each with a consumer of its own in the child. 1 but for
    /// [`Capability::Lanes`].
    pub lanes: usize,
    /// Over which of them the record goes, from 0 on.
    pub lane: usize,
}

impl Way {
    pub(crate) const fn new(len: usize, waiting: Waiting) -> Self {
        Self {
            len,
            waiting,
            consumers: 1,
            consumer: 0,
            producers: 1,
            producer: 0,
            workers: 1,
            worker: 0,
            lanes: 1,
            lane: 0,
        }
    }

    /// The same for record `n`: producers and workers have their turns with each record, lanes with each 32 of them.
    #[must_use]
    pub const fn turn(self, n: u64) -> Self {
        let (producer, worker) = (n % self.producers as u64, n % self.workers as u64);
        let lane = n / BATCH % self.lanes as u64;
        Self { producer: producer as usize, worker: worker as usize, lane: lane as usize, ..self }
    }
}

/// How the two sides wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Both look again and again.
    Spinning,
    /// Both sleep in the kernel.
    Asleep,
    /// The same, with both processes on one core.
    AsleepOneCore,
}

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends one way, and begins round trips.
    Parent,
    /// Receives one way, and answers round trips.
    Child,
}

impl Role {
    /// The other one's.
    pub fn other(self) -> Self {
        match self {
            Self::Parent => Self::Child,
            Self::Child => Self::Parent,
        }
    }
}

/// A measure that a contender can take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Records one way, as many as it carries: the measure `one-way`.
    OneWay,
    /// Records there and back, both sides spinning, of any length up to [`ContenderKind::trip_len_max`]: `round-trip`;
    /// and one way at a given rate: `load`.
    RoundTrip,
    /// Records there and back, both sides asleep in between: `asleep` and `asleep-one-core`; and waking a sleeper:
    /// `wake-up`. All of them go by [`Contender::send`] and [`Contender::receive`], on the main thread of each process.
    /// There and back, neither side sends before the main thread of the other process sleeps, which is waited for and
    /// is no part of the time; one that does not sleep within a second is left out.
    Asleep,
    /// Requests and their replies, both sides spinning, of 56 bytes: `round-trip`. The steps are those of
    /// [`RoundTrip`](Self::RoundTrip), a record there and one back, sent by what a library offers for calls: it knows
    /// which reply answers which request. fdring's calls are compared with the contenders that list this, its records
    /// there and back with all in `round-trip`. One that lists both is measured once, as both; one that lists this
    /// alone takes no part in other lengths, nor in `load`.
    Call,
    /// Records one way to each of up to 4 consumers in the child: `consumers`.
    FanOut,
    /// Records one way from each of up to 8 producers in the parent to one consumer: `fan-in`.
    FanIn,
    /// Records one way, each to one of up to 4 workers in the child: `workers`.
    Share,
    /// Records one way, spread over up to 16 lanes by one sender, 32 records a turn, each lane with a consumer of its
    /// own in the child: `lanes`.
    Lanes,
    /// What a record of 64 bytes costs the sender that waits for nobody, with up to 4 consumers in the child:
    /// `producers-cost`. Slices have no more records than [`ContenderKind::room`] says there is room for. That is
    /// checked first: nobody receives until all are sent, and a contender whose sender sends none of them for a second
    /// is left out, since a sender that waits for room measures its receiver. One that sends several at a time has five
    /// seconds for all of them.
    ProducersCost,
    /// From connecting to the first record: `connect`.
    Connect,
    /// Arrays of 1 to 253 descriptors, in a message each: `descriptors`.
    Descriptors,
}

impl Capability {
    /// All that there are.
    pub const ALL: &[Self] = &[
        Self::OneWay,
        Self::RoundTrip,
        Self::Asleep,
        Self::Call,
        Self::FanOut,
        Self::FanIn,
        Self::Share,
        Self::Lanes,
        Self::ProducersCost,
        Self::Connect,
        Self::Descriptors,
    ];

    /// The names of the measures that it is for.
    pub(crate) fn measure_keys(self) -> &'static [&'static str] {
        match self {
            Self::OneWay => &["one-way"],
            Self::RoundTrip => &["round-trip", "load"],
            Self::Call => &["round-trip"],
            Self::Asleep => &["asleep", "asleep-one-core", "wake-up"],
            Self::FanOut => &["consumers"],
            Self::FanIn => &["fan-in"],
            Self::Share => &["workers"],
            Self::Lanes => &["lanes"],
            Self::ProducersCost => &["producers-cost"],
            Self::Connect => &["connect"],
            Self::Descriptors => &["descriptors"],
        }
    }
}

/// What is known of a contender before it is opened.
#[derive(Clone, Copy, Debug)]
pub struct ContenderKind {
    /// Its name, with the mode if it is measured in several: no two have the same.
    pub name: &'static str,
    /// Its version, for the report; may be empty.
    pub version: &'static str,
    /// What it takes part in.
    pub does: &'static [Capability],
    /// Why it does not take part in others, a sentence each, which `list` and `--try` show.
    pub lacks: &'static [(Capability, &'static str)],
    /// The longest record one way, in bytes.
    pub len_max: usize,
    /// The longest record there and back, in bytes.
    pub trip_len_max: usize,
    /// How many records one call takes: slices one way have a multiple of them.
    pub records_step: u64,
    /// How many records of 64 bytes the sender can send to the slowest of its consumers before it waits or fails, for
    /// [`Capability::ProducersCost`]; 16,384 unless said, and with fewer than 32 nothing is measured.
    pub room: u64,
    /// Opens what this process offers; `run` is a name that no other run uses. Files whose names begin with it and a
    /// hyphen, in `/dev/shm` or in the folder of temporary files, are removed by a later run if this one was killed.
    pub open: fn(role: Role, run: &str) -> Opened,
}

impl ContenderKind {
    /// One that sends one way, there and back, and between sleepers, with records of up to 64 KiB.
    pub const fn new(name: &'static str, open: fn(role: Role, run: &str) -> Opened) -> Self {
        const DOES: &[Capability] = &[Capability::OneWay, Capability::RoundTrip, Capability::Asleep];
        Self {
            name,
            version: "",
            does: DOES,
            lacks: &[],
            len_max: 64 << 10,
            trip_len_max: 64 << 10,
            records_step: 1,
            room: ROOM,
            open,
        }
    }

    pub(crate) fn can(&self, capability: Capability) -> bool {
        self.does.contains(&capability)
    }

    /// Why it takes no part in what this capability is for, if it takes none.
    pub(crate) fn why_not(&self, capability: Capability) -> Option<String> {
        let other = match capability {
            // Either is measured there and back.
            Capability::RoundTrip | Capability::Call if self.can(Capability::RoundTrip) => return None,
            Capability::RoundTrip => Some(Capability::Call),
            _ => None,
        };
        if self.can(capability) {
            let is_cramped = capability == Capability::ProducersCost && !self.has_room();
            return is_cramped.then(|| format!("it has room for {} records only", self.room));
        }
        let lacks =
            |capability| self.lacks.iter().find(|(each, _)| *each == capability).map(|(_, why)| (*why).to_owned());
        let listed = || "`ContenderKind::does` does not list it".to_owned();
        Some(lacks(capability).or_else(|| other.and_then(lacks)).unwrap_or_else(listed))
    }

    /// Whether it has room for a slice of records that nobody receives.
    pub(crate) fn has_room(&self) -> bool {
        self.room >= BATCH.max(self.records_step)
    }
}

/// For how many records of 64 bytes there must be room, where what a record costs its producer is measured, unless a
/// contender says that it has less.
pub(crate) const ROOM: u64 = 16_384;

/// A [`ContenderKind`], known by its name.
#[derive(Clone, Copy)]
pub(crate) struct KindId(pub(crate) &'static ContenderKind);

impl PartialEq for KindId {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for KindId {}

impl fmt::Debug for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
