//! Why record batches could not be sent or received.

use arrow_schema::ArrowError;
use fdring::errors::{ReceiveError, SendError};
use std::{error, fmt, io};

/// The error of everything in this crate.
///
/// `Debug` prints the sentence of `Display`, then the variant in parentheses. Converted to [`io::Error`], it keeps its
/// sentence. `Setup`, `Send` and `Receive` get the kind of the error in them, `NoRoom` gets `QuotaExceeded`, `NotSent`
/// gets `NotFound`, `Unsupported` and `SchemaChanged` get `InvalidInput`, and the others get `InvalidData`.
///
/// ```
/// use arrow_schema::{DataType, Field, Schema};
/// use fdring_arrow::{BatchProducer, Error};
///
/// let error = BatchProducer::create("a name\n", Schema::new(vec![Field::new("n", DataType::Int64, false)]));
/// assert!(matches!(error, Err(Error::Setup(fdring::Error::Invalid(_)))));
/// ```
#[non_exhaustive]
pub enum Error {
    /// A lane, a session or a parcel could not be made.
    Setup(fdring::Error),
    /// The lane has no record batches, or not of a schema that this version can read. Set-up fails.
    NoSchema {
        /// The lane, or the address where it was to be.
        lane: String,
        /// What is missing, or wrong.
        fault: String,
    },
    /// A schema has a type that cannot be sent.
    Unsupported {
        /// Which column, and what is wrong with it.
        fault: String,
    },
    /// A batch has another schema than the lane. Nothing was sent.
    SchemaChanged {
        /// The name of the lane.
        lane: String,
        /// The first difference.
        difference: String,
    },
    /// Arrow could not encode a batch. Nothing was sent.
    Encode(ArrowError),
    /// A record could not be sent. Nothing was sent.
    Send(SendError),
    /// There is no record to give.
    Receive(ReceiveError),
    /// A record is no record batch of the lane's schema. It was skipped: the next call receives the record after it.
    Batch {
        /// The position of the record.
        position: u64,
        /// What is wrong with it.
        fault: String,
    },
    /// A record's parcel was sent before this consumer joined, to the consumer whose place it has resumed. The record
    /// was skipped: the next call receives the one after it.
    NotSent {
        /// The position of the record.
        position: u64,
    },
    /// A record's parcel could not be taken: this process has no room for its descriptor or its memory. The record was
    /// skipped: the next call receives the one after it.
    NoRoom {
        /// The position of the record.
        position: u64,
        /// What the system says.
        cause: Box<dyn error::Error + Send + Sync>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::NoSchema { lane, fault } => write!(f, "there are no record batches in {lane}: {fault}"),
            Self::Unsupported { fault } => write!(f, "the schema cannot be sent: {fault}"),
            Self::SchemaChanged { lane, difference } => {
                write!(f, "the lane {lane} has another schema: {difference}; make a lane for each schema")
            }
            Self::Encode(error) => write!(f, "the record batch could not be encoded: {error}"),
            Self::Send(error) => error.fmt(f),
            Self::Receive(error) => error.fmt(f),
            Self::Batch { position, fault } => {
                write!(f, "the record at position {position} is no record batch of the lane's schema: {fault}")
            }
            Self::NotSent { position } => write!(
                f,
                "the parcel of the record at position {position} was sent before this consumer joined; \
                 a higher threshold keeps batches in the ring, where a successor finds them"
            ),
            Self::NoRoom { position, cause } => {
                write!(f, "the parcel of the record at position {position} could not be taken, and is lost: {cause}")
            }
        }
    }
}

impl fmt::Debug for Error {
    /// The sentence first: this is what `unwrap` and `main` print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::Setup(_) => "Setup",
            Self::NoSchema { .. } => "NoSchema",
            Self::Unsupported { .. } => "Unsupported",
            Self::SchemaChanged { .. } => "SchemaChanged",
            Self::Encode(_) => "Encode",
            Self::Send(_) => "Send",
            Self::Receive(_) => "Receive",
            Self::Batch { .. } => "Batch",
            Self::NotSent { .. } => "NotSent",
            Self::NoRoom { .. } => "NoRoom",
        };
        write!(f, "{self} ({variant})")
    }
}

/// Without a source: the sentence has the cause, and a chain would say it twice.
impl error::Error for Error {}

impl From<fdring::Error> for Error {
    fn from(error: fdring::Error) -> Self {
        Self::Setup(error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl From<ReceiveError> for Error {
    fn from(error: ReceiveError) -> Self {
        Self::Receive(error)
    }
}

impl From<Error> for io::Error {
    /// The kind is said at [`Error`].
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Setup(error) => return error.into(),
            Error::Send(error) => return error.into(),
            Error::Receive(error) => return error.into(),
            Error::Unsupported { .. } | Error::SchemaChanged { .. } => io::ErrorKind::InvalidInput,
            Error::NoSchema { .. } | Error::Encode(_) | Error::Batch { .. } => io::ErrorKind::InvalidData,
            Error::NotSent { .. } => io::ErrorKind::NotFound,
            Error::NoRoom { .. } => io::ErrorKind::QuotaExceeded,
        };
        Self::new(kind, error)
    }
}

impl Error {
    /// Whether a later call on the same object may succeed. A record that was skipped is no obstacle to the next one.
    /// If another error is in this one, that error decides.
    ///
    /// ```
    /// use fdring_arrow::{BatchConsumer, Error, fdring::errors::ReceiveError};
    ///
    /// let error = BatchConsumer::connect("@doc-arrow-error-nobody").unwrap_err(); // nobody listens there yet
    /// assert!(error.is_worth_retrying());
    /// assert!(!Error::Receive(ReceiveError::PeerDead).is_worth_retrying());
    /// ```
    #[must_use]
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Setup(error) => error.is_worth_retrying(),
            Self::Send(error) => error.is_worth_retrying(),
            Self::Receive(error) => error.is_worth_retrying(),
            Self::Batch { .. } | Self::NotSent { .. } | Self::NoRoom { .. } => true,
            Self::NoSchema { .. } | Self::Unsupported { .. } | Self::SchemaChanged { .. } | Self::Encode(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unwrap_prints_is_the_sentence_with_its_cause() {
        let shown = |error: Error| {
            assert!(error::Error::source(&error).is_none(), "a chain would say the cause twice");
            format!("{error:?}")
        };
        let no_schema = Error::NoSchema { lane: "trips".to_owned(), fault: "it has none".to_owned() };
        assert_eq!(shown(no_schema), "there are no record batches in trips: it has none (NoSchema)");
        let encode = ArrowError::ComputeError("too many rows".to_owned());
        let sentence = format!("the record batch could not be encoded: {encode} (Encode)");
        assert_eq!(shown(Error::Encode(encode)), sentence);
        let no_room = Error::NoRoom { position: 8, cause: "no descriptor is left".into() };
        let sentence = "the parcel of the record at position 8 could not be taken, and is lost: no descriptor is left";
        assert_eq!(shown(no_room), format!("{sentence} (NoRoom)"));
    }
}
