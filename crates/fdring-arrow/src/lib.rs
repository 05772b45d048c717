//! Apache Arrow record batches over [`fdring`] lanes: from process to process without a copy, in shared memory.
//!
//! A [`BatchProducer`] sends the batches of one schema. A long one goes as a parcel, which is sealed memory of its own
//! that travels as a descriptor; a short one goes in the lane's ring. A [`BatchConsumer`] gets arrays that lie in the
//! parcel itself, and keeps them as long as it likes. A batch can be sent [on](BatchProducer::forward) to a third
//! process, which then reads the same memory.
//!
//! ```
//! use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
//! use fdring_arrow::{BatchConsumer, BatchProducer, fdring::Server};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let zones: ArrayRef = Arc::new(StringArray::from(vec!["Harlem", "Soho", "Harlem"]));
//! let fares: ArrayRef = Arc::new(Float64Array::from(vec![Some(9.5), None, Some(12.0)]));
//! let trips = RecordBatch::try_from_iter([("zone", zones), ("fare", fares)])?;
//!
//! let mut producer = BatchProducer::create("trips", trips.schema())?;
//! let server = Server::listen("@doc-arrow-front-page", producer.lanes())?;
//!
//! // Usually in another process:
//! let mut consumer = BatchConsumer::connect("@doc-arrow-front-page")?;
//!
//! producer.send(&trips)?;
//! producer.finish();
//!
//! while let Some(batch) = consumer.receive()? {
//!     assert_eq!(*batch, trips);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What travels
//!
//! Each lane has one schema. It lies in a lane of its own, called like the other with `.schema` at the end, which every
//! consumer reads first, however late it joins. A batch is a record: the messages of the Arrow IPC format, as in a
//! stream, with the dictionaries that the batch uses before it. They lie in the record's payload, or in the one buffer
//! of the record's parcel. All bodies and buffers begin at multiples of 64 bytes. So each batch can be read by itself,
//! and the schema's message followed by any number of batches is a stream that every implementation of Arrow can read.
//!
//! # What is checked
//!
//! The producer need not be trusted. In the schema, types, nesting and numbers of dictionaries are checked. In a batch,
//! all buffers must be there and long enough for its rows; then Arrow's own validation checks offsets, keys, text and
//! numbers of nulls. A fault is an [`Error::Batch`] that says what is wrong.
//!
//! # What it does not do
//!
//! It sends every type of Arrow except run-end encoded columns and dictionaries in the values of dictionaries. It
//! compresses nothing. The schema of a lane never changes: make another lane.

mod batch;
mod consumer;
mod decode;
mod encode;
mod error;
mod layout;
#[allow(unsafe_code, reason = "buffers over memory that a parcel or a ring owns")]
mod memory;
mod options;
mod producer;
mod schema;

pub use batch::{Place, ReceivedBatch};
pub use consumer::BatchConsumer;
pub use error::Error;
pub use fdring;
pub use options::BatchConsumerOptions;
pub use producer::{BatchProducer, BatchProducerOptions};

/// The kind of the buffer of a parcel that is a record batch: `ARRW`.
const PARCEL_KIND: u32 = u32::from_le_bytes(*b"ARRW");

/// The name of the lane with the schema of the lane of this name.
fn schema_lane(name: &str) -> String {
    format!("{name}.schema")
}

/// The example of the README is a test too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
