//! The choices that the two ends of a session agree on for each lane. Rings, sessions and frames all speak of them;
//! their bytes on the wire are in [`wire`](crate::wire).

/// Where in the stream a consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the first record that is published after the consumer has joined. The default.
    #[default]
    Latest,
    /// At the oldest record that is certain to be intact. Up to a sixteenth of the ring may be skipped, or a batch if
    /// that is longer.
    Oldest,
}

/// Whether a consumer holds the producer back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Lossless,
    Lossy,
}

/// How a consumer gets at payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads them in the ring, and is never evicted while it lives.
    InPlace,
    /// It copies them out, and can be evicted.
    Copies,
}

/// How a sleeper and its waker order their looks at each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// A sequentially consistent fence on both sides.
    Fence,
    /// The sleeper pays for both sides, see membarrier(2).
    Asymmetric,
}

/// What a consumer of a lane sleeps on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BellKind {
    /// Between processes of one user: the quickest.
    Eventfd,
    /// Between users: neither side can make the other wait.
    Socketpair,
}

impl std::fmt::Display for BellKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Eventfd => "an eventfd",
            Self::Socketpair => "one end of a seqpacket socket pair",
        })
    }
}
