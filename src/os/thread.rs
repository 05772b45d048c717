//! The library's own threads: every one is started here.
//!
//! The invariant: a thread of the library inherits nothing from the program. It blocks every signal from its first
//! instant: handlers run on the program's threads only, and a signal that the program blocks later, for a signalfd say,
//! does not kill the process. The length of its stack is set here and does not depend on `RUST_MIN_STACK`. A handle
//! that is dropped in a forked child is forgotten: its thread does not exist there, and its thread id may be that of
//! one of the child's own threads.
#![allow(unsafe_code, reason = "the signals of a thread")]

use super::fork::ForkGuard;
use crate::error::{Error, Operation, Result};
use std::mem::MaybeUninit;
use std::ptr;
use std::thread::{Builder, JoinHandle};

/// The length of a stack that is enough for everything the library does, in bytes.
pub(crate) const STACK_BYTES: usize = 512 << 10;

/// A thread of the library. Dropping the handle detaches the thread.
#[derive(Debug)]
pub(crate) struct Thread {
    /// `None` only while it is joined or dropped.
    handle: Option<JoinHandle<()>>,
    guard: ForkGuard,
}

/// Starts a thread. The `name` is at most 15 bytes long, see pthread_setname_np(3).
pub(crate) fn start(name: &str, stack_bytes: usize, work: impl FnOnce() + Send + 'static) -> Result<Thread> {
    let guard = ForkGuard::get()?;
    let failed = |cause| Error::os_in(Operation::Thread, format!("start a thread ({name})"))(cause);
    #[cfg(test)]
    if testing::is_instead() {
        return testing::start(Box::new(work)).map(|()| Thread { handle: None, guard }).map_err(failed);
    }
    let builder = Builder::new().name(name.to_owned()).stack_size(stack_bytes);
    // A thread inherits the mask of the one that starts it.
    let blocked = BlockedSignals::all();
    let handle = builder.spawn(work);
    drop(blocked);
    Ok(Thread { handle: Some(handle.map_err(failed)?), guard })
}

/// Lets another thread run that waits for this processor, if one does.
pub(crate) fn let_others_run() {
    rustix::thread::sched_yield();
}

impl Thread {
    /// Waits until the thread has ended. Returns at once in a forked child, which does not have the thread.
    pub(crate) fn join(mut self) {
        if let Some(handle) = self.handle.take_if(|_| !self.guard.is_child()) {
            // A thread that panicked has printed why.
            let _ = handle.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.guard.is_child() {
            std::mem::forget(self.handle.take());
        }
    }
}

/// Blocks all signals in the calling thread until it is dropped. Holds the mask from before, or `None` if the kernel
/// refused.
struct BlockedSignals(Option<libc::sigset_t>);

impl BlockedSignals {
    fn all() -> Self {
        let mut all = MaybeUninit::uninit();
        // SAFETY: sigfillset only writes a set to where there is room for one.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::uninit();
        // SAFETY: `all` is the set that sigfillset has made, and there is room for the other.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: the call has succeeded, so it has written the mask that was there before.
        Self((result == 0).then(|| unsafe { before.assume_init() }))
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // SAFETY: `before` is a set of the kernel's; the mask that it replaces is not asked for.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
        }
    }
}

/// What a test has happen where a thread would start.
#[cfg(test)]
pub(crate) mod testing {
    use std::cell::RefCell;
    use std::io::Result;

    pub(crate) type Work = Box<dyn FnOnce() + Send>;
    type Instead = Box<dyn FnMut(Work) -> Result<()>>;

    thread_local! {
        static INSTEAD: RefCell<Option<Instead>> = const { RefCell::new(None) };
    }

    /// Until this is dropped, the threads that the calling thread would start are handed to its closure.
    #[must_use]
    pub(crate) struct StartInstead(());

    pub(crate) fn start_instead(instead: impl FnMut(Work) -> Result<()> + 'static) -> StartInstead {
        INSTEAD.set(Some(Box::new(instead)));
        StartInstead(())
    }

    impl Drop for StartInstead {
        fn drop(&mut self) {
            INSTEAD.set(None);
        }
    }

    pub(super) fn is_instead() -> bool {
        INSTEAD.with_borrow(Option::is_some)
    }

    pub(super) fn start(work: Work) -> Result<()> {
        INSTEAD.with_borrow_mut(|instead| instead.as_mut().map_or(Ok(()), |instead| instead(work)))
    }
}
