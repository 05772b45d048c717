//! Why record batches could not be sent or received.

use arrow_schema::ArrowError;
use fdring::errors::{ReceiveError, SendError};
use std::{error, fmt};

/// The error of everything in this crate.
///
/// ```
/// use arrow_schema::{DataType, Field, Schema};
/// use fdring_arrow::{BatchProducer, Error};
///
/// let error = BatchProducer::create("a name\n", Schema::new(vec![Field::new("n", DataType::Int64, false)]));
/// assert!(matches!(error, Err(Error::Setup(fdring::Error::Invalid(_)))));
/// ```
#[derive(Debug)]
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
    /// A record is no record batch of the lane's schema. It was passed: the next call receives the record after it.
    Batch {
        /// The position of the record.
        position: u64,
        /// What is wrong with it.
        fault: String,
    },
    /// A record's parcel was sent before this consumer joined, to the one whose place it has resumed. It was passed:
    /// the next call receives the record after it.
    NotSent {
        /// The position of the record.
        position: u64,
    },
    /// A record's parcel could not be taken: this process has no room for its descriptor or its memory. It was passed:
    /// the next call receives the record after it.
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
            Self::Encode(_) => f.write_str("the record batch could not be encoded"),
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
            Self::NoRoom { position, .. } => {
                write!(f, "the parcel of the record at position {position} could not be taken, and is lost")
            }
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Setup(error) => error.source(),
            Self::Send(error) => error.source(),
            Self::Receive(error) => error.source(),
            Self::Encode(error) => Some(error),
            Self::NoRoom { cause, .. } => Some(&**cause),
            _ => None,
        }
    }
}

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
