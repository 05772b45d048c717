//! A generator of control buffers: messages in sequence, as kernels write them and as none does.
//!
//! Any bytes are a sequence, and similar bytes are a similar one, so that fuzzers get somewhere by mutation. Property
//! tests generate bytes, or use the feature `arbitrary`.

use fdring::cmsg::{Credentials, RawMessage};

/// The most messages of one sequence.
pub const MESSAGES_MAX: usize = 16;

/// One message of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// `SCM_RIGHTS`, numbers of descriptors; the generator makes 0 to 271. They are only numbers; the kernel takes at
    /// most 253.
    Rights(Vec<i32>),
    /// `SCM_CREDENTIALS`.
    Credentials(Credentials),
    /// `SCM_PIDFD`; negative numbers are errnos.
    Pidfd(i32),
    /// `SCM_TIMESTAMP`, 16 bytes as `struct timeval`.
    Timestamp([u8; 16]),
    /// Any level, type and body, with a length that fits it.
    Other {
        /// The protocol level.
        level: i32,
        /// The type within the level.
        kind: i32,
        /// The body.
        data: Vec<u8>,
    },
    /// As `Other`, with a length in the header that may be anything.
    Malformed {
        /// The length in the header.
        len: u64,
        /// The protocol level.
        level: i32,
        /// The type within the level.
        kind: i32,
        /// What lies behind the header.
        data: Vec<u8>,
    },
}

impl Message {
    /// Its header and body as fields, passed to `f`.
    fn with_raw<T>(&self, f: impl FnOnce(RawMessage<'_>) -> T) -> T {
        match self {
            Self::Rights(numbers) => {
                let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
                f(RawMessage::new(libc::SOL_SOCKET, libc::SCM_RIGHTS, &data))
            }
            Self::Credentials(sender) => {
                f(RawMessage::new(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &sender.to_bytes()))
            }
            Self::Pidfd(number) => f(RawMessage::new(libc::SOL_SOCKET, 4, &number.to_ne_bytes())),
            Self::Timestamp(time) => f(RawMessage::new(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, time)),
            Self::Other { level, kind, data } => f(RawMessage::new(*level, *kind, data)),
            Self::Malformed { len, level, kind, data } => f(RawMessage { len: *len, level: *level, kind: *kind, data }),
        }
    }
}

/// Messages in sequence, with the padding between them, and where the buffer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The messages, in order.
    pub messages: Vec<Message>,
    /// What every byte of padding is. Kernels write what was in the buffer before.
    pub padding: u8,
    /// How many bytes are cut off at the end, at most all. Up to 7 may be padding that nobody misses.
    pub cut_bytes: usize,
}

impl Sequence {
    /// The sequence that `data` stands for: any bytes are one, the empty ones are the empty one.
    ///
    /// ```
    /// use fdring_fuzz::messages::{Message, Sequence};
    ///
    /// // No cut, padding of zeros; then rights, of two descriptors, 5 and -1.
    /// let sequence = Sequence::from_bytes(&[0, 0, 0, 2, 5, 255]);
    /// assert_eq!(sequence.messages, [Message::Rights(vec![5, -1])]);
    /// assert_eq!(sequence.to_bytes().len(), 24);
    /// ```
    #[must_use]
    pub fn from_bytes(data: &[u8]) -> Self {
        let mut script = Script(data);
        let (cut, padding) = (script.u8(), script.u8());
        let mut messages = Vec::new();
        while !script.0.is_empty() && messages.len() < MESSAGES_MAX {
            messages.push(message(&mut script));
        }
        // Most inputs are not cut, some within the last message, some anywhere.
        let cut_bytes = match cut {
            0..128 => 0,
            128..192 => usize::from(cut - 127),
            _ => usize::from(cut - 191) * 17,
        };
        Self { messages, padding, cut_bytes }
    }

    /// The control buffer.
    ///
    /// ```
    /// use fdring_fuzz::messages::{Message, Sequence};
    ///
    /// let sequence = Sequence { messages: vec![Message::Pidfd(9)], padding: 0xaa, cut_bytes: 1 };
    /// assert_eq!(sequence.to_bytes()[16..], [9, 0, 0, 0, 0xaa, 0xaa, 0xaa]);
    /// ```
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut control = Vec::new();
        for message in &self.messages {
            message.with_raw(|raw| {
                let begin = control.len();
                control.resize(begin + raw.space_bytes(), 0);
                raw.encode(&mut control[begin..]).expect("there is room for it");
                control[begin + 16 + raw.data.len()..].fill(self.padding);
            });
        }
        control.truncate(control.len().saturating_sub(self.cut_bytes));
        control
    }

    /// Whether every message is well-formed and nothing is cut.
    ///
    /// ```
    /// assert!(fdring_fuzz::messages::Sequence::default().is_well_formed());
    /// ```
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.cut_bytes == 0 && !self.messages.iter().any(|message| matches!(message, Message::Malformed { .. }))
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Sequence {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let len = u.arbitrary_len::<u8>()?;
        Ok(Self::from_bytes(u.bytes(len)?))
    }
}

fn message(script: &mut Script<'_>) -> Message {
    match script.u8() % 12 {
        0 | 1 => {
            // Two counts of many: the most that a kernel takes, and what fits no message of its own.
            let count = match script.u8() {
                count @ 0..250 => usize::from(count % 8),
                count => 251 + usize::from(count - 250) * 4,
            };
            Message::Rights((0..count).map(|_| script.number()).collect())
        }
        2 => Message::Credentials(Credentials {
            pid: script.number(),
            uid: script.number().cast_unsigned(),
            gid: script.number().cast_unsigned(),
        }),
        3 => Message::Pidfd(script.number()),
        4 => Message::Timestamp(std::array::from_fn(|_| script.u8())),
        // A type that is known, and a body of any length.
        5 => {
            let (level, kind) = *script.choose(&KNOWN);
            Message::Other { level, kind, data: script.data() }
        }
        6 => Message::Other { level: script.number(), kind: script.number(), data: script.data() },
        7 => malformed(script, |fitting, script| fitting.wrapping_add_signed(i64::from(script.u8() as i8))),
        8 => malformed(script, |_, script| u64::from(script.u8())),
        9 => malformed(script, |fitting, script| fitting | 1 << (script.u8() % 64)),
        10 => malformed(script, |_, script| u64::MAX - u64::from(script.u8())),
        _ => malformed(script, |_, script| u64::from_le_bytes(std::array::from_fn(|_| script.u8()))),
    }
}

/// Level and type of descriptors, credentials, a pidfd, a security label, a timestamp, and a hop limit of IPv6.
const KNOWN: [(i32, i32); 6] = [(1, 1), (1, 2), (1, 4), (1, 3), (1, 29), (41, 52)];

fn malformed(script: &mut Script<'_>, len: impl Fn(u64, &mut Script<'_>) -> u64) -> Message {
    let (level, kind) = *script.choose(&KNOWN);
    let data = script.data();
    Message::Malformed { len: len(16 + data.len() as u64, script), level, kind, data }
}

/// What is left of the bytes; zeros once they are used up.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A small number, negative ones too.
    fn number(&mut self) -> i32 {
        match self.u8() {
            0x80 => i32::from_le_bytes(std::array::from_fn(|_| self.u8())),
            byte => i32::from(byte as i8),
        }
    }

    fn data(&mut self) -> Vec<u8> {
        let len = usize::from(self.u8() % 33);
        (0..len).map(|_| self.u8()).collect()
    }

    fn choose<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[usize::from(self.u8()) % choices.len()]
    }
}
