//! Receiving record batches.

use crate::batch::{Place, ReceivedBatch};
use crate::decode::decode;
use crate::layout::ALIGN_BYTES;
use crate::memory::buffer_of;
use crate::options::BatchConsumerOptions;
use crate::schema::LaneSchema;
use crate::{Error, PARCEL_KIND};
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use fdring::errors::{ReceiveError, TakeFdsError};
use fdring::parcel::Parcel;
use fdring::{Consumer, Record, options::Address};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A consumer of record batches.
///
/// It receives every batch that is sent after it has joined, in order. The producer need not be trusted: whatever is no
/// batch of the lane's schema is an error, and the call after it receives the next one.
///
/// ```
/// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # use fdring_arrow::{BatchProducer, fdring::Server};
/// # use std::sync::Arc;
/// use fdring_arrow::BatchConsumer;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
/// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
/// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
/// # let server = Server::listen("@doc-batch-consumer", producer.lanes())?;
/// let mut consumer = BatchConsumer::connect("@doc-batch-consumer")?;
/// # producer.send(&batch)?;
/// # producer.finish();
/// let mut kept = Vec::new();
/// while let Some(batch) = consumer.receive()? {
///     kept.push(batch);
/// }
/// assert_eq!(*kept[0], batch);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a consumer leaves its lane; keep it in a variable"]
pub struct BatchConsumer {
    lane: Consumer,
    taker: Taker,
}

impl BatchConsumer {
    /// Connects to a server that offers one lane of record batches, with the defaults of [`BatchConsumerOptions`].
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-connect", trips.lanes())?;
    /// let consumer = BatchConsumer::connect("@doc-arrow-connect")?;
    /// # assert_eq!(consumer.schema().fields().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::NoSchema`] if the server does not offer exactly one lane of record batches, or its schema cannot be
    ///   read
    /// - [`Error::Setup`] for each error of [`Session::connect`](fdring::Session::connect) and
    ///   [`Session::attach`](fdring::Session::attach)
    pub fn connect(address: impl Into<Address>) -> Result<Self, Error> {
        BatchConsumerOptions::new().connect(address)
    }

    /// Of a lane and the one that has its schema.
    pub(crate) fn new(
        lane: Consumer,
        mut schema: Consumer,
        parcel_max: u64,
        keep_parcels: bool,
    ) -> Result<Self, Error> {
        let no_schema = |fault: String| Error::NoSchema { lane: format!("the lane {}", lane.lane().name), fault };
        // It was published before the lane was offered.
        let record = schema.try_receive().map_err(|error| no_schema(format!("its schema cannot be read: {error}")))?;
        let record = record.ok_or_else(|| no_schema("the lane with its schema has ended".into()))?;
        let schema =
            LaneSchema::parse(&record).map_err(|fault| no_schema(format!("its schema is invalid: {fault}")))?;
        if schema.fingerprint() != lane.lane().schema {
            return Err(no_schema("the schema that is offered beside it is another lane's".into()));
        }
        if u64::from(lane.lane().payload_align) < ALIGN_BYTES {
            let align = lane.lane().payload_align;
            return Err(no_schema(format!("its payloads are aligned to {align} bytes, not {ALIGN_BYTES}")));
        }
        let reads_in_place = lane.reads_in_place();
        Ok(Self { lane, taker: Taker { schema: schema.into(), reads_in_place, parcel_max, keep_parcels } })
    }

    /// Waits for the next batch and returns it; `None` when the lane has ended.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-receive", producer.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-receive")?;
    /// # producer.send(&batch)?;
    /// # producer.finish();
    /// while let Some(batch) = consumer.receive()? {
    ///     println!("{} rows", batch.num_rows());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Batch`], [`Error::NotSent`] or [`Error::NoRoom`] if a record was received, and is no batch, or its
    ///   parcel cannot be taken: the next call goes on after it
    /// - [`Error::Receive`] for each error of [`Consumer::receive`]
    pub fn receive(&mut self) -> Result<Option<ReceivedBatch>, Error> {
        self.lane.receive()?.map(|record| self.taker.take(record)).transpose()
    }

    /// Like [`receive`](Self::receive), but does not wait.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// use fdring_arrow::{Error, fdring::errors::ReceiveError};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-try-receive", trips.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-try-receive")?;
    /// assert!(matches!(consumer.try_receive(), Err(Error::Receive(ReceiveError::Empty))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Batch`], [`Error::NotSent`] or [`Error::NoRoom`] if a record was received, and is no batch, or its
    ///   parcel cannot be taken: the next call goes on after it
    /// - [`Error::Receive`] for each error of [`Consumer::try_receive`], [`ReceiveError::Empty`] among them
    pub fn try_receive(&mut self) -> Result<Option<ReceivedBatch>, Error> {
        self.lane.try_receive()?.map(|record| self.taker.take(record)).transpose()
    }

    /// Like [`receive`](Self::receive), but waits at most `timeout`.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// use fdring_arrow::{Error, fdring::errors::ReceiveError};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-receive-timeout", trips.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-receive-timeout")?;
    /// let nothing = consumer.receive_timeout(Duration::from_millis(1));
    /// assert!(matches!(nothing, Err(Error::Receive(ReceiveError::TimedOut))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Batch`], [`Error::NotSent`] or [`Error::NoRoom`] if a record was received, and is no batch, or its
    ///   parcel cannot be taken: the next call goes on after it
    /// - [`Error::Receive`] for each error of [`Consumer::receive_timeout`], [`ReceiveError::TimedOut`] among them
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<ReceivedBatch>, Error> {
        self.lane.receive_timeout(timeout)?.map(|record| self.taker.take(record)).transpose()
    }

    /// Like [`receive`](Self::receive), but waits until `deadline` at most: for several calls that share one deadline.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// use fdring_arrow::{Error, fdring::errors::ReceiveError};
    /// use std::time::Instant;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-receive-deadline", trips.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-receive-deadline")?;
    /// let nothing = consumer.receive_deadline(Instant::now());
    /// assert!(matches!(nothing, Err(Error::Receive(ReceiveError::TimedOut))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Batch`], [`Error::NotSent`] or [`Error::NoRoom`] if a record was received, and is no batch, or its
    ///   parcel cannot be taken: the next call goes on after it
    /// - [`Error::Receive`] for each error of [`Consumer::receive_deadline`], [`ReceiveError::TimedOut`] among them
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<ReceivedBatch>, Error> {
        self.lane.receive_deadline(deadline)?.map(|record| self.taker.take(record)).transpose()
    }

    /// Releases the last batch, before the next call does: see [`Consumer::release`]. A batch that lies in the
    /// [ring](Place::Ring) keeps its bytes there even so.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-release", producer.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-release")?;
    /// producer.send(&batch)?;
    /// consumer.receive()?;
    /// consumer.release();
    /// assert_eq!(producer.lane().released(), producer.lane().published());
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(&mut self) {
        self.lane.release();
    }

    /// Prepares a wait for the [descriptor](Self::as_fd) to become readable, like [`Consumer::arm`].
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-arm", producer.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-arm")?;
    /// assert!(consumer.arm()?); // nothing has come: poll the descriptor
    /// producer.send(&batch)?;
    /// assert!(!consumer.arm()?); // a batch is there: receive it
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Receive`] for each error of [`Consumer::arm`].
    pub fn arm(&mut self) -> Result<bool, Error> {
        Ok(self.lane.arm()?)
    }

    /// The schema of every batch.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-schema", trips.lanes())?;
    /// let consumer = BatchConsumer::connect("@doc-arrow-schema")?;
    /// assert_eq!(consumer.schema().field(0).data_type(), &DataType::Float64);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        self.taker.schema.schema()
    }

    /// The schema's message in the Arrow IPC format, as it came. [`ReceivedBatch::messages`] has an example.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-schema-message", trips.lanes())?;
    /// let consumer = BatchConsumer::connect("@doc-arrow-schema-message")?;
    /// let schema = arrow_ipc::convert::try_schema_from_ipc_buffer(consumer.schema_message())?;
    /// assert_eq!(schema, **consumer.schema());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn schema_message(&self) -> &[u8] {
        self.taker.schema.message()
    }

    /// The lane of the batches: its facts, how far behind this consumer is, what it counts.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-consumer-lane", trips.lanes())?;
    /// let consumer = BatchConsumer::connect("@doc-arrow-consumer-lane")?;
    /// assert_eq!(consumer.lane().position(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> &Consumer {
        &self.lane
    }
}

impl AsFd for BatchConsumer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lane.as_fd()
    }
}

/// Makes batches of records.
#[derive(Debug)]
struct Taker {
    schema: Arc<LaneSchema>,
    reads_in_place: bool,
    parcel_max: u64,
    keep_parcels: bool,
}

impl Taker {
    fn take(&self, record: Record<'_>) -> Result<ReceivedBatch, Error> {
        let position = record.position();
        let (bytes, place, parcel) = match record.fd_count() {
            0 if self.reads_in_place => (buffer_of(record.into_owned()), Place::Ring, None),
            // The copy lies at a multiple of 64.
            0 => (Buffer::from(&record[..]), Place::Copied, None),
            _ => {
                let parcel = self.parcel_of(&record)?;
                if self.keep_parcels {
                    (buffer_of(parcel.clone()), Place::Parcel, Some(parcel))
                } else {
                    (buffer_of(parcel.into_bytes()), Place::Parcel, None)
                }
            }
        };
        let batch = decode(&bytes, &self.schema).map_err(|fault| Error::Batch { position, fault })?;
        Ok(ReceivedBatch { batch, bytes, place, position, parcel, schema: Arc::clone(&self.schema) })
    }

    fn parcel_of(&self, record: &Record<'_>) -> Result<Parcel, Error> {
        let position = record.position();
        let refused = |fault: String| Error::Batch { position, fault };
        let fds = record.take_fds().map_err(|error| match error {
            TakeFdsError::NotSent { .. } => Error::NotSent { position },
            TakeFdsError::NoRoom => Error::NoRoom { position, cause: error.into() },
            TakeFdsError::Forked => Error::Receive(ReceiveError::Forked),
            other => refused(other.to_string()),
        })?;
        let parcel = Parcel::from_fds(fds, self.parcel_max).map_err(|error| match error {
            fdring::Error::Peer { fault, .. } => refused(fault),
            other => Error::NoRoom { position, cause: other.into() },
        })?;
        match (parcel.count(), parcel.kind(0)) {
            (1, Some(PARCEL_KIND)) => Ok(parcel),
            (count, kind) => {
                Err(refused(format!("its parcel has {count} buffers, not one, or of another kind: {kind:x?}")))
            }
        }
    }
}
