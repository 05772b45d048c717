//! Control messages of Unix sockets as bytes: an encoder for descriptor arrays and for any message, and a walker over
//! anything.
//!
//! Pure functions over byte slices, without I/O and without `unsafe`. The descriptors that the walker yields are plain
//! numbers; the caller takes ownership of them. The walker accepts any bytes: it never panics and allocates nothing,
//! and every step takes at least one whole header off the input or is the last.
//!
//! ```text
//! offset  0            8           12          16             cmsg_len      next multiple of 8
//!         ┌────────────┬───────────┬───────────┬──────────────┬─────────────┐
//!         │ cmsg_len   │ level     │ type      │ body         │ zeros       │
//!         │ u64        │ i32       │ i32       │              │             │
//!         └────────────┴───────────┴───────────┴──────────────┴─────────────┘
//! ```
//!
//! `cmsg_len` counts header and body, without the padding before the next message. The last message may lack padding.
//! This is `struct cmsghdr` of 64-bit Linux, see cmsg(3). Numbers are in the machine's byte order.
//!
//! # Differences from the macros of cmsg(3)
//!
//! Over what a kernel left in a buffer, [`walk`] and `CMSG_FIRSTHDR`, `CMSG_NXTHDR` find the same messages. They differ
//! over other bytes, for which the macros are silent and the walker yields an error:
//!
//! | in the buffer | the macros of glibc 2.36 | [`walk`] |
//! | --- | --- | --- |
//! | a tail of 1 to 15 bytes after the last message | pass over it | [`ControlError::HeaderPastEnd`] |
//! | a header whose length is below 16 | hand it out, then end | [`ControlError::BelowHeader`], then ends |
//! | a header whose length is beyond the buffer | hand it out, then end | [`ControlError::PastEnd`], then ends |
//! | a body of the wrong length for its type | leave that to the caller | [`ControlError::Body`], goes on |
//!
//! A caller of the macros must compare `cmsg_len` with 16 and with the end of the buffer before it touches
//! `CMSG_DATA`.
//!
//! # What kernels accept and deliver
//!
//! - Linux does not deliver malformed messages, with one exception: if the room in the control buffer ends inside of a
//!   message other than `SCM_RIGHTS`, that message is cut. Credentials that get a room of 16 to 27 bytes arrive with a
//!   body of 0 to 11, which is [`ControlError::Body`]. `MSG_CTRUNC` is then set in `msg_flags`: **look at that flag
//!   before the messages**. With less room than a header nothing arrives, and the flag is set too.
//! - An array of descriptors is cut between two of them, with `MSG_CTRUNC`. The kernel closes the rest.
//! - Linux accepts an `SCM_RIGHTS` message whose body ends in a fraction of a descriptor, and sends those before it.
//!   The walker calls such a message [`ControlError::Body`]; no receiver ever gets one.
//! - Linux joins several `SCM_RIGHTS` messages of one sendmsg(2) into one, and drops one without descriptors. It skips
//!   messages of other levels than `SOL_SOCKET`, and a tail that is shorter than a header. It refuses (`EINVAL`)
//!   lengths below 16 and beyond the buffer at any level, types of `SOL_SOCKET` other than rights and credentials, and
//!   more than [`FDS_PER_MESSAGE_MAX`] descriptors.
//!
//! # Examples
//!
//! ```
//! use fdring::cmsg::{ControlMessage, encode_rights, walk};
//!
//! let mut control = [0; 64];
//! let used = encode_rights([3, 4, 5], &mut control)?;
//! assert_eq!(used, 32); // a header, three numbers of four bytes each, and four bytes of padding
//!
//! for message in walk(&control[..used]) {
//!     match message? {
//!         ControlMessage::Rights(numbers) => assert_eq!(numbers.collect::<Vec<_>>(), [3, 4, 5]),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::io;
use std::iter::FusedIterator;

/// The most descriptors that one message can carry; the kernel's `SCM_MAX_FD`, see unix(7).
///
/// ```
/// use fdring::cmsg::{FDS_PER_MESSAGE_MAX, rights_space_bytes};
///
/// assert_eq!(rights_space_bytes(FDS_PER_MESSAGE_MAX), 16 + 4 * 253 + 4); // a header, the descriptors, padding
/// ```
pub const FDS_PER_MESSAGE_MAX: usize = 253;

/// The length of `struct cmsghdr`, in bytes.
pub(crate) const HEADER_LEN_BYTES: usize = 16;
/// What control messages are aligned to, in bytes.
pub(crate) const CONTROL_ALIGN_BYTES: usize = 8;
/// The length of one descriptor's number, in bytes.
pub(crate) const FD_LEN_BYTES: usize = 4;
/// The length of `struct ucred`, in bytes: pid, uid and gid.
pub(crate) const CREDENTIALS_LEN_BYTES: usize = 12;

/// `SCM_PIDFD`, from Linux 6.5; not in libc yet.
const SCM_PIDFD: i32 = 4;

/// The control length, in bytes, of one message of `fds` descriptors: `CMSG_SPACE(fds * sizeof(int))`.
///
/// # Examples
///
/// ```
/// assert_eq!(fdring::cmsg::rights_space_bytes(1), 24);
/// assert_eq!(fdring::cmsg::rights_space_bytes(4), 32);
/// ```
#[must_use]
pub const fn rights_space_bytes(fds: usize) -> usize {
    control_space_bytes(fds.saturating_mul(FD_LEN_BYTES))
}

/// `CMSG_SPACE(body)`, in bytes.
pub(crate) const fn control_space_bytes(body_bytes: usize) -> usize {
    let unpadded = HEADER_LEN_BYTES.saturating_add(body_bytes);
    unpadded.saturating_add(CONTROL_ALIGN_BYTES - 1) & !(CONTROL_ALIGN_BYTES - 1)
}

/// Writes one `SCM_RIGHTS` message of `numbers`, 1 to 253 of them, to the beginning of `control`. Returns its length in
/// bytes.
///
/// The length is [`rights_space_bytes`] of the count: the value for `msg_controllen`. The padding is zeroed. Bytes
/// after it are not touched. The kernel wants a control buffer aligned to 8 bytes; this function accepts any.
///
/// ```
/// use fdring::cmsg::{encode_rights, rights_space_bytes};
///
/// let mut control = [0xff; 40];
/// assert_eq!(encode_rights([3, 4], &mut control)?, rights_space_bytes(2));
/// assert_eq!(control[0], 24); // cmsg_len: a header of 16 bytes and two numbers of 4
/// assert_eq!(control[24..], [0xff; 16]);
/// # Ok::<(), fdring::cmsg::EncodeError>(())
/// ```
///
/// # Errors
///
/// The beginning of `control` may have been overwritten, and the error is
///
/// - [`EncodeError::Empty`] if there are no numbers
/// - [`EncodeError::TooMany`] if there are more than [`FDS_PER_MESSAGE_MAX`]
/// - [`EncodeError::NoRoom`] if `control` is too short
pub fn encode_rights<I>(numbers: I, control: &mut [u8]) -> Result<usize, EncodeError>
where
    I: IntoIterator<Item = i32>,
{
    let room = control.len();
    let mut count = 0;
    for number in numbers {
        if count == FDS_PER_MESSAGE_MAX {
            return Err(EncodeError::TooMany);
        }
        let at = HEADER_LEN_BYTES + count * FD_LEN_BYTES;
        let slot = control.get_mut(at..at + FD_LEN_BYTES).ok_or(EncodeError::NoRoom { room })?;
        slot.copy_from_slice(&number.to_ne_bytes());
        count += 1;
    }
    if count == 0 {
        return Err(EncodeError::Empty);
    }
    let body_end = HEADER_LEN_BYTES + count * FD_LEN_BYTES;
    let used = rights_space_bytes(count);
    control.get_mut(body_end..used).ok_or(EncodeError::NoRoom { room })?.fill(0);
    control[0..8].copy_from_slice(&(body_end as u64).to_ne_bytes());
    control[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control[12..16].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    Ok(used)
}

/// A control message as bytes, well-formed or not: whatever the header says is what gets written.
///
/// [`new`](Self::new) makes a well-formed one. For fuzzers and tests, every field can be set by itself.
///
/// ```
/// use fdring::cmsg::{ControlError, ControlMessage, Credentials, RawMessage, walk};
///
/// let sender = Credentials { pid: 1, uid: 1000, gid: 100 };
/// let body = sender.to_bytes();
/// let message = RawMessage::new(libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &body);
/// let mut control = [0; 64];
/// let used = message.encode(&mut control)?;
/// assert_eq!(walk(&control[..used]).next(), Some(Ok(ControlMessage::Credentials(sender))));
///
/// let used = RawMessage { len: 1 << 32, ..message }.encode(&mut control)?;
/// assert!(matches!(walk(&control[..used]).next(), Some(Err(ControlError::PastEnd { .. }))));
/// # Ok::<(), fdring::cmsg::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// The length in the header: of header and body together, in bytes. Well-formed: 16 more than the length of `data`.
    pub len: u64,
    /// The protocol level, such as `SOL_SOCKET`.
    pub level: i32,
    /// The message's type within its level.
    pub kind: i32,
    /// The bytes behind the header, without padding.
    pub data: &'a [u8],
}

impl<'a> RawMessage<'a> {
    /// The well-formed message of this level, type and body.
    ///
    /// ```
    /// let message = fdring::cmsg::RawMessage::new(41, 50, b"abc");
    /// assert_eq!(message.len, 19);
    /// ```
    #[must_use]
    pub const fn new(level: i32, kind: i32, data: &'a [u8]) -> Self {
        Self { len: (HEADER_LEN_BYTES + data.len()) as u64, level, kind, data }
    }

    /// How many bytes [`encode`](Self::encode) writes: header, data and padding, `CMSG_SPACE` of the length of `data`.
    ///
    /// ```
    /// assert_eq!(fdring::cmsg::RawMessage::new(1, 1, &[0; 5]).space_bytes(), 24);
    /// ```
    #[must_use]
    pub const fn space_bytes(&self) -> usize {
        control_space_bytes(self.data.len())
    }

    /// Writes the message to the beginning of `control`: header, data, and zeros up to the next multiple of 8. Returns
    /// the number of bytes written, [`space_bytes`](Self::space_bytes). Bytes after these are not touched.
    ///
    /// The kernel wants a control buffer aligned to 8 bytes; this function accepts any.
    ///
    /// ```
    /// use fdring::cmsg::RawMessage;
    ///
    /// let mut control = [0xff; 32];
    /// assert_eq!(RawMessage::new(1, 1, &[7, 0, 0, 0]).encode(&mut control), Ok(24));
    /// assert_eq!(control[16..24], [7, 0, 0, 0, 0, 0, 0, 0]);
    /// ```
    ///
    /// # Errors
    ///
    /// [`EncodeError::NoRoom`] if `control` is too short. Nothing has been written then.
    pub fn encode(&self, control: &mut [u8]) -> Result<usize, EncodeError> {
        let (room, used) = (control.len(), self.space_bytes());
        let place = control.get_mut(..used).ok_or(EncodeError::NoRoom { room })?;
        let (header, body) = place.split_at_mut(HEADER_LEN_BYTES);
        header[0..8].copy_from_slice(&self.len.to_ne_bytes());
        header[8..12].copy_from_slice(&self.level.to_ne_bytes());
        header[12..16].copy_from_slice(&self.kind.to_ne_bytes());
        let (data, padding) = body.split_at_mut(self.data.len());
        data.copy_from_slice(self.data);
        padding.fill(0);
        Ok(used)
    }
}

/// The reason why descriptor numbers cannot be written as one control message.
///
/// ```
/// use fdring::cmsg::{EncodeError, encode_rights, rights_space_bytes};
///
/// let numbers = [3, 4, 5];
/// let mut control = vec![0; 16];
/// while let Err(EncodeError::NoRoom { .. }) = encode_rights(numbers, &mut control) {
///     control.resize(rights_space_bytes(numbers.len()), 0);
/// }
/// assert_eq!(control.len(), 32);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// There are no numbers.
    Empty,
    /// There are more than 253 numbers, which is the most that the kernel takes in one message.
    TooMany,
    /// The buffer is too short.
    NoRoom {
        /// The length of the buffer, in bytes.
        room: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("a control message of no descriptors would not be delivered; give it at least one")
            }
            Self::TooMany => write!(
                f,
                "one message carries at most {FDS_PER_MESSAGE_MAX} descriptors; send the others in further messages"
            ),
            Self::NoRoom { room } => write!(
                f,
                "the control buffer of {room} bytes is too short; see rights_space_bytes, or \
                 RawMessage::space_bytes, for the length it needs"
            ),
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<EncodeError> for io::Error {
    /// Its kind is `InvalidInput`.
    fn from(error: EncodeError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl fmt::Debug for EncodeError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Empty => "Empty",
            Self::TooMany => "TooMany",
            Self::NoRoom { .. } => "NoRoom",
        };
        write!(f, "{self} ({variant})")
    }
}

/// Returns an iterator over the control messages in `control`: what recvmsg(2) left in a control buffer, up to
/// `msg_controllen`. `control` need not be aligned.
///
/// The numbers of descriptors that come out are *not* owned yet. After a recvmsg(2), the caller has to take ownership
/// of each of them exactly once.
///
/// ```
/// use fdring::cmsg::{ControlMessage, encode_rights, walk};
///
/// let mut control = [0; 24];
/// encode_rights([7], &mut control)?;
/// let messages: Vec<_> = walk(&control).collect::<Result<_, _>>()?;
/// assert!(matches!(&messages[..], [ControlMessage::Rights(numbers)] if numbers.len() == 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub const fn walk(control: &[u8]) -> Walk<'_> {
    Walk { control, offset: 0 }
}

/// An iterator over control messages: [`walk`] returns it.
///
/// It yields an error for each message that makes no sense. It goes on after that message if its length can be trusted,
/// and ends otherwise.
///
/// ```
/// let garbage = [0xff; 20];
/// let mut walk = fdring::cmsg::walk(&garbage);
/// assert!(walk.next().unwrap().is_err()); // claims 2⁶⁴ − 1 bytes
/// assert_eq!(walk.next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    control: &'a [u8],
    offset: usize,
}

impl Walk<'_> {
    /// The offset of the next message in the buffer, in bytes; the length of the buffer if there is none.
    ///
    /// ```
    /// use fdring::cmsg::{encode_rights, walk};
    ///
    /// let mut control = [0; 48];
    /// encode_rights([7], &mut control)?;
    /// encode_rights([8], &mut control[24..])?;
    /// let mut walk = walk(&control);
    /// assert_eq!(walk.offset(), 0);
    /// walk.next();
    /// assert_eq!(walk.offset(), 24);
    /// # Ok::<(), fdring::cmsg::EncodeError>(())
    /// ```
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<ControlMessage<'a>, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = &self.control[offset..];
        if rest.is_empty() {
            return None;
        }
        // Until the length has been checked, this step is the last.
        self.offset = self.control.len();
        let Some((header, _)) = rest.split_first_chunk::<HEADER_LEN_BYTES>() else {
            return Some(Err(ControlError::HeaderPastEnd { offset, rest: rest.len() }));
        };
        let [a, b, c, d, e, f, g, h, l0, l1, l2, l3, t0, t1, t2, t3] = *header;
        let len = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let level = i32::from_ne_bytes([l0, l1, l2, l3]);
        let kind = i32::from_ne_bytes([t0, t1, t2, t3]);
        if len < HEADER_LEN_BYTES as u64 {
            return Some(Err(ControlError::BelowHeader { offset, len, level, kind }));
        }
        if len > rest.len() as u64 {
            return Some(Err(ControlError::PastEnd { offset, len, level, kind, rest: rest.len() }));
        }
        let len = len as usize; // At most the length of a slice.
        // The padding behind the last message may be missing.
        self.offset = offset + len.next_multiple_of(CONTROL_ALIGN_BYTES).min(rest.len());
        let data = &rest[HEADER_LEN_BYTES..len];
        let body = ControlError::Body { offset, level, kind, len: data.len() };
        Some(ControlMessage::new(level, kind, data).ok_or(body))
    }
}

impl FusedIterator for Walk<'_> {}

/// One control message.
///
/// ```
/// use fdring::cmsg::{ControlMessage, encode_rights, walk};
///
/// let mut control = [0; 24];
/// encode_rights([7], &mut control)?;
/// for message in walk(&control) {
///     match message? {
///         ControlMessage::Rights(numbers) => assert_eq!(numbers.len(), 1),
///         ControlMessage::Credentials(sender) => println!("from user {}", sender.uid),
///         other => println!("not looked at: {other:?}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlMessage<'a> {
    /// `SCM_RIGHTS`: descriptors.
    Rights(Rights<'a>),
    /// `SCM_CREDENTIALS`: the sender of the message.
    Credentials(Credentials),
    /// `SCM_PIDFD`, from Linux 6.5: a descriptor of the sending process. A negative number is the kernel's errno: it
    /// could not make the descriptor.
    Pidfd(i32),
    /// Any other message, uninterpreted.
    Other {
        /// The protocol level, such as `SOL_SOCKET`.
        level: i32,
        /// The message's type within its level.
        kind: i32,
        /// The body, without padding.
        data: &'a [u8],
    },
}

impl<'a> ControlMessage<'a> {
    /// `None` if the body does not have the length that the type prescribes.
    fn new(level: i32, kind: i32, data: &'a [u8]) -> Option<Self> {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                let (numbers, rest) = data.as_chunks();
                rest.is_empty().then_some(Self::Rights(Rights { numbers }))
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                let [p0, p1, p2, p3, u0, u1, u2, u3, g0, g1, g2, g3] = *<&[u8; 12]>::try_from(data).ok()?;
                Some(Self::Credentials(Credentials {
                    pid: i32::from_ne_bytes([p0, p1, p2, p3]),
                    uid: u32::from_ne_bytes([u0, u1, u2, u3]),
                    gid: u32::from_ne_bytes([g0, g1, g2, g3]),
                }))
            }
            (libc::SOL_SOCKET, SCM_PIDFD) => Some(Self::Pidfd(i32::from_ne_bytes(data.try_into().ok()?))),
            _ => Some(Self::Other { level, kind, data }),
        }
    }
}

/// The numbers in an `SCM_RIGHTS` message: an iterator over `i32`, of known length.
///
/// ```
/// use fdring::cmsg::{ControlMessage, encode_rights, walk};
///
/// let mut control = [0; 32];
/// encode_rights([3, 4, 5], &mut control)?;
/// let Some(Ok(ControlMessage::Rights(mut numbers))) = walk(&control).next() else { panic!("no rights") };
/// assert_eq!(numbers.len(), 3);
/// assert_eq!(numbers.next(), Some(3));
/// # Ok::<(), fdring::cmsg::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights<'a> {
    numbers: &'a [[u8; FD_LEN_BYTES]],
}

impl Iterator for Rights<'_> {
    type Item = i32;

    fn next(&mut self) -> Option<i32> {
        let (first, rest) = self.numbers.split_first()?;
        self.numbers = rest;
        Some(i32::from_ne_bytes(*first))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.numbers.len(), Some(self.numbers.len()))
    }
}

impl ExactSizeIterator for Rights<'_> {}
impl FusedIterator for Rights<'_> {}

/// The sender of a message: `struct ucred`, see unix(7).
///
/// At the end of a stream the kernel attaches pid 0, uid 0. Never admit a sender because of these.
///
/// ```
/// use fdring::cmsg::{ControlMessage, Credentials, walk};
///
/// let mut control = 28_u64.to_ne_bytes().to_vec(); // cmsg_len: a header of 16 bytes and a body of 12
/// for number in [1, 2, 4242, 1000, 100_u32] {
///     control.extend(number.to_ne_bytes()); // SOL_SOCKET, SCM_CREDENTIALS, pid, uid, gid
/// }
/// let sender = Credentials { pid: 4242, uid: 1000, gid: 100 };
/// assert_eq!(walk(&control).next(), Some(Ok(ControlMessage::Credentials(sender))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process id in the receiver's pid namespace; 0 if the process has no id there.
    pub pid: i32,
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
}

impl Credentials {
    /// The body of the message, as [`RawMessage`] takes it.
    ///
    /// ```
    /// use fdring::cmsg::Credentials;
    ///
    /// let sender = Credentials { pid: 0x0102, uid: 0, gid: 0xff };
    /// assert_eq!(sender.to_bytes(), [2, 1, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0]);
    /// ```
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; CREDENTIALS_LEN_BYTES] {
        let [p0, p1, p2, p3] = self.pid.to_ne_bytes();
        let [u0, u1, u2, u3] = self.uid.to_ne_bytes();
        let [g0, g1, g2, g3] = self.gid.to_ne_bytes();
        [p0, p1, p2, p3, u0, u1, u2, u3, g0, g1, g2, g3]
    }
}

/// A fault in control data. Offsets and lengths are in bytes. Level and type are those of the header, uninterpreted.
///
/// ```
/// use fdring::cmsg::{ControlError, walk};
///
/// let mut control = [0; 24];
/// control[0] = 100; // cmsg_len
/// match walk(&control).next() {
///     Some(Err(ControlError::PastEnd { len, rest, .. })) => assert_eq!((len, rest), (100, 24)),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// The bytes that are left are fewer than a header has.
    HeaderPastEnd {
        /// The offset of the message.
        offset: usize,
        /// The number of bytes that are left.
        rest: usize,
    },
    /// The length of a message is less than that of its header.
    BelowHeader {
        /// The offset of the message.
        offset: usize,
        /// The length in its header.
        len: u64,
        /// The protocol level in its header.
        level: i32,
        /// The type in its header.
        kind: i32,
    },
    /// The length of a message is more than what is left.
    PastEnd {
        /// The offset of the message.
        offset: usize,
        /// The length in its header.
        len: u64,
        /// The protocol level in its header.
        level: i32,
        /// The type in its header.
        kind: i32,
        /// The number of bytes that are left.
        rest: usize,
    },
    /// The body of a message of `SOL_SOCKET` does not have the length that its type prescribes.
    Body {
        /// The offset of the message.
        offset: usize,
        /// The protocol level in its header.
        level: i32,
        /// The type in its header.
        kind: i32,
        /// The length of the body: 16 less than the length in its header.
        len: usize,
    },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderPastEnd { offset, rest } => {
                write!(f, "{rest} bytes are left at offset {offset} of the control data, fewer than the 16 of a header")
            }
            Self::BelowHeader { offset, len, level, kind } => write!(
                f,
                "the control message of level {level}, type {kind} at offset {offset} claims {len} bytes, fewer than \
                 the 16 of its header"
            ),
            Self::PastEnd { offset, len, level, kind, rest } => write!(
                f,
                "the control message of level {level}, type {kind} at offset {offset} claims {len} bytes where {rest} \
                 are left"
            ),
            Self::Body { offset, level, kind, len } => write!(
                f,
                "the control message of level {level}, type {kind} at offset {offset} has a body of {len} bytes, a \
                 wrong length for it"
            ),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<ControlError> for io::Error {
    /// Its kind is `InvalidData`.
    fn from(error: ControlError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl fmt::Debug for ControlError {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::HeaderPastEnd { .. } => "HeaderPastEnd",
            Self::BelowHeader { .. } => "BelowHeader",
            Self::PastEnd { .. } => "PastEnd",
            Self::Body { .. } => "Body",
        };
        write!(f, "{self} ({variant})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn any_message_is_written_as_its_header_says() {
        for len in 0..40 {
            let data: Vec<u8> = (1..=len).collect();
            let well_formed = RawMessage::new(-41, 1 << 30, &data);
            for message in [well_formed, RawMessage { len: u64::MAX - 3, ..well_formed }] {
                let mut control = [0xa5; 80];
                let used = message.encode(&mut control).unwrap();
                assert_eq!((used, used % 8), (message.space_bytes(), 0));
                assert_eq!(control[0..8], message.len.to_ne_bytes());
                assert_eq!((&control[8..12], &control[12..16]), (&(-41i32).to_ne_bytes()[..], &[0, 0, 0, 0x40][..]));
                let (body, rest) = control[16..].split_at(data.len());
                assert_eq!(body, data);
                assert!(rest[..used - 16 - data.len()].iter().all(|byte| *byte == 0), "the padding is not zeroed");
                assert!(control[used..].iter().all(|byte| *byte == 0xa5), "wrote behind the message");
                assert_eq!(message.encode(&mut control[..used - 1]), Err(EncodeError::NoRoom { room: used - 1 }));
            }
        }
    }

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_LEN_BYTES + data.len()) as u64).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes
    }

    fn rights(numbers: &[i32]) -> Vec<u8> {
        message(1, 1, &numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<_>>())
    }

    fn pad(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn only(control: &[u8]) -> Result<ControlMessage<'_>, ControlError> {
        let mut walk = walk(control);
        let item = walk.next().expect("there is a message");
        assert_eq!(walk.next(), None);
        item
    }

    #[test]
    fn what_is_encoded_is_walked_again() {
        for count in [1, 2, 3, 252, 253] {
            let numbers: Vec<i32> = (0..count).map(|number| number * 1000).collect();
            let mut control = [0xffu8; 1040];
            let used = encode_rights(numbers.iter().copied(), &mut control).unwrap();
            assert_eq!(used, (16 + 4 * numbers.len()).next_multiple_of(8));
            assert_eq!(control[..used], pad(rights(&numbers)));
            assert!(control[used..].iter().all(|byte| *byte == 0xff), "wrote behind the message");
            match only(&control[..used]).unwrap() {
                ControlMessage::Rights(walked) => assert_eq!(walked.collect::<Vec<_>>(), numbers),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn encodes_neither_none_nor_254_nor_past_the_buffer() {
        let mut control = [0; 2048];
        assert_eq!(encode_rights([], &mut control), Err(EncodeError::Empty));
        assert_eq!(encode_rights(std::iter::repeat_n(7, 254), &mut control), Err(EncodeError::TooMany));
        assert_eq!(encode_rights(std::iter::repeat(7), &mut control), Err(EncodeError::TooMany));
        for room in 0..24 {
            assert_eq!(encode_rights([7], &mut control[..room]), Err(EncodeError::NoRoom { room }), "{room}");
        }
        assert_eq!(encode_rights([7], &mut control[..24]), Ok(24));
    }

    #[test]
    fn what_unwrap_prints_begins_with_the_sentence_and_ends_with_the_variant() {
        let error = encode_rights([7], &mut [0; 16]).unwrap_err();
        assert_eq!(format!("{error:?}"), format!("{error} (NoRoom)"));
        for (bytes, variant) in [
            (vec![0; 15], "HeaderPastEnd"),
            (vec![0; 16], "BelowHeader"),
            (vec![0xff; 16], "PastEnd"),
            (message(1, 1, &[0; 5]), "Body"),
        ] {
            let error = walk(&bytes).next().unwrap().unwrap_err();
            assert_eq!(format!("{error:?}"), format!("{error} ({variant})"));
        }
    }

    #[test]
    fn tells_the_kinds_of_messages_apart() {
        let credentials: Vec<u8> =
            [7i32.to_ne_bytes(), 1000u32.to_ne_bytes(), u32::MAX.to_ne_bytes()].as_flattened().to_vec();
        let mut control = pad(message(1, 2, &credentials));
        control.extend(pad(rights(&[0, 9, -1])));
        control.extend(pad(message(1, 4, &11i32.to_ne_bytes())));
        control.extend(pad(message(41, 1, b"abc")));
        control.extend(message(1, 77, b""));
        let walked: Result<Vec<_>, _> = walk(&control).collect();
        let [credentials, numbers, pidfd, other, empty] = &walked.unwrap()[..] else { panic!("five messages") };
        assert_eq!(*credentials, ControlMessage::Credentials(Credentials { pid: 7, uid: 1000, gid: u32::MAX }));
        assert!(matches!(numbers, ControlMessage::Rights(numbers) if numbers.clone().eq([0, 9, -1])));
        assert_eq!(*pidfd, ControlMessage::Pidfd(11));
        assert_eq!(*other, ControlMessage::Other { level: 41, kind: 1, data: b"abc" });
        assert_eq!(*empty, ControlMessage::Other { level: 1, kind: 77, data: b"" });
    }

    #[test]
    fn does_not_skip_a_last_message_without_padding() {
        let mut control = pad(rights(&[1]));
        control.extend(rights(&[2, 3, 4]));
        assert_eq!(control.len() % 8, 4);
        let numbers: Vec<i32> = walk(&control)
            .flat_map(|item| match item.unwrap() {
                ControlMessage::Rights(numbers) => numbers,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }

    #[test]
    fn lengths_below_the_header_or_past_the_end_end_the_walk() {
        let mut control = pad(rights(&[1, 2]));
        control.extend(pad(rights(&[3, 4])));
        for len in [0, 1, 15] {
            control[0..8].copy_from_slice(&u64::to_ne_bytes(len));
            assert_eq!(only(&control), Err(ControlError::BelowHeader { offset: 0, len, level: 1, kind: 1 }));
        }
        // The lower halves of two of these are lengths that would fit.
        for len in [49, u64::MAX, u64::MAX - 7, 1 << 32 | 24, 1 << 63 | 16] {
            control[0..8].copy_from_slice(&u64::to_ne_bytes(len));
            assert_eq!(only(&control), Err(ControlError::PastEnd { offset: 0, len, level: 1, kind: 1, rest: 48 }));
        }
    }

    #[test]
    fn a_cut_header_is_an_error_and_an_empty_buffer_is_none() {
        assert_eq!(walk(&[]).next(), None);
        let mut control = pad(rights(&[1, 2]));
        for rest in 1..16 {
            control.truncate(24);
            control.resize(24 + rest, 0);
            let mut walk = walk(&control);
            assert!(matches!(walk.next(), Some(Ok(ControlMessage::Rights(_)))));
            assert_eq!(walk.offset(), 24);
            assert_eq!(walk.next(), Some(Err(ControlError::HeaderPastEnd { offset: 24, rest })));
            assert_eq!(walk.next(), None);
        }
    }

    #[test]
    fn a_body_of_wrong_length_is_an_error_that_hides_nothing_behind_it() {
        for (kind, lens) in [(1, vec![1, 2, 3, 5]), (2, vec![0, 4, 8, 11, 13, 16]), (4, vec![0, 3, 5, 8])] {
            for len in lens {
                let mut control = pad(message(1, kind, &vec![0; len]));
                control.extend(rights(&[5]));
                let mut walk = walk(&control);
                assert_eq!(walk.next(), Some(Err(ControlError::Body { offset: 0, level: 1, kind, len })));
                assert!(matches!(walk.next(), Some(Ok(ControlMessage::Rights(numbers))) if numbers.len() == 1));
                assert_eq!(walk.next(), None);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_in_steps_of_at_least_a_header(control in vec(any::<u8>(), 0..200)) {
            check_walk(&control)?;
        }

        #[test]
        fn any_headers_are_walked_in_steps_of_at_least_a_header(
            parts in vec((0u64..40, 0i32..3, 0i32..6, vec(any::<u8>(), 0..20)), 0..6),
            start in 0usize..8,
        ) {
            let mut control = vec![0; start];
            for (len, level, kind, data) in parts {
                control.extend(len.to_ne_bytes());
                control.extend(level.to_ne_bytes());
                control.extend(kind.to_ne_bytes());
                control.extend(data);
            }
            check_walk(&control[start..])?;
        }

        #[test]
        fn messages_are_walked_as_they_were_joined(
            bodies in vec(vec(any::<u8>(), 0..30), 0..8),
            pad_last: bool,
            start in 0usize..8,
        ) {
            let mut control = vec![0; start];
            let mut end = start;
            for body in &bodies {
                control.extend(message(41, 9, body));
                end = control.len();
                control.resize(start + (end - start).next_multiple_of(8), 0);
            }
            if !pad_last {
                control.truncate(end);
            }
            let walked: Vec<&[u8]> = walk(&control[start..])
                .map(|item| match item {
                    Ok(ControlMessage::Other { data, .. }) => data,
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(walked, bodies);
        }
    }

    fn check_walk(control: &[u8]) -> Result<(), TestCaseError> {
        let mut walk = walk(control);
        loop {
            let before = walk.offset();
            let item = walk.next();
            if item.is_none() {
                prop_assert_eq!(walk.offset(), control.len());
                prop_assert_eq!(walk.next(), None);
                return Ok(());
            }
            prop_assert!(walk.offset() >= before + HEADER_LEN_BYTES || walk.offset() == control.len());
            prop_assert!(walk.offset() > before && walk.offset() <= control.len());
            if let Some(Ok(ControlMessage::Rights(numbers))) = item {
                prop_assert!(numbers.len() <= control.len() / 4);
                prop_assert_eq!(numbers.len(), numbers.count());
            }
        }
    }
}
