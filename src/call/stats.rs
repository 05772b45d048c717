//! What callers and services count.

/// The statistics of a [`Caller`](super::Caller) since it first connected.
///
/// ```
/// # use fdring::call::{Caller, CallerStats, Service};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let service = Service::listen("@doc-caller-stats-struct")?;
/// let caller = Caller::connect("@doc-caller-stats-struct")?;
/// let CallerStats { sent, timed_out, lost, .. } = caller.stats();
/// println!("{timed_out} of {sent} calls had no reply in time, {lost} were lost with their session");
/// # assert_eq!((sent, timed_out, lost), (0, 0, 0));
/// # drop(service);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallerStats {
    /// The requests sent.
    pub sent: u64,
    /// The replies handed out.
    pub replies: u64,
    /// The calls that were refused.
    pub refused: u64,
    /// The calls that had no reply in time.
    pub timed_out: u64,
    /// The calls that were in flight when their session ended.
    pub lost: u64,
    /// The calls that were given up: cancelled, or their tickets dropped.
    pub cancelled: u64,
    /// The replies that came for no call in flight: late, doubled, or made up. They were dropped.
    pub stray: u64,
    /// The sessions opened.
    pub sessions: u64,
    /// The calls in flight now.
    pub in_flight: usize,
    /// The bytes of replies that wait to be taken now.
    pub stored_bytes: u64,
}

/// The statistics of a [`Service`](super::Service) since it began to listen.
///
/// ```
/// # use fdring::call::{Service, ServiceStats};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = Service::listen("@doc-service-stats-struct")?;
/// let ServiceStats { callers, requests, evicted, .. } = service.stats();
/// println!("{requests} requests so far; {callers} callers are there, {evicted} were evicted");
/// # assert_eq!((callers, requests, evicted), (0, 0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceStats {
    /// The callers there now.
    pub callers: usize,
    /// The callers that have joined.
    pub joined: u64,
    /// The connections that came to nothing.
    pub refused: u64,
    /// The requests received.
    pub requests: u64,
    /// The replies, parts included, that went out or wait for room.
    pub replies: u64,
    /// The requests that the program refused.
    pub refusals: u64,
    /// The requests that the program dropped, or answered with a reply that was too long.
    pub dropped: u64,
    /// The requests that came to the program's turn after their deadline, and were left out.
    pub expired: u64,
    /// The requests that their callers gave up while the program had them.
    pub cancelled: u64,
    /// The callers evicted: they broke the protocol, took no replies for too long, or left too many.
    pub evicted: u64,
    /// Why the last connection came to nothing or, if none did, the last caller was lost, as a sentence. `None` also if
    /// the last one was evicted because it took no replies.
    pub last_refusal: Option<String>,
}
