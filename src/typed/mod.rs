//! Lanes of values: what is sent and received has a Rust type.
//!
//! A record holds one value or several of one type, as its bytes. The producer's [`Layout`] goes along in the lane's
//! schema, and a consumer of other values is refused when it attaches, with both layouts in words.
//!
//! | type | what it is for |
//! | --- | --- |
//! | [`TypedProducer`] | sends values and slices |
//! | [`TypedConsumer`] | receives slices of values without a copy, or values whose bits are checked |
//! | [`TypedTap`] | the same, without holding the lane back: every value that it is in time for, or the newest |
//!
//! A `T` is plain bytes: it holds no pointer and no padding. The traits of the `bytemuck` crate say so, and its derive
//! macros implement them: `NoUninit` to send, `AnyBitPattern` to receive in place, `CheckedBitPattern` (an `enum`, a
//! `bool`) to receive as checked copies. For a `struct` of your own, `cargo add bytemuck --features derive` and write
//! `#[derive(Clone, Copy, NoUninit, AnyBitPattern)]` and `#[repr(C)]` above it.
//!
//! ```
//! use fdring::Server;
//! use fdring::typed::{TypedConsumer, TypedProducer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut prices = TypedProducer::<f64>::create("prices")?;
//! let server = Server::listen("@doc-typed", [prices.untyped()])?;
//! let mut consumer = TypedConsumer::<f64>::connect("@doc-typed")?;
//!
//! prices.send(&1.5)?;
//! prices.send_slice(&[2.5, 3.5])?;
//! assert_eq!(consumer.receive()?.unwrap()[..], [1.5]);
//! assert_eq!(consumer.receive()?.unwrap()[..], [2.5, 3.5]);
//!
//! let error = TypedConsumer::<u64>::connect("@doc-typed").unwrap_err();
//! assert!(error.to_string().contains("expected u64, 8 bytes, aligned to 8, version 0"));
//! # Ok(())
//! # }
//! ```

mod consumer;
mod error;
mod layout;
mod producer;
mod record;
mod tap;

pub use consumer::TypedConsumer;
pub use error::TypedError;
pub use layout::Layout;
pub use producer::{TypedBatch, TypedProducer};
pub use record::TypedRecord;
#[cfg(feature = "tokio")]
pub(crate) use record::{value_of, values_of};
pub use tap::TypedTap;

use crate::error::{Error, Result};
use crate::lane::LaneInfo;

/// Whether a lane has the values that one of its ends is about.
///
/// # Errors
///
/// - [`Error::Invalid`] if `layout` is not the layout of a `T`
/// - [`Error::Layout`] if the lane's values are of another layout
fn check<T>(lane: &LaneInfo, layout: Layout) -> Result<()> {
    if !layout.is_of::<T>() {
        return Err(Error::Invalid(format!("the layout ({layout}) is not that of the values, {}", Layout::of::<T>())));
    }
    if layout.fits(lane) {
        return Ok(());
    }
    let (lane, offered, expected) = (lane.name.clone(), layout::in_words(lane), layout.to_string());
    Err(Error::Layout { lane, offered, expected })
}
