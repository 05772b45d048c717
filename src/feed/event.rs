//! What a feed yields.

use crate::consumer::{ReceiveError, Record};
use crate::lane::LaneInfo;

/// An event of a [`Feed`](super::Feed): a record, or a change of the lane that records come from.
///
/// Records come between a `Joined` and the `Finished` or `Lost` that follows it, and are of the lane that was joined.
///
/// ```
/// use fdring::feed::{Feed, FeedEvent};
/// # use fdring::{Producer, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut ticks = Producer::create("ticks")?;
/// # let server = Server::listen("@doc-feed-event", [&ticks])?;
/// let mut feed = Feed::connect("@doc-feed-event")?;
/// # let mut has_sent = false;
/// loop {
///     match feed.receive()? {
///         Some(FeedEvent::Joined { lane, missed_bytes, .. }) => {
///             println!("lane {} joined, {missed_bytes:?} bytes missed", lane.name);
/// #           if !has_sent { ticks.send(b"hello")?; has_sent = true; }
///         }
///         Some(FeedEvent::Record(record)) => {
///             assert_eq!(&record[..], b"hello");
///             break;
///         }
///         Some(FeedEvent::Lost { why, .. }) => println!("lost: {why}"),
///         Some(FeedEvent::Finished { .. }) => println!("the producer has finished its lane"),
///         Some(_) => {}  // there may be more in later versions
///         None => break, // only of a feed that ends with its lane
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum FeedEvent<'a> {
    /// The next record of the lane that was joined last.
    Record(Record<'a>),
    /// A lane was joined. Records of no other lane come before the next `Joined`.
    Joined {
        /// The facts of the lane. Its id tells it from others of its name.
        lane: &'a LaneInfo,
        /// The position of the first record that comes, or of the padding before it.
        position: u64,
        /// On the lane that was read before, the bytes that were published from where reading had stopped up to
        /// `position`: 0 if nothing was missed. `None` on another lane: what the feed has not read of the lane before
        /// is lost, and if reading begins at the oldest record, as by default, so is what was overwritten of this one.
        missed_bytes: Option<u64>,
    },
    /// The producer finished the lane, and everything was read. A feed connects again, unless it
    /// [ends with its lane](super::FeedOptions::ends_with_lane).
    Finished {
        /// The position of the end.
        position: u64,
    },
    /// The lane can no longer be read. The next call begins to connect again.
    Lost {
        /// The reason: for example [`PeerDead`](ReceiveError::PeerDead) or [`Evicted`](ReceiveError::Evicted).
        why: &'a ReceiveError,
        /// The position up to which it was read.
        position: u64,
    },
}

// As for the event of a collector: a record costs no call of a drop that has nothing to do.
const _: () = assert!(!std::mem::needs_drop::<FeedEvent<'_>>());
