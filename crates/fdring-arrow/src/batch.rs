//! A record batch that was received.

use crate::schema::LaneSchema;
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use fdring::parcel::Parcel;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A record batch that a [`BatchConsumer`](crate::BatchConsumer) has received. It dereferences to [`RecordBatch`].
///
/// Its arrays lie in the [place](Self::place) where its bytes came. They can be kept as long as wanted, in any thread;
/// clones and slices of them keep the whole batch mapped. [`BatchProducer::forward`](crate::BatchProducer::forward)
/// sends it on.
///
/// ```
/// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # use fdring::Server;
/// # use fdring_arrow::{BatchConsumer, BatchProducer, Place};
/// # use std::sync::Arc;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
/// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
/// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
/// # let server = Server::listen("@doc-arrow-received", producer.lanes())?;
/// # let mut consumer = BatchConsumer::connect("@doc-arrow-received")?;
/// # producer.send(&batch)?;
/// let received = consumer.receive()?.unwrap();
/// assert_eq!((received.num_rows(), received.place()), (3, Place::Copied));
/// assert_eq!(RecordBatch::from(received), batch);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReceivedBatch {
    pub(crate) batch: RecordBatch,
    pub(crate) bytes: Buffer,
    pub(crate) place: Place,
    pub(crate) position: u64,
    /// Kept if it can be forwarded.
    pub(crate) parcel: Option<Parcel>,
    pub(crate) schema: Arc<LaneSchema>,
}

/// Where the arrays of a [`ReceivedBatch`] lie.
///
/// ```
/// assert_ne!(fdring_arrow::Place::Ring, fdring_arrow::Place::Parcel);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the lane's ring itself. The batch holds it: the producer cannot overwrite its bytes, nor anything after them,
    /// before the last array is dropped.
    Ring,
    /// In a parcel: sealed memory of the batch's own, which holds nothing back.
    Parcel,
    /// In a copy that was made of a record in the ring.
    Copied,
}

impl ReceivedBatch {
    /// Where its arrays lie.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring::Server;
    /// # use fdring_arrow::{BatchConsumer, BatchProducerOptions, Place, fdring::options::LaneOptions};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// let options = BatchProducerOptions::new(LaneOptions::new("numbers")).threshold(0);
    /// let mut producer = options.create(batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-place", producer.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-place")?;
    /// producer.send(&batch)?;
    /// assert_eq!(consumer.receive()?.unwrap().place(), Place::Parcel);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// The position of its record in the lane, as [`fdring::Record::position`].
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring::Server;
    /// # use fdring_arrow::{BatchConsumer, BatchProducer};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-position", producer.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-position")?;
    /// producer.send(&batch)?;
    /// assert_eq!(consumer.receive()?.unwrap().position(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Its messages in the Arrow IPC format, as they came: its dictionaries, then the batch. After
    /// [`BatchConsumer::schema_message`](crate::BatchConsumer::schema_message) they are a stream that every
    /// implementation of Arrow can read.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring::Server;
    /// # use fdring_arrow::{BatchConsumer, BatchProducer};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-messages", producer.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-messages")?;
    /// # producer.send(&batch)?;
    /// let received = consumer.receive()?.unwrap();
    /// let stream = [consumer.schema_message(), received.messages()].concat();
    /// let mut reader = arrow_ipc::reader::StreamReader::try_new(&stream[..], None)?;
    /// assert_eq!(reader.next().unwrap()?, batch);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn messages(&self) -> &[u8] {
        &self.bytes
    }

    /// Its parcel, if it came in one and its consumer [keeps them](crate::BatchConsumerOptions::keep_parcels).
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring::Server;
    /// # use fdring_arrow::{BatchConsumer, BatchProducer};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-parcel", producer.lanes())?;
    /// # let mut consumer = BatchConsumer::connect("@doc-arrow-parcel")?;
    /// producer.send(&batch)?; // a short one, in the ring
    /// assert!(consumer.receive()?.unwrap().parcel().is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn parcel(&self) -> Option<&Parcel> {
        self.parcel.as_ref()
    }
}

impl Deref for ReceivedBatch {
    type Target = RecordBatch;

    fn deref(&self) -> &RecordBatch {
        &self.batch
    }
}

impl From<ReceivedBatch> for RecordBatch {
    fn from(received: ReceivedBatch) -> Self {
        received.batch
    }
}

impl fmt::Debug for ReceivedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, place, position, .. } = self;
        f.debug_struct("ReceivedBatch").field("batch", batch).field("place", place).field("position", position).finish()
    }
}
