//! How to attach to a lane of record batches.
#![allow(unsafe_code, reason = "the promise is the caller's, for reading in place")]

use crate::consumer::BatchConsumer;
use crate::{Error, schema_lane};
use fdring::info::LaneInfo;
use fdring::options::Start;
use fdring::{Attach, Session, options::Address};

/// The default for [`BatchConsumerOptions::parcel_max`].
const PARCEL_MAX_DEFAULT_BYTES: u64 = 1 << 30;
/// The longest ring that a lane with a schema may have.
const SCHEMA_CAPACITY_MAX_BYTES: u64 = 64 << 20;

/// Options for receiving record batches. [`connect`](Self::connect) connects with them.
///
/// ```
/// # use arrow_schema::{DataType, Field, Schema};
/// # use fdring_arrow::{BatchProducer, fdring::Server};
/// use fdring_arrow::{BatchConsumerOptions, fdring::options::Start};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
/// # let trips = BatchProducer::create("trips", schema)?;
/// # let server = Server::listen("@doc-batch-consumer-options", trips.lanes())?;
/// let options = BatchConsumerOptions::new().lane("trips").start(Start::Oldest).parcel_max(64 << 20);
/// let consumer = options.connect("@doc-batch-consumer-options")?;
/// assert_eq!(consumer.schema().field(0).name(), "fare");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a consumer is made with them"]
pub struct BatchConsumerOptions {
    lane: Option<String>,
    start: Start,
    in_place: bool,
    parcel_max: u64,
    keep_parcels: bool,
}

impl BatchConsumerOptions {
    /// The defaults: the only lane of record batches, from the next batch on; batches in the ring are copied.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumerOptions, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-options-new", trips.lanes())?;
    /// let consumer = BatchConsumerOptions::new().connect("@doc-arrow-options-new")?;
    /// assert_eq!(consumer.lane().lane().name, "trips");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            lane: None,
            start: Start::Latest,
            in_place: false,
            parcel_max: PARCEL_MAX_DEFAULT_BYTES,
            keep_parcels: false,
        }
    }

    /// The name of the lane. Default: the only one of record batches.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumerOptions, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema.clone())?;
    /// # let tolls = BatchProducer::create("tolls", schema)?;
    /// # let lanes = trips.lanes().into_iter().chain(tolls.lanes());
    /// # let server = Server::listen("@doc-arrow-options-lane", lanes)?;
    /// let consumer = BatchConsumerOptions::new().lane("tolls").connect("@doc-arrow-options-lane")?;
    /// assert_eq!(consumer.lane().lane().name, "tolls");
    /// # Ok(())
    /// # }
    /// ```
    pub fn lane(mut self, name: impl Into<String>) -> Self {
        self.lane = Some(name.into());
        self
    }

    /// Where to begin. Default: [`Start::Latest`]. [`Start::Oldest`] begins no earlier than after the last parcel.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumerOptions, BatchProducer, fdring::Server, fdring::options::Start};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-options-start", producer.lanes())?;
    /// producer.send(&batch)?;
    /// let mut consumer = BatchConsumerOptions::new().start(Start::Oldest).connect("@doc-arrow-options-start")?;
    /// assert_eq!(*consumer.receive()?.unwrap(), batch);
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Builds the arrays of batches in the ring over the ring itself: nothing is copied, and a batch that is kept holds
    /// its bytes there. Default: they are copied out. Parcels are never copied.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::{BatchConsumerOptions, BatchProducer, Place, fdring::Server};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let mut producer = BatchProducer::create("numbers", batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-options-in-place", producer.lanes())?;
    /// // SAFETY: the producer is this very program, and follows the protocol.
    /// let options = unsafe { BatchConsumerOptions::new().in_place() };
    /// let mut consumer = options.connect("@doc-arrow-options-in-place")?;
    /// producer.send(&batch)?;
    /// assert_eq!(consumer.receive()?.unwrap().place(), Place::Ring);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Safety
    ///
    /// What [`Attach::in_place`] asks, also for the arrays of every batch, for as long as they are kept.
    pub unsafe fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }

    /// The longest parcel to take, in bytes: this process maps that much for a batch. Default: 1 GiB.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::fdring::{Server, options::LaneOptions};
    /// # use fdring_arrow::{BatchConsumerOptions, BatchProducerOptions, Error};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1; 10_000])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let options = BatchProducerOptions::new(LaneOptions::new("numbers")).threshold(0);
    /// # let mut producer = options.create(batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-options-parcel-max", producer.lanes())?;
    /// let options = BatchConsumerOptions::new().parcel_max(64 << 10);
    /// let mut consumer = options.connect("@doc-arrow-options-parcel-max")?;
    /// producer.send(&batch)?; // 80,000 bytes
    /// assert!(matches!(consumer.receive(), Err(Error::Batch { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn parcel_max(mut self, bytes: u64) -> Self {
        self.parcel_max = bytes;
        self
    }

    /// Whether batches keep their parcels, with a descriptor for each, to be
    /// [forwarded](crate::BatchProducer::forward). Default: false, which keeps the bytes and gives the descriptors back
    /// to the system.
    ///
    /// ```
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fdring_arrow::fdring::{Server, options::LaneOptions};
    /// # use fdring_arrow::{BatchConsumerOptions, BatchProducerOptions};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    /// # let batch = RecordBatch::try_from_iter([("numbers", numbers)])?;
    /// # let options = BatchProducerOptions::new(LaneOptions::new("numbers")).threshold(0);
    /// # let mut producer = options.create(batch.schema())?;
    /// # let server = Server::listen("@doc-arrow-options-keep", producer.lanes())?;
    /// let mut consumer = BatchConsumerOptions::new().keep_parcels(true).connect("@doc-arrow-options-keep")?;
    /// producer.send(&batch)?;
    /// assert!(consumer.receive()?.unwrap().parcel().is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_parcels(mut self, keep: bool) -> Self {
        self.keep_parcels = keep;
        self
    }

    /// Connects to a server, and attaches to the lane and to the one with its schema.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchConsumerOptions, BatchProducer, fdring::Server};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-options-connect", trips.lanes())?;
    /// let consumer = BatchConsumerOptions::new().lane("trips").connect("@doc-arrow-options-connect")?;
    /// # assert_eq!(consumer.schema().fields().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::NoSchema`] if there is no such lane, if several could be meant, or if the schema cannot be read
    /// - [`Error::Setup`] for each error of [`Session::connect`] and [`Session::attach`]
    pub fn connect(self, address: impl Into<Address>) -> Result<BatchConsumer, Error> {
        self.attach(Session::connect(address)?)
    }

    /// Like [`connect`](Self::connect), over a session with other options than the defaults. The session must have both
    /// lanes.
    ///
    /// ```
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fdring_arrow::{BatchProducer, fdring::Server};
    /// use fdring_arrow::{BatchConsumerOptions, fdring::options::SessionOptions};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let schema = Schema::new(vec![Field::new("fare", DataType::Float64, true)]);
    /// # let trips = BatchProducer::create("trips", schema)?;
    /// # let server = Server::listen("@doc-arrow-options-attach", trips.lanes())?;
    /// let session = SessionOptions::new().patience(Duration::from_secs(10)).connect("@doc-arrow-options-attach")?;
    /// let consumer = BatchConsumerOptions::new().attach(session)?;
    /// # assert_eq!(consumer.schema().fields().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::NoSchema`] if there is no such lane, if several could be meant, or if the schema cannot be read
    /// - [`Error::Setup`] for each error of [`Session::attach`]
    pub fn attach(self, session: Session) -> Result<BatchConsumer, Error> {
        let lane = chosen(session.lanes(), self.lane)?;
        let mut attach = Attach::lane(&lane.name).start(self.start).attachments(lane.attachments_max > 0);
        if self.in_place {
            // SAFETY: the caller of this type's `in_place` has promised what it asks.
            attach = unsafe { attach.in_place() };
        }
        let schema = Attach::lane(schema_lane(&lane.name)).start(Start::Oldest);
        let mut consumers = session.attach([attach, schema])?.into_iter();
        match (consumers.next(), consumers.next()) {
            (Some(lane), Some(schema)) => BatchConsumer::new(lane, schema, self.parcel_max, self.keep_parcels),
            _ => unreachable!("a session attaches to as many lanes as were asked for"),
        }
    }
}

impl Default for BatchConsumerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The lane that is meant, which has a lane with its schema.
fn chosen(lanes: &[LaneInfo], name: Option<String>) -> Result<LaneInfo, Error> {
    let schema_of = |lane: &LaneInfo| lanes.iter().find(|other| other.name == schema_lane(&lane.name));
    let is_meant = |lane: &&LaneInfo| match &name {
        Some(name) => lane.name == *name,
        None => schema_of(lane).is_some(),
    };
    let no_schema = |fault: String| Error::NoSchema {
        lane: name.as_ref().map_or("this session".into(), |name| format!("the lane {name}")),
        fault,
    };
    let mut meant = lanes.iter().filter(is_meant);
    let (first, more) = (meant.next(), meant.count());
    let lane = first.ok_or_else(|| {
        let names: Vec<&str> = lanes.iter().map(|lane| &*lane.name).collect();
        no_schema(format!("the lanes are: {}", names.join(", ")))
    })?;
    if more > 0 {
        return Err(no_schema(format!("{} lanes have them; choose one by its name", more + 1)));
    }
    let schema = schema_of(lane).ok_or_else(|| no_schema("no lane with their schema is offered beside it".into()))?;
    if schema.capacity > SCHEMA_CAPACITY_MAX_BYTES {
        let max = SCHEMA_CAPACITY_MAX_BYTES;
        return Err(no_schema(format!("their schema has a ring of {} bytes, longer than {max}", schema.capacity)));
    }
    Ok(lane.clone())
}
