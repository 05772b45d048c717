//! Events for the crate `tracing`: what happens to sessions and lanes. `docs/tracing.md` lists them all.
//!
//! Without the feature `tracing` an event is no code, and its values are not evaluated. The invariant: nothing is told
//! of single records, so that what sends and receives them has no events.

use crate::deadline::Deadline;
#[cfg(feature = "tracing")]
use std::time::{Duration, Instant};

/// How long a producer waits for room before that is told.
#[cfg(feature = "tracing")]
const LONG: Duration = Duration::from_millis(10);

/// Tells of something, with fields as `tracing` takes them: `event!(INFO, "lane created", lane = name)`.
macro_rules! event {
    ($level:ident, $message:literal $(, $($fields:tt)+)?) => {
        #[cfg(feature = "tracing")]
        {
            tracing::event!(target: "fdring", tracing::Level::$level, $($($fields)+,)? $message);
        }
    };
}

pub(crate) use event;

/// A wait that may take long, which is told then. Without the feature `tracing` it never does.
#[derive(Debug)]
pub(crate) struct LongWait {
    #[cfg(feature = "tracing")]
    begin: Instant,
    is_told: bool,
}

impl LongWait {
    pub(crate) fn begin() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            begin: Instant::now(),
            is_told: false,
        }
    }

    /// When to look whether it takes long.
    pub(crate) fn look_at(&self) -> Deadline {
        #[cfg(feature = "tracing")]
        if !self.is_told {
            return Deadline::At(self.begin + LONG);
        }
        Deadline::Never
    }

    /// Whether it is to be told now that it takes long, which counts as told.
    pub(crate) fn is_news(&mut self) -> bool {
        #[cfg(feature = "tracing")]
        if !self.is_told && self.begin.elapsed() >= LONG {
            self.is_told = true;
            return true;
        }
        false
    }

    /// Whether it was told that it takes long, so that its end is to be told too.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// How long it took, in milliseconds.
    #[cfg(feature = "tracing")]
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(all(test, feature = "tracing"))]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[derive(Default)]
    struct Messages(Mutex<Vec<String>>);

    struct Recorder(Arc<Messages>);

    impl Visit for Recorder {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }

    impl Subscriber for Recorder {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut Self(Arc::clone(&self.0)));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    /// The messages of the events that `action` tells on this thread.
    pub(crate) fn told(action: impl FnOnce()) -> Vec<String> {
        let messages = Arc::new(Messages::default());
        tracing::subscriber::with_default(Recorder(Arc::clone(&messages)), action);
        messages.0.lock().unwrap().clone()
    }

    #[test]
    fn a_wait_counts_as_long_once() {
        let mut wait = LongWait::begin();
        assert!(!wait.is_news() && !wait.is_told());
        assert_eq!(wait.look_at(), Deadline::At(wait.begin + LONG));
        wait.begin -= LONG;
        assert!(wait.is_news() && wait.is_told() && !wait.is_news());
        assert_eq!(wait.look_at(), Deadline::Never);
        assert!(wait.millis() >= 10);
    }
}
