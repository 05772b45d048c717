//! Requests and replies that are values of a Rust type.
//!
//! The layouts of both go along in the lanes' schemas, and an end that has others is refused when it connects, with a
//! sentence that names what is expected. The invariant: a value that is handed out has bits that its type allows.

mod caller;
mod request;
mod service;

use super::{CallError, CallerOptions, Reply, ServiceOptions};
use crate::session::pairs::Expected;
use crate::typed::Layout;
use bytemuck::CheckedBitPattern;

pub use caller::TypedCaller;
pub use request::TypedRequest;
pub use service::TypedService;

impl Expected {
    fn of(layout: Layout) -> Self {
        Self { schema: layout.schema(), align: layout.align(), in_words: layout.to_string() }
    }
}

impl CallerOptions {
    /// The layouts of requests and replies, for a [`TypedCaller`]. A service with other layouts refuses. Raises the
    /// [alignment](Self::align) of requests to that of their values.
    ///
    /// ```
    /// use fdring::call::{CallerOptions, TypedCaller, TypedService};
    /// use fdring::typed::Layout;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let service = TypedService::<u32, f64>::listen("@doc-caller-values")?;
    /// let options = CallerOptions::new().values(Layout::of::<u32>(), Layout::of::<f64>());
    /// let caller = TypedCaller::<u32, f64>::new(options.connect("@doc-caller-values")?);
    /// # drop((caller, service));
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(mut self, requests: Layout, replies: Layout) -> Self {
        self.lane = self.lane.values(requests);
        self.expected = Some(Expected::of(replies));
        self
    }
}

impl ServiceOptions {
    /// The layouts of requests and replies, for a [`TypedService`]. A caller with other layouts is refused. Raises the
    /// [alignment](Self::align) of replies to that of their values.
    ///
    /// ```
    /// use fdring::call::{ServiceOptions, TypedService};
    /// use fdring::typed::Layout;
    ///
    /// # fn main() -> fdring::Result<()> {
    /// let options = ServiceOptions::new().values(Layout::of::<u32>().version(2), Layout::of::<f64>());
    /// let service = TypedService::<u32, f64>::new(options.listen("@doc-service-values")?);
    /// # drop(service);
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(mut self, requests: Layout, replies: Layout) -> Self {
        self.lane = self.lane.values(replies);
        self.expected = Some(Expected::of(requests));
        self
    }
}

pub(crate) fn value_of_reply<P: CheckedBitPattern>(reply: &Reply) -> Result<P, CallError> {
    value_of(reply).ok_or(CallError::NoValue { len: reply.len(), size: size_of::<P>() })
}

/// The value that lies in these bytes, if they are one.
fn value_of<T: CheckedBitPattern>(bytes: &[u8]) -> Option<T> {
    // Wherever they lie.
    if bytes.len() == size_of::<T>() { bytemuck::checked::try_pod_read_unaligned(bytes).ok() } else { None }
}
