//! Sending record batches.

use crate::batch::ReceivedBatch;
use crate::encode::Encoder;
use crate::layout::ALIGN_BYTES;
use crate::schema::LaneSchema;
use crate::{Error, PARCEL_KIND, schema_lane};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use fdring::errors::SendError;
use fdring::limits::LANE_NAME_MAX_BYTES;
use fdring::options::LaneOptions;
use fdring::parcel::Parcel;
use fdring::{Producer, parts::Reservation};
use std::time::{Duration, Instant};

/// The default for [`BatchProducerOptions::threshold`].
const THRESHOLD_DEFAULT_BYTES: usize = 256 << 10;

/// Options for creating a lane of record batches. [`create`](Self::create) creates it.
///
/// ```
/// use arrow_schema::{DataType, Field, Schema};
/// use fdring_arrow::{BatchProducerOptions, fdring::options::LaneOptions};
///
/// # fn main() -> Result<(), fdring_arrow::Error> {
/// let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
/// let lane = LaneOptions::new("trips").capacity(16 << 20);
/// let trips = BatchProducerOptions::new(lane).threshold(1 << 20).create(schema)?;
/// assert_eq!(trips.lane().lane().capacity, 16 << 20);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a lane is created with them"]
pub struct BatchProducerOptions {
    lane: LaneOptions,
    threshold: usize,
}

impl BatchProducerOptions {
    /// The defaults for a lane with these options: batches of up to 256 KiB go in the ring.
    ///
    /// The alignment of payloads, the descriptors of records and the schema number are set by
    /// [`create`](Self::create). The name has at most 57 bytes.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchProducerOptions, fdring::options::LaneOptions};
    /// # fn main() -> Result<(), fdring_arrow::Error> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// let trips = BatchProducerOptions::new(LaneOptions::new("trips")).create(schema)?;
    /// assert_eq!((trips.lane().lane().payload_align, trips.lane().lane().attachments_max), (64, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(lane: LaneOptions) -> Self {
        Self { lane, threshold: THRESHOLD_DEFAULT_BYTES }
    }

    /// The longest batch that goes in the ring, in bytes of its messages. Default: 256 KiB. A longer one goes as a
    /// parcel, and so does each that is longer than half of the ring. At 0, all go as parcels.
    ///
    /// In the ring, a batch costs a copy, and no memory of its own. A parcel costs memory that is made for it, and is
    /// not copied again when it is received or forwarded. A consumer that [resumes](fdring::options::Start::Resume)
    /// gets what was left in the ring, and not the parcels that were sent before it came.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchProducerOptions, fdring::options::LaneOptions};
    /// # fn main() -> Result<(), fdring_arrow::Error> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// // All that fit: at most 4 MiB.
    /// let options = BatchProducerOptions::new(LaneOptions::new("trips").capacity(8 << 20)).threshold(usize::MAX);
    /// # options.create(schema)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Creates the lane, and a second one, called like it with `.schema` at the end, which holds the schema.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchProducerOptions, fdring::options::LaneOptions};
    /// # fn main() -> Result<(), fdring_arrow::Error> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// let trips = BatchProducerOptions::new(LaneOptions::new("trips")).create(schema)?;
    /// assert_eq!(trips.lanes().map(|lane| lane.lane().name.as_str()), ["trips", "trips.schema"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Unsupported`] if the schema has a type that cannot be sent: run-end encoded, or a dictionary in the
    ///   values of a dictionary
    /// - [`Error::Setup`] if the options are not valid, or the system is short of memory or descriptors
    pub fn create(self, schema: impl Into<SchemaRef>) -> Result<BatchProducer, Error> {
        let schema = LaneSchema::of(schema.into())?;
        let options = self.lane.payload_align(ALIGN_BYTES as u32).attachments(1).schema(schema.fingerprint());
        let lane = options.create()?;
        let name = schema_lane(&lane.lane().name);
        if name.len() > LANE_NAME_MAX_BYTES {
            let fault = format!(
                "the lane of a schema would be called {name:?}, of {} bytes, not 1 to {}",
                name.len(),
                LANE_NAME_MAX_BYTES
            );
            return Err(Error::Setup(fdring::Error::Invalid(fault)));
        }
        // A record takes at most half of the ring.
        let capacity = (4 * schema.message().len() as u64).next_power_of_two().max(4096);
        let options = LaneOptions::new(name).capacity(capacity).schema(schema.fingerprint());
        let mut schema_lane = options.create()?;
        schema_lane.try_send(schema.message())?;
        Ok(BatchProducer { lane, schema_lane, threshold: self.threshold, encoder: Encoder::new(), schema })
    }
}

/// A producer of record batches of one schema.
///
/// It owns two lanes: one with the batches, and one with the schema, which every consumer reads as it joins. A server
/// offers [both](Self::lanes).
///
/// ```
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
/// let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
/// let mut producer = BatchProducer::create("numbers", batch.schema())?;
/// let server = Server::listen("@doc-batch-producer", producer.lanes())?;
/// let mut consumer = BatchConsumer::connect("@doc-batch-producer")?;
///
/// producer.send(&batch)?;
/// producer.send(&batch.slice(1, 1))?;
/// producer.finish();
///
/// let mut rows = 0;
/// while let Some(batch) = consumer.receive()? {
///     rows += batch.num_rows();
/// }
/// assert_eq!(rows, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a producer that is dropped ends its lane"]
pub struct BatchProducer {
    lane: Producer,
    schema_lane: Producer,
    threshold: usize,
    encoder: Encoder,
    schema: LaneSchema,
}

/// How long to wait for room.
#[derive(Clone, Copy)]
enum Wait {
    No,
    Always,
    Until(Instant),
}

impl Wait {
    /// For at most `timeout`; as long as it takes, if no clock goes that far.
    fn within(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Self::Always, Self::Until)
    }
}

impl BatchProducer {
    /// Creates a lane of this name, with the defaults of [`BatchProducerOptions`] and [`LaneOptions`].
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::BatchProducer;
    /// # fn main() -> Result<(), fdring_arrow::Error> {
    /// let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// let trips = BatchProducer::create("trips", schema)?;
    /// assert_eq!(trips.schema().field(0).name(), "fare");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::Unsupported`] if the schema has a type that cannot be sent: run-end encoded, or a dictionary in the
    ///   values of a dictionary
    /// - [`Error::Setup`] if the name is not 1 to 57 bytes long or contains a control character, or the system is short
    ///   of memory or descriptors
    pub fn create(name: impl Into<String>, schema: impl Into<SchemaRef>) -> Result<Self, Error> {
        BatchProducerOptions::new(LaneOptions::new(name)).create(schema)
    }

    /// Sends a batch. Waits while the ring is full, or while a consumer has too many parcels that it has not taken.
    ///
    /// The buffers of the arrays are copied once, into the ring or into a parcel: only the rows of a slice, but of
    /// columns of views all that the views may point to (the method `gc` of such an array shortens it).
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    /// # use fdring_arrow::{BatchProducer, Error};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// producer.send(&batch)?;
    ///
    /// let words = Arc::new(StringArray::from(vec!["one", "two"])) as ArrayRef;
    /// let other = RecordBatch::try_from_iter([("words", words)])?;
    /// assert!(matches!(producer.send(&other), Err(Error::SchemaChanged { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::send_with_fds`]
    pub fn send(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.put(batch, Wait::Always)
    }

    /// Like [`send`](Self::send), but does not wait. A parcel is made before it is known whether there is room.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::BatchProducer;
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// producer.try_send(&batch)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::try_send_with_fds`], [`SendError::Full`] and
    ///   [`SendError::Untaken`] among them
    pub fn try_send(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.put(batch, Wait::No)
    }

    /// Like [`send`](Self::send), but waits at most `timeout`.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::BatchProducer;
    /// # use std::{sync::Arc, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// producer.send_timeout(&batch, Duration::from_secs(1))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::send_with_fds_timeout`], [`SendError::TimedOut`] and
    ///   [`SendError::Untaken`] among them
    pub fn send_timeout(&mut self, batch: &RecordBatch, timeout: Duration) -> Result<(), Error> {
        self.put(batch, Wait::within(timeout))
    }

    /// Like [`send`](Self::send), but waits until `deadline` at most: for several calls that share one deadline.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::BatchProducer;
    /// # use std::{sync::Arc, time::{Duration, Instant}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// for _ in 0..3 {
    ///     producer.send_deadline(&batch, deadline)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::send_with_fds_deadline`], [`SendError::TimedOut`] and
    ///   [`SendError::Untaken`] among them
    pub fn send_deadline(&mut self, batch: &RecordBatch, deadline: Instant) -> Result<(), Error> {
        self.put(batch, Wait::Until(deadline))
    }

    /// Sends on a batch that was received from another lane of the same schema. If the consumer has
    /// [kept its parcel](crate::BatchConsumerOptions::keep_parcels), the parcel is sent as it is, without a copy;
    /// otherwise the batch is sent as by [`send`](Self::send). Waits like `send`.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::fdring::{Server, options::LaneOptions};
    /// # use fdring_arrow::{BatchConsumer, BatchConsumerOptions, BatchProducer, BatchProducerOptions};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let options = BatchProducerOptions::new(LaneOptions::new("in")).threshold(0);
    /// # let mut source = options.create(batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-forward-in", source.lanes())?;
    /// let mut input = BatchConsumerOptions::new().keep_parcels(true).connect("@doc-arrow-forward-in")?;
    /// let mut output = BatchProducer::create("out", input.schema().clone())?;
    /// # let server = Server::listen("@doc-arrow-forward-out", output.lanes())?;
    /// # let mut sink = BatchConsumer::connect("@doc-arrow-forward-out")?;
    /// # source.send(&batch)?;
    /// # source.finish();
    /// while let Some(batch) = input.receive()? {
    ///     output.forward(&batch)?;
    /// }
    /// # assert_eq!(*sink.receive()?.unwrap(), batch);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::send_with_fds`]
    pub fn forward(&mut self, batch: &ReceivedBatch) -> Result<(), Error> {
        self.send_on(batch, Wait::Always)
    }

    /// Like [`forward`](Self::forward), but does not wait.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # use std::{sync::Arc};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut source = BatchProducer::create("in", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-try-forward", source.lanes())?;
    /// # let mut input = BatchConsumer::connect("@doc-arrow-try-forward")?;
    /// # let mut output = BatchProducer::create("out", batch.schema())?;
    /// # source.send(&batch)?;
    /// # source.finish();
    /// while let Some(batch) = input.receive()? {
    ///     output.try_forward(&batch)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::try_send_with_fds`], [`SendError::Full`] and
    ///   [`SendError::Untaken`] among them
    pub fn try_forward(&mut self, batch: &ReceivedBatch) -> Result<(), Error> {
        self.send_on(batch, Wait::No)
    }

    /// Like [`forward`](Self::forward), but waits at most `timeout`.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # use std::{sync::Arc, time::Duration};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut source = BatchProducer::create("in", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-forward-timeout", source.lanes())?;
    /// # let mut input = BatchConsumer::connect("@doc-arrow-forward-timeout")?;
    /// # let mut output = BatchProducer::create("out", batch.schema())?;
    /// # source.send(&batch)?;
    /// # source.finish();
    /// while let Some(batch) = input.receive()? {
    ///     output.forward_timeout(&batch, Duration::from_secs(1))?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::send_with_fds_timeout`], [`SendError::TimedOut`] and
    ///   [`SendError::Untaken`] among them
    pub fn forward_timeout(&mut self, batch: &ReceivedBatch, timeout: Duration) -> Result<(), Error> {
        self.send_on(batch, Wait::within(timeout))
    }

    /// Like [`forward`](Self::forward), but waits until `deadline` at most: for several calls that share one deadline.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # use std::{sync::Arc, time::{Duration, Instant}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut source = BatchProducer::create("in", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-forward-deadline", source.lanes())?;
    /// # let mut input = BatchConsumer::connect("@doc-arrow-forward-deadline")?;
    /// # let mut output = BatchProducer::create("out", batch.schema())?;
    /// # source.send(&batch)?;
    /// # source.finish();
    /// while let Some(batch) = input.receive()? {
    ///     output.forward_deadline(&batch, Instant::now() + Duration::from_secs(1))?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::SchemaChanged`] if the batch has other columns than the lane
    /// - [`Error::Encode`] if Arrow cannot encode it
    /// - [`Error::Setup`] if the memory of a parcel cannot be made
    /// - [`Error::Send`] for each error of [`Producer::send_with_fds_deadline`], [`SendError::TimedOut`] and
    ///   [`SendError::Untaken`] among them
    pub fn forward_deadline(&mut self, batch: &ReceivedBatch, deadline: Instant) -> Result<(), Error> {
        self.send_on(batch, Wait::Until(deadline))
    }

    /// Ends the lane: consumers read what is published, and then its end.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-finish", trips.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-finish")?;
    /// trips.finish();
    /// assert!(consumer.receive()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn finish(self) {
        self.lane.finish();
        self.schema_lane.finish();
    }

    /// Like [`finish`](Self::finish), and waits until every consumer has released everything, for at most `timeout`.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::BatchProducer;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// trips.finish_and_wait(Duration::from_secs(10))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Send`] for each error of [`Producer::finish_and_wait`].
    pub fn finish_and_wait(self, timeout: Duration) -> Result<(), Error> {
        self.lane.finish_and_wait(timeout)?;
        self.schema_lane.finish();
        Ok(())
    }

    /// Both lanes, for a server to offer.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// let trips = BatchProducer::create("trips", schema.clone())?;
    /// let tolls = BatchProducer::create("tolls", schema)?;
    /// let server = Server::listen("@doc-arrow-lanes", trips.lanes().into_iter().chain(tolls.lanes()))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lanes(&self) -> [&Producer; 2] {
        [&self.lane, &self.schema_lane]
    }

    /// The lane of the batches: who reads it, how far behind, what it counts.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::BatchProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// let trips = BatchProducer::create("trips", schema)?;
    /// assert_eq!(trips.lane().consumer_count(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(&self) -> &Producer {
        &self.lane
    }

    /// The schema of every batch.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::BatchProducer;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// let trips = BatchProducer::create("trips", schema.clone())?;
    /// assert_eq!(**trips.schema(), schema);
    /// # Ok(())
    /// # }
    /// ```
    pub fn schema(&self) -> &SchemaRef {
        self.schema.schema()
    }

    fn send_on(&mut self, batch: &ReceivedBatch, wait: Wait) -> Result<(), Error> {
        match batch.parcel() {
            // Its messages fit this lane's schema if they fit one that is told in the same bytes.
            Some(parcel) if batch.schema.message() == self.schema.message() => self.put_parcel(parcel, wait),
            _ => self.put(batch, wait),
        }
    }

    fn put(&mut self, batch: &RecordBatch, wait: Wait) -> Result<(), Error> {
        if let Some(difference) = self.schema.difference(batch.schema_ref()) {
            return Err(Error::SchemaChanged { lane: self.lane.lane().name.clone(), difference });
        }
        let messages = self.encoder.encode(batch, &self.schema)?;
        if messages.len() > self.threshold.min(self.lane.lane().payload_max) {
            let parcel = Parcel::copy_of(&self.lane.lane().name, PARCEL_KIND, &messages.pieces())?;
            return self.put_parcel(&parcel, wait);
        }
        let mut reservation = self.reserve(messages.len(), wait)?;
        messages.write(&mut reservation);
        reservation.commit();
        Ok(())
    }

    fn reserve(&mut self, len: usize, wait: Wait) -> Result<Reservation<'_>, SendError> {
        match wait {
            Wait::No => self.lane.try_reserve(len),
            Wait::Always => self.lane.reserve(len),
            Wait::Until(deadline) => self.lane.reserve_deadline(len, deadline),
        }
    }

    fn put_parcel(&mut self, parcel: &Parcel, wait: Wait) -> Result<(), Error> {
        match wait {
            Wait::No => self.lane.try_send_parcel(b"", parcel)?,
            Wait::Always => self.lane.send_parcel(b"", parcel)?,
            Wait::Until(deadline) => self.lane.send_parcel_deadline(b"", parcel, deadline)?,
        }
        Ok(())
    }
}
