//! Why a record could not be sent, and who is to blame.

/// Why a record could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// A record takes at most half of the ring.
    #[error("a payload of {len} bytes is more than the {max} that this lane takes; raise its capacity")]
    TooLong {
        /// The length asked for, in bytes.
        len: usize,
        /// The longest payload of this lane, in bytes.
        max: usize,
    },
    /// There is no room now; only from the `try_` forms.
    #[error("the lane is full{}", Holder::describe(.holder))]
    Full {
        /// Who holds the lane back, where that is known.
        holder: Option<Holder>,
    },
    /// There was no room until the deadline.
    #[error("the lane stayed full until the deadline{}", Holder::describe(.holder))]
    TimedOut {
        /// Who holds the lane back, where that is known.
        holder: Option<Holder>,
    },
    /// The producer was made before a fork, and this is the child.
    #[error("this process is a forked child, and a producer belongs to the process that created it")]
    Forked,
}

/// The consumer that holds a lane back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id; 0 where the kernel would not say.
    pub pid: u32,
    /// How much of what is published it has not given back, in bytes.
    pub behind_bytes: u64,
}

impl Holder {
    fn describe(holder: &Option<Self>) -> String {
        holder.map_or_else(String::new, |Self { pid, behind_bytes }| {
            format!(": process {pid} has yet to give back {behind_bytes} bytes")
        })
    }
}
