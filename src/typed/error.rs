//! The reasons why a typed consumer or tap has no value to give.

use crate::consumer::{ReceiveError, TapError};
use crate::kind::ErrorKind;
use std::fmt;
use std::io;

/// The reason why a typed consumer has no value to give; with a [`TapError`] in it, a typed tap.
///
/// ```
/// use fdring::errors::ReceiveError;
/// use fdring::typed::TypedError;
///
/// assert_eq!(
///     TypedError::<ReceiveError>::Length { len: 12, size: 8 }.to_string(),
///     "a record of 12 bytes came, which is not a whole number of values of 8 bytes; it was skipped"
/// );
/// assert!(matches!(TypedError::from(ReceiveError::Empty), TypedError::Receive(ReceiveError::Empty)));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypedError<E = ReceiveError> {
    /// The consumer or tap has no record, for this reason.
    Receive(E),
    /// A record is not a whole number of values. It was skipped; the next call goes on after it.
    Length {
        /// The length of the record, in bytes.
        len: usize,
        /// The size of a value, in bytes.
        size: usize,
    },
    /// One value was asked for, and a record holds another number. It was skipped.
    Count {
        /// The number of values in the record.
        count: usize,
    },
    /// A record holds bits that are no value of the type. It was skipped.
    Bits,
}

impl<E: fmt::Display> fmt::Display for TypedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive(error) => write!(f, "{error}"),
            Self::Length { len, size } => write!(
                f,
                "a record of {len} bytes came, which is not a whole number of values of {size} bytes; it was skipped"
            ),
            Self::Count { count } => {
                write!(f, "a record of {count} values came where one was expected; it was skipped; receive slices")
            }
            Self::Bits => f.write_str("a record came whose bits are no value of the expected type; it was skipped"),
        }
    }
}

impl<E: std::error::Error> std::error::Error for TypedError<E> {}

/// As for `ReceiveError`: the sentence, then the variant.
impl<E: fmt::Debug + fmt::Display> fmt::Debug for TypedError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive(error) => write!(f, "{error:?}"),
            Self::Length { .. } => write!(f, "{self} (Length)"),
            Self::Count { .. } => write!(f, "{self} (Count)"),
            Self::Bits => write!(f, "{self} (Bits)"),
        }
    }
}

impl<E> From<E> for TypedError<E> {
    fn from(error: E) -> Self {
        Self::Receive(error)
    }
}

impl<E> From<TypedError<E>> for io::Error
where
    E: Into<Self> + std::error::Error + Send + Sync + 'static,
{
    fn from(error: TypedError<E>) -> Self {
        match error {
            TypedError::Receive(error) => error.into(),
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl<E> TypedError<E> {
    /// The same, with another error in place of a reader's.
    #[cfg(feature = "tokio")]
    pub(crate) fn map_received(self, map: impl FnOnce(E) -> E) -> Self {
        match self {
            Self::Receive(error) => Self::Receive(map(error)),
            error => error,
        }
    }

    fn kind_by(&self, kind: impl FnOnce(&E) -> ErrorKind) -> ErrorKind {
        match self {
            Self::Receive(error) => kind(error),
            Self::Length { .. } | Self::Count { .. } | Self::Bits => ErrorKind::Layout,
        }
    }

    fn is_worth_retrying_by(&self, judge: impl FnOnce(&E) -> bool) -> bool {
        match self {
            Self::Receive(error) => judge(error),
            Self::Length { .. } | Self::Count { .. } | Self::Bits => true,
        }
    }
}

impl TypedError {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::{ErrorKind, ReceiveError};
    /// use fdring::typed::TypedError;
    ///
    /// assert_eq!(TypedError::<ReceiveError>::Bits.kind(), ErrorKind::Layout);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind_by(ReceiveError::kind)
    }

    /// Whether a later call may have a value. A record that is no value was skipped, and the next call goes on after
    /// it. Otherwise [`ReceiveError::is_worth_retrying`] decides.
    ///
    /// ```
    /// use fdring::errors::ReceiveError;
    /// use fdring::typed::TypedError;
    ///
    /// assert!(TypedError::<ReceiveError>::Bits.is_worth_retrying()); // the next record may be a value
    /// assert!(!TypedError::from(ReceiveError::PeerDead).is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        self.is_worth_retrying_by(ReceiveError::is_worth_retrying)
    }
}

impl TypedError<TapError> {
    /// The kind of this error, which has a stable number.
    ///
    /// ```
    /// use fdring::errors::{ErrorKind, TapError};
    /// use fdring::typed::TypedError;
    ///
    /// let error = TypedError::from(TapError::Lagged { missed_bytes: 4096 });
    /// assert_eq!(error.kind(), ErrorKind::Lagged);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind_by(TapError::kind)
    }

    /// Whether a later call may have a value. A record that is no value was skipped, and the next call goes on after
    /// it. Otherwise [`TapError::is_worth_retrying`] decides.
    ///
    /// ```
    /// use fdring::errors::TapError;
    /// use fdring::typed::TypedError;
    ///
    /// assert!(TypedError::from(TapError::Lagged { missed_bytes: 4096 }).is_worth_retrying());
    /// assert!(!TypedError::from(TapError::PeerDead).is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        self.is_worth_retrying_by(TapError::is_worth_retrying)
    }
}
