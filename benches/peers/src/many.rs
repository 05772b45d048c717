//! A library in the measures of more than two ends: producers, consumers, workers and lanes, each with a channel of its
//! own if the library has nothing that joins them.

use ipcbench::{Capability, Contender, Fallible, Opened, Role, Way};

/// What such a contender takes part in.
pub(crate) const MANY: &[Capability] =
    &[Capability::FanOut, Capability::FanIn, Capability::Share, Capability::Lanes, Capability::ProducersCost];

/// The length of short records, and of the long ones that many producers send, in bytes.
pub(crate) const SHORT: usize = 64;
pub(crate) const LONG: usize = 64 << 10;
/// The memory of each channel in bytes, if a library lets one choose: room for 16,384 short records, twice.
pub(crate) const CHANNEL_BYTES: usize = 2 << 20;

/// How many there are at most.
const CONSUMER_COUNTS: [usize; 3] = [1, 2, 4];
const PRODUCERS_MAX: usize = 8;
const LANES_MAX: usize = 16;

/// One end of a channel whose records have one length: the parent sends, and the child receives.
pub(crate) trait Link: Sized + 'static {
    /// Whether several of the child's ends of one channel get every record each, and several of the parent's one.
    const FANS_OUT: bool;
    const FANS_IN: bool;

    /// Makes the channel of that name, in the parent, or comes to it, in the child.
    fn open(role: Role, name: &str) -> Fallible<Self>;

    /// The other process has opened its end too.
    fn connect(&mut self) -> Fallible {
        Ok(())
    }

    /// Sends record `n`; waits for room.
    fn send(&mut self, n: u64) -> Fallible;

    /// The sum of a record, if there is one.
    fn poll(&mut self) -> Fallible<Option<u64>>;
}

/// One process's ends of all channels.
struct Many<S, L> {
    /// For each number of consumers.
    out: Vec<Vec<S>>,
    producers: Vec<S>,
    long: Vec<L>,
    lanes: Vec<S>,
    /// Where a receiver of many producers looks next.
    next: usize,
}

/// Opens all of them, of a library whose short and long channels these are.
pub(crate) fn open<S: Link, L: Link>(role: Role, run: &str, library: &str) -> Opened {
    let name = |of: &str| format!("{run}-{library}-{of}");
    let out = |count: usize| match (S::FANS_OUT, role) {
        (true, Role::Parent) => vec![name(&format!("out-{count}"))],
        (true, Role::Child) => vec![name(&format!("out-{count}")); count],
        (false, _) => (0..count).map(|n| name(&format!("out-{count}-{n}"))).collect(),
    };
    Ok(Box::new(Many::<S, L> {
        out: CONSUMER_COUNTS.into_iter().map(|count| open_all(role, out(count))).collect::<Fallible<_>>()?,
        producers: open_all(role, producers::<S>(role, &name("in")))?,
        long: open_all(role, producers::<L>(role, &name("long")))?,
        lanes: open_all(role, (0..LANES_MAX).map(|n| name(&format!("lane-{n}"))).collect())?,
        next: 0,
    }))
}

fn producers<L: Link>(role: Role, name: &str) -> Vec<String> {
    match (L::FANS_IN, role) {
        (true, Role::Parent) => vec![name.to_owned(); PRODUCERS_MAX],
        (true, Role::Child) => vec![name.to_owned()],
        (false, _) => (0..PRODUCERS_MAX).map(|n| format!("{name}-{n}")).collect(),
    }
}

fn open_all<L: Link>(role: Role, names: Vec<String>) -> Fallible<Vec<L>> {
    names.iter().map(|name| L::open(role, name)).collect()
}

/// A record from any of these, the next one first.
fn any<L: Link>(links: &mut [L], next: &mut usize) -> Fallible<u64> {
    loop {
        *next = if *next + 1 < links.len() { *next + 1 } else { 0 };
        if let Some(sum) = links[*next].poll()? {
            return Ok(sum);
        }
    }
}

fn one<L: Link>(link: &mut L) -> Fallible<u64> {
    loop {
        if let Some(sum) = link.poll()? {
            return Ok(sum);
        }
    }
}

impl<S: Link, L: Link> Many<S, L> {
    fn out(&mut self, way: Way) -> &mut Vec<S> {
        &mut self.out[way.consumers.ilog2() as usize]
    }
}

impl<S: Link, L: Link> Contender for Many<S, L> {
    fn connect(&mut self) -> Fallible {
        let short = self.out.iter_mut().flatten().chain(&mut self.producers).chain(&mut self.lanes);
        short.map(Link::connect).collect::<Fallible>()?;
        self.long.iter_mut().try_for_each(Link::connect)
    }

    fn send(&mut self, way: Way, n: u64) -> Fallible {
        match way {
            Way { len: LONG, producer, .. } => self.long[producer].send(n),
            Way { producers: 2.., producer, .. } => self.producers[producer].send(n),
            Way { consumers: 1, lane, worker, .. } => self.lanes[lane + worker].send(n),
            way => self.out(way).iter_mut().try_for_each(|link| link.send(n)),
        }
    }

    fn receive(&mut self, way: Way) -> Fallible<u64> {
        match way {
            Way { len: LONG, producers, .. } => {
                let links = if L::FANS_IN { 1 } else { producers };
                any(&mut self.long[..links], &mut self.next)
            }
            Way { producers: producers @ 2.., .. } => {
                let links = if S::FANS_IN { 1 } else { producers };
                any(&mut self.producers[..links], &mut self.next)
            }
            Way { consumers: 1, lane, worker, .. } => one(&mut self.lanes[lane + worker]),
            way => one(&mut self.out(way)[way.consumer]),
        }
    }
}
