//! What is measured: every contender at every size, as both processes know it by its number.

use std::fmt;

/// The payload lengths of one-way transfers, in bytes.
pub(crate) const LENGTHS: [usize; 7] = [8, 56, 64, 256, 1024, 4096, 65536];
/// How many records a batch has, in every contender that sends in batches.
pub(crate) const BATCH: u64 = 32;
/// What stands in every word of a payload but the first.
const FILLER: u64 = 0x0123_4567_89ab_cdef;

/// Calls a function that is generic over the payload's length, so that every contender knows it when it is compiled.
macro_rules! with_len {
    ($len:expr, $LEN:ident => $call:expr) => {
        match $len {
            8 => crate::plan::with_len!(@ 8, $LEN => $call),
            56 => crate::plan::with_len!(@ 56, $LEN => $call),
            64 => crate::plan::with_len!(@ 64, $LEN => $call),
            256 => crate::plan::with_len!(@ 256, $LEN => $call),
            1024 => crate::plan::with_len!(@ 1024, $LEN => $call),
            4096 => crate::plan::with_len!(@ 4096, $LEN => $call),
            65536 => crate::plan::with_len!(@ 65536, $LEN => $call),
            other => unreachable!("no payload of {other} bytes is planned"),
        }
    };
    (@ $value:literal, $LEN:ident => $call:expr) => {{
        const $LEN: usize = $value;
        $call
    }};
}
pub(crate) use with_len;

/// Writes record `n`: its number, and the rest filled.
#[inline(always)]
pub(crate) fn fill<const LEN: usize>(payload: &mut [u8; LEN], n: u64) {
    for word in payload.chunks_exact_mut(8) {
        word.copy_from_slice(&FILLER.to_ne_bytes());
    }
    stamp(payload, n);
}

/// Writes the number of record `n` into a payload that is filled already.
#[inline(always)]
pub(crate) fn stamp<const LEN: usize>(payload: &mut [u8; LEN], n: u64) {
    payload[..8].copy_from_slice(&n.to_ne_bytes());
}

/// Reads a payload: the sum of its words.
#[inline(always)]
pub(crate) fn sum(payload: &[u8]) -> u64 {
    let words = payload.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
    words.fold(0, u64::wrapping_add)
}

/// The sum over the records 0 to `records` − 1 of `len` bytes each.
pub(crate) fn sum_of_all(len: usize, records: u64) -> u64 {
    let numbers = (u128::from(records) * u128::from(records.saturating_sub(1)) / 2) as u64;
    numbers.wrapping_add(FILLER.wrapping_mul(len as u64 / 8 - 1).wrapping_mul(records))
}

/// How a raw ring publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawMode {
    Each,
    EachFenced,
    By16,
    By32,
}

/// How an fdring producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    Send,
    Reserve,
    Batch,
}

/// The lanes of the benchmark: how their records are read, and aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneKind {
    InPlace,
    InPlaceLines,
    Copied,
}

/// What the kernel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    Pipe,
    Stream,
    Seqpacket,
}

/// Who carries records one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Raw(RawMode),
    Fdring(Sending, LaneKind),
    Channel(ChannelKind),
}

/// Who carries a record there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bouncer {
    Line,
    Ring,
    Futex,
    Fdring(LaneKind),
    Channel(ChannelKind),
}

/// How the two sides wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Spinning,
    Asleep,
}

/// One contender in one measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    OneWay(Carrier, usize),
    RoundTrip(Bouncer, Waiting),
}

impl Case {
    /// The probe: how far apart the two cores are.
    pub(crate) const PROBE: Self = Self::RoundTrip(Bouncer::Line, Waiting::Spinning);

    /// What its figures are compared with.
    pub(crate) fn ceiling(self) -> Self {
        match self {
            // A batch of large records is a good part of the ring, and then the two sides wait for each other.
            Self::OneWay(_, len) if len >= 4096 => Self::OneWay(Carrier::Raw(RawMode::Each), len),
            Self::OneWay(_, len) => Self::OneWay(Carrier::Raw(RawMode::By32), len),
            Self::RoundTrip(_, Waiting::Spinning) => Self::RoundTrip(Bouncer::Ring, Waiting::Spinning),
            Self::RoundTrip(_, Waiting::Asleep) => Self::RoundTrip(Bouncer::Futex, Waiting::Asleep),
        }
    }

    /// The heading it stands under.
    pub(crate) fn measure(self) -> String {
        match self {
            Self::OneWay(_, len) => format!("one way, {} a record", Bytes(len)),
            Self::RoundTrip(_, Waiting::Spinning) => "round trip of 56 B, both spinning".to_owned(),
            Self::RoundTrip(_, Waiting::Asleep) => "round trip of 56 B, both asleep in between".to_owned(),
        }
    }

    pub(crate) fn is_one_way(self) -> bool {
        matches!(self, Self::OneWay(..))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::OneWay(Carrier::Raw(mode), _) => match mode {
                RawMode::Each => "raw ring, each",
                RawMode::EachFenced => "raw ring, each fenced",
                RawMode::By16 => "raw ring, batches of 16",
                RawMode::By32 => "raw ring, batches of 32",
            },
            Self::OneWay(Carrier::Fdring(sending, lane), _) => {
                let sending = match sending {
                    Sending::Send => "send",
                    Sending::Reserve => "reserve",
                    Sending::Batch => "batches of 32",
                };
                return write!(f, "fdring {sending}, {}", lane.name());
            }
            Self::RoundTrip(Bouncer::Line, _) => "cache line",
            Self::RoundTrip(Bouncer::Ring, _) => "raw ring",
            Self::RoundTrip(Bouncer::Futex, _) => "futex",
            Self::RoundTrip(Bouncer::Fdring(lane), _) => return write!(f, "fdring {}", lane.name()),
            Self::OneWay(Carrier::Channel(kind), _) | Self::RoundTrip(Bouncer::Channel(kind), _) => match kind {
                ChannelKind::Pipe => "pipe",
                ChannelKind::Stream => "Unix stream",
                ChannelKind::Seqpacket => "Unix seqpacket",
            },
        };
        f.write_str(name)
    }
}

impl LaneKind {
    pub(crate) const ALL: [Self; 3] = [Self::InPlace, Self::InPlaceLines, Self::Copied];

    fn name(self) -> &'static str {
        match self {
            Self::InPlace => "in place",
            Self::InPlaceLines => "in place, record_align 64",
            Self::Copied => "copied",
        }
    }
}

impl ChannelKind {
    pub(crate) const ALL: [Self; 3] = [Self::Pipe, Self::Stream, Self::Seqpacket];
}

/// All cases, in the order of the report; the same in both processes.
pub(crate) fn cases() -> Vec<Case> {
    let raw = [RawMode::Each, RawMode::EachFenced, RawMode::By16, RawMode::By32].map(Carrier::Raw);
    let fdring = [
        (Sending::Send, LaneKind::InPlace),
        (Sending::Reserve, LaneKind::InPlace),
        (Sending::Batch, LaneKind::InPlace),
        (Sending::Reserve, LaneKind::InPlaceLines),
        (Sending::Batch, LaneKind::InPlaceLines),
        (Sending::Send, LaneKind::Copied),
        (Sending::Batch, LaneKind::Copied),
    ];
    let fdring = fdring.map(|(sending, lane)| Carrier::Fdring(sending, lane));
    let channels = ChannelKind::ALL.map(Carrier::Channel);
    let carriers: Vec<Carrier> = raw.into_iter().chain(fdring).chain(channels).collect();
    let one_way = LENGTHS.into_iter().flat_map(|len| carriers.iter().map(move |carrier| Case::OneWay(*carrier, len)));

    let spinning =
        [Bouncer::Line, Bouncer::Ring, Bouncer::Fdring(LaneKind::InPlace), Bouncer::Fdring(LaneKind::Copied)];
    let asleep = [Bouncer::Futex, Bouncer::Fdring(LaneKind::InPlace)];
    let channels = ChannelKind::ALL.map(Bouncer::Channel);
    let spinning = spinning.into_iter().chain(channels).map(|bouncer| Case::RoundTrip(bouncer, Waiting::Spinning));
    let asleep = asleep.into_iter().chain(channels).map(|bouncer| Case::RoundTrip(bouncer, Waiting::Asleep));
    one_way.chain(spinning).chain(asleep).collect()
}

/// A length as people write it.
pub(crate) struct Bytes(pub(crate) usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            len if len >= 1024 => write!(f, "{} KiB", len / 1024),
            len => write!(f, "{len} B"),
        }
    }
}
