//! How a feed connects, where it begins, and when it gives up.

use super::Feed;
use super::connector::ConnectPlan;
use super::course::{Course, LaneId};
use crate::error::{Error, Result};
use crate::session::Address;
use crate::session::attach::Attach;
use crate::session::options::SessionOptions;
use crate::terms::{Delivery, Start};
use std::time::Duration;

/// The longest pause between two tries, by default.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Options for a [`Feed`]. [`connect`](Self::connect) makes it.
///
/// ```
/// use fdring::feed::FeedOptions;
/// use fdring::options::Start;
/// use fdring::{Attach, Producer, Server};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-feed-options", [&ticks])?;
/// let attach = Attach::lane("ticks").start(Start::Oldest);
/// let mut feed = FeedOptions::new().attach(attach).patience(Duration::from_secs(60)).connect("@doc-feed-options")?;
/// # feed.receive()?;
/// # assert_eq!(feed.consumer().unwrap().lane().name, "ticks");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a feed is made with them"]
pub struct FeedOptions {
    attach: Attach,
    session: SessionOptions,
    later_start: Start,
    stand: Option<(LaneId, u64)>,
    pub(super) patience: Duration,
    pub(super) pause_max: Duration,
    pub(super) ends_with_lane: bool,
}

impl FeedOptions {
    /// The defaults: the only lane of a server of this user, from the latest record on, later lanes from their oldest;
    /// it tries for ever, with pauses of up to a second.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::FeedOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut feed = FeedOptions::new().connect("@doc-feed-options-new")?; // as Feed::connect
    /// # let ticks = Producer::create("ticks")?;
    /// let server = Server::listen("@doc-feed-options-new", [&ticks])?; // may begin later than the feed
    /// feed.receive()?;
    /// assert_eq!(ticks.consumer_count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            attach: Attach::new(),
            session: SessionOptions::new(),
            later_start: Start::Oldest,
            stand: None,
            patience: Duration::MAX,
            pause_max: PAUSE_MAX,
            ends_with_lane: false,
        }
    }

    /// Which lane to read, where to begin on the first one, and whether to read in place. Default: [`Attach::new`].
    ///
    /// With [`Start::Resume`], each lane is resumed, which needs a lane that
    /// [wants consumers](crate::options::NoConsumer), and nothing is missed while the feed is away. On such a lane a
    /// feed that does not resume loses its place with its seat: the lane goes on waiting for another consumer, and the
    /// feed for records.
    ///
    /// ```
    /// # use fdring::{Attach, Producer, Server, feed::FeedOptions, options::Start};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (mut ticks, trades) = (Producer::create("ticks")?, Producer::create("trades")?);
    /// # let server = Server::listen("@doc-feed-options-attach", [&ticks, &trades])?;
    /// ticks.send(b"before")?;
    /// let ticks = Attach::lane("ticks").start(Start::Oldest);
    /// let mut feed = FeedOptions::new().attach(ticks).connect("@doc-feed-options-attach")?;
    /// feed.receive()?;
    /// assert_eq!(feed.consumer().unwrap().behind_bytes(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(mut self, attach: Attach) -> Self {
        self.attach = attach;
        self
    }

    /// How each session is opened. Its [`patience`](SessionOptions::patience) has no effect, and neither have its
    /// [`lanes`](SessionOptions::lanes): [`attach`](Self::attach) names the lane. Its
    /// [`interrupter`](SessionOptions::interrupter) ends the waits of the feed. Default: [`SessionOptions::new`].
    ///
    /// ```
    /// # use fdring::{Interrupter, feed::{FeedError, FeedOptions}, options::SessionOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let stop = Interrupter::new()?;
    /// let session = SessionOptions::new().interrupter(&stop);
    /// let mut feed = FeedOptions::new().session(session).connect("@doc-feed-options-session")?;
    /// stop.interrupt();
    /// assert!(matches!(feed.receive(), Err(FeedError::Interrupted)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(mut self, session: SessionOptions) -> Self {
        self.session = session;
        self
    }

    /// Where to begin on each lane after the first: one of a producer that was started again. Default:
    /// [`Start::Oldest`], so that what it has published since is read. A lane that was resumed is resumed again after a
    /// loss.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::FeedOptions, options::Start};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-options-later", [&ticks])?;
    /// let mut live = FeedOptions::new().later_start(Start::Latest).connect("@doc-feed-options-later")?;
    /// # assert!(live.receive()?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn later_start(mut self, start: Start) -> Self {
        self.later_start = start;
        self
    }

    /// Goes on at `position`, if the first lane that the feed finds has the id `lane`. For a program that was restarted
    /// and has kept both numbers. A record that was in hand when the program stopped may come again: save
    /// [`Feed::position`] once a record is done. Default: begin as [`attach`](Self::attach) says.
    ///
    /// ```
    /// use fdring::feed::{Feed, FeedEvent, FeedOptions};
    /// # use fdring::{Producer, Server};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-go-on", [&ticks])?;
    /// let mut feed = Feed::connect("@doc-feed-go-on")?;
    /// feed.receive()?; // joined
    /// ticks.send(b"first")?;
    /// ticks.send(b"second")?;
    /// feed.receive()?;
    /// let (lane, position) = (feed.consumer().unwrap().lane().id, feed.position());
    /// drop(feed);
    ///
    /// let mut feed = FeedOptions::new().go_on_at(lane, position).connect("@doc-feed-go-on")?;
    /// assert!(matches!(feed.receive()?, Some(FeedEvent::Joined { missed_bytes: Some(0), .. })));
    /// let Some(FeedEvent::Record(record)) = feed.receive()? else { panic!("it is there") };
    /// assert_eq!(&record[..], b"second");
    /// # Ok(())
    /// # }
    /// ```
    pub fn go_on_at(mut self, lane: [u8; 16], position: u64) -> Self {
        self.stand = Some((lane, position));
        self
    }

    /// How long the feed tries to connect before a call fails with [`GaveUp`](super::FeedError::GaveUp), counted from
    /// the time at which it was made or lost a lane. Default: for ever.
    ///
    /// A lane that is lost within the longest pause, before any record came, counts as a failed try.
    ///
    /// ```
    /// # use fdring::feed::{FeedError, FeedOptions};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = FeedOptions::new().patience(Duration::from_millis(20));
    /// let mut feed = options.connect("@doc-feed-options-patience")?;
    /// assert!(matches!(feed.receive(), Err(FeedError::GaveUp(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The longest pause between two tries to connect. Pauses begin with 1 ms and double. Default: 1 s.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::FeedOptions};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-options-pause", [&ticks])?;
    /// let options = FeedOptions::new().pause_max(Duration::from_millis(50)); // at most so late
    /// let mut feed = options.connect("@doc-feed-options-pause")?;
    /// # assert!(feed.receive()?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause_max(mut self, pause: Duration) -> Self {
        self.pause_max = pause;
        self
    }

    /// Whether the feed ends when a producer finishes its lane: after [`Finished`](super::FeedEvent::Finished), calls
    /// return `None`. Default: false, it waits for the next lane.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::FeedOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-options-ends", [&ticks])?;
    /// let mut feed = FeedOptions::new().ends_with_lane(true).connect("@doc-feed-options-ends")?;
    /// # feed.receive()?;
    /// # ticks.send(b"hello")?;
    /// # ticks.finish();
    /// while let Some(event) = feed.receive()? {
    ///     println!("{event:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ends_with_lane(mut self, ends: bool) -> Self {
        self.ends_with_lane = ends;
        self
    }

    /// Makes a feed that connects to `address`, now or when a server listens there. Returns at once. A relative path
    /// keeps meaning the same file, even if the working directory changes.
    ///
    /// ```
    /// # use fdring::{Producer, Server, feed::{FeedEvent, FeedOptions}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ticks = Producer::create("ticks")?;
    /// # let server = Server::listen("@doc-feed-options-connect", [&ticks])?;
    /// let mut feed = FeedOptions::new().connect("@doc-feed-options-connect")?;
    /// let Some(FeedEvent::Joined { lane, missed_bytes, .. }) = feed.receive()? else { panic!("it joins first") };
    /// assert_eq!((&*lane.name, missed_bytes), ("ticks", None));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`] if a lane is to begin at [`Start::Newest`], which only taps can do, or if all later ones
    ///   are to begin at one position
    /// - [`Error::Os`] if the process is out of descriptors
    /// - [`Error::Forked`] in a forked child of a process that has used this library
    pub fn connect(self, address: impl Into<Address>) -> Result<Feed> {
        let Self { attach, later_start, stand, .. } = &self;
        for attach in [attach.clone(), attach.clone().start(*later_start)] {
            attach.check(Delivery::Lossless).map_err(|fault| Error::Invalid(fault.to_owned()))?;
        }
        if let Start::At(position) = later_start {
            let fault = format!("each later lane is to begin at position {position}; a position belongs to one lane");
            return Err(Error::Invalid(fault));
        }
        let course = Course::new(attach.starts_at(), *later_start, *stand);
        let session = self.session.clone().lanes(attach.name()).patience(Duration::ZERO);
        let plan = ConnectPlan { address: address.into().into_absolute(), session, attach: attach.clone(), course };
        Feed::new(plan, self)
    }

    /// Its part of the interrupter.
    pub(super) fn interrupter(&self) -> Option<&crate::os::interrupt::Interrupter> {
        self.session.interrupter.as_ref()
    }
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self::new()
    }
}
