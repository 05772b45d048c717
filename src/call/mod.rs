//! Request and reply: callers, and a service that answers them.
//!
//! | type | what it is for |
//! | --- | --- |
//! | [`Caller`] | sends requests, and waits for their replies; any number in flight |
//! | [`Service`] | receives the requests of all callers in turn |
//! | [`Request`] | answers one: at once or later, in place, in parts, on any thread |
//! | [`TypedCaller`], [`TypedService`], [`TypedRequest`] | the same, with values of Rust types |
//!
//! A session has two rings, one for requests and one for replies, and each end owns the one that it writes. Each call
//! has a deadline that both ends know, and gets a reply, a refusal or an error by then, whatever happens to the other
//! end. A late reply never answers another call.
//!
//! ```
//! use fdring::call::{Caller, Service};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = Service::listen("@doc-call")?;
//! let caller = std::thread::spawn(|| {
//!     // Usually in another process:
//!     let mut caller = Caller::connect("@doc-call").expect("the service listens");
//!     caller.call(b"2 + 2", Duration::from_secs(1))
//! });
//! service.receive()?.reply(b"4")?;
//! assert_eq!(&caller.join().unwrap()?[..], b"4");
//! # Ok(())
//! # }
//! ```

mod body;
mod caller;
pub(crate) mod calls;
mod defaults;
mod error;
mod fill;
mod given_up;
pub(crate) mod intake;
mod numbered;
mod port;
pub(crate) mod prefix;
mod reply;
mod request;
mod service;
mod stats;
mod switchboard;
#[cfg(test)]
mod tests;
mod typed;

#[cfg(feature = "tokio")]
pub(crate) use self::caller::Wanted;
pub use self::caller::{Caller, CallerOptions};
pub use self::error::{CallError, ReplyError};
pub use self::prefix::Cause;
pub use self::reply::{Reply, Ticket};
pub use self::request::Request;
pub use self::service::{CallerInfo, Service, ServiceOptions};
pub use self::stats::{CallerStats, ServiceStats};
#[cfg(feature = "tokio")]
pub(crate) use self::typed::value_of_reply;
pub use self::typed::{TypedCaller, TypedRequest, TypedService};
