//! Telling a forked child from the process that made an object, and closing in a child what must not outlive the
//! parent.
//!
//! The invariant: the word behind a [`ForkGuard`] is 1 in the process that made it and 0 in every process forked from
//! it, for ever. The kernel does that (`MADV_WIPEONFORK`, madvise(2), since Linux 4.14), so asking costs one load and
//! no system call, and works wherever a fork may happen. A child that makes objects of its own gets a fresh word;
//! nothing ever makes a wiped one 1 again. If the kernel refuses it, the handler below wipes the word.
//!
//! A child that lives on keeps the sockets and locks of a parent that was killed: the address stays taken, and a peer
//! that connects waits for an answer. So a handler ([`pthread_atfork(3)`](libc::pthread_atfork)) closes them in the
//! child, see [`NotForChildren`]. It does not run if a program forks by a system call of its own (clone(2)).
//!
//! Not covered: `vfork` and `clone(CLONE_VM)`, whose children share all memory with the parent.
#![allow(unsafe_code, reason = "the word lies in a page that is mapped for it; a handler that runs in forked children")]

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Once;

use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::error::{Error, Result};

/// The value of the word in the process that made it.
const OWNER: u32 = 1;
/// The length of the mapping, in bytes; the kernel rounds it up to a page.
const PAGE_BYTES: usize = 4096;

/// The word that new guards refer to; null before the first. What it points to is never unmapped.
static CURRENT: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// Knows whether this is still the process that made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkGuard(&'static AtomicU32);

impl ForkGuard {
    /// The guard of this process. A forked child gets one of its own, while guards from before the fork stay dead.
    pub(crate) fn get() -> Result<Self> {
        handle_forks();
        loop {
            // Acquire pairs with the release half of the exchange below: the word's 1 is seen.
            let current = CURRENT.load(Ordering::Acquire);
            // SAFETY: `CURRENT` is null or points to the word of a page that was published below and is never unmapped.
            if let Some(word) = unsafe { current.as_ref() } {
                let guard = Self(word);
                if !guard.is_child() {
                    return Ok(guard);
                }
            }
            let fresh = map_word()?;
            if CURRENT.compare_exchange(current, fresh.as_ptr(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                // SAFETY: `map_word` made this page, which is now published and so never unmapped.
                return Ok(Self(unsafe { fresh.as_ref() }));
            }
            // Another thread was quicker; its word serves.
            // SAFETY: `map_word` made this page of this length, and the failed exchange left nobody who knows of it.
            let _ = unsafe { rustix::mm::munmap(fresh.as_ptr().cast(), PAGE_BYTES) };
        }
    }

    /// Whether this process was forked from the one that made the guard.
    #[inline]
    pub(crate) fn is_child(self) -> bool {
        // The word changes only while this process is being made, so no ordering is needed.
        self.0.load(Ordering::Relaxed) != OWNER
    }

    /// What a quick way asks in place of this guard. `is_open` says whether there is a quick way at all.
    pub(crate) fn shortcut(self, is_open: bool) -> Shortcut {
        static CLOSED: AtomicU32 = AtomicU32::new(CHILD);
        Shortcut(if is_open { self.0 } else { &CLOSED })
    }

    /// [`Error::Forked`] in a forked child.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if self.is_child() { Err(Error::Forked) } else { Ok(()) }
    }
}

/// Whether a quick way may be taken: one load answers that this is the process that made the object, and that the
/// object asks for nothing that only the longer way does. So what is rare costs the quick way nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortcut(&'static AtomicU32);

impl Shortcut {
    /// Whether the longer way is to be taken, which asks the [`ForkGuard`] first.
    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        // As in `ForkGuard::is_child`.
        self.0.load(Ordering::Relaxed) != OWNER
    }
}

/// A page of its own that reads 0 in every child, with the word set for this process.
fn map_word() -> Result<NonNull<AtomicU32>> {
    // SAFETY: the kernel chooses an address where nothing is mapped yet.
    let page = unsafe {
        rustix::mm::mmap_anonymous(ptr::null_mut(), PAGE_BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    }
    .map_err(Error::os("map the page that tells a forked child"))?;
    // SAFETY: the page was mapped just now, private and anonymous, and nothing lies in it yet.
    let _ = unsafe { rustix::mm::madvise(page, PAGE_BYTES, Advice::LinuxWipeOnFork) };
    let word = NonNull::new(page.cast::<AtomicU32>()).expect("the kernel maps nothing at address 0 unless told to");
    // SAFETY: the page is mapped read-write, zeroed, and aligned far beyond 4 bytes; any bytes are an AtomicU32.
    unsafe { word.as_ref() }.store(OWNER, Ordering::Relaxed);
    Ok(word)
}

/// The word of a child whose kernel has not wiped it.
const CHILD: u32 = 0;
/// How many descriptors can be closed in children. One that finds no place stays open there.
const PLACES: usize = 64;
/// What stands in a place that is free.
const NONE: i32 = -1;

/// The descriptors that a forked child closes.
static NOT_FOR_CHILDREN: [AtomicI32; PLACES] = [const { AtomicI32::new(NONE) }; PLACES];

/// A descriptor that a forked child closes before it runs anything of the program's.
#[derive(Debug)]
pub(crate) struct NotForChildren {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    place: Option<&'static AtomicI32>,
    guard: ForkGuard,
}

impl NotForChildren {
    pub(crate) fn new(fd: OwnedFd, guard: ForkGuard) -> Self {
        let number = fd.as_raw_fd();
        // Relaxed: the handler runs in a copy of this memory, by the thread that forks.
        let take =
            |place: &&AtomicI32| place.compare_exchange(NONE, number, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Self { fd: Some(fd), place: NOT_FOR_CHILDREN.iter().find(take), guard }
    }

    /// The descriptor, which children keep from now on. This object may only be dropped then.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        if let Some(place) = self.place.take() {
            place.store(NONE, Ordering::Relaxed);
        }
        self.fd.take()
    }
}

impl AsFd for NotForChildren {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("there until it is dropped").as_fd()
    }
}

impl Drop for NotForChildren {
    fn drop(&mut self) {
        if self.guard.is_child() {
            // Closed already, and the number may be another file's.
            std::mem::forget(self.fd.take());
        } else if let Some(place) = self.place {
            // Before it is closed: a child must close nothing else under this number.
            place.store(NONE, Ordering::Relaxed);
        }
    }
}

/// Has libc call [`in_child`] in every child, from now on.
fn handle_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is there for good. Without memory for it, children keep what they should not.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// In a forked child, which has this one thread: everything here may be called after a fork (signal-safety(7)).
extern "C" fn in_child() {
    for place in &NOT_FOR_CHILDREN {
        // A child of the child's finds nothing here.
        let number = place.swap(NONE, Ordering::Relaxed);
        if number != NONE {
            // SAFETY: the parent's object owns this number, and closes it in the parent alone.
            unsafe { libc::close(number) };
        }
    }
    // SAFETY: `CURRENT` is null or points to the word of a page that was published and is never unmapped.
    if let Some(word) = unsafe { CURRENT.load(Ordering::Acquire).as_ref() } {
        word.store(CHILD, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::testing::in_forked_child;

    #[test]
    fn owner_is_no_child_and_its_child_is() {
        let guard = ForkGuard::get().unwrap();
        assert!(!guard.is_child());
        assert!(guard.check().is_ok());
        assert!(in_forked_child(|| guard.is_child()));
        assert!(!guard.is_child(), "a fork changes nothing in the parent");
    }

    #[test]
    fn child_gets_a_guard_of_its_own_while_the_inherited_one_stays_dead() {
        let inherited = ForkGuard::get().unwrap();
        assert!(in_forked_child(|| {
            let Ok(own) = ForkGuard::get() else { return false };
            let Ok(again) = ForkGuard::get() else { return false };
            !own.is_child() && inherited.is_child() && ptr::eq(own.0, again.0) && !ptr::eq(own.0, inherited.0)
        }));
    }

    #[test]
    fn a_shortcut_is_closed_in_children_and_where_there_is_none() {
        let guard = ForkGuard::get().unwrap();
        let (open, closed) = (guard.shortcut(true), guard.shortcut(false));
        assert!(!open.is_closed() && closed.is_closed());
        assert!(in_forked_child(|| open.is_closed() && closed.is_closed()));
    }

    #[test]
    fn grandchild_is_a_child_of_both() {
        let grandparent = ForkGuard::get().unwrap();
        assert!(in_forked_child(|| {
            let Ok(parent) = ForkGuard::get() else { return false };
            in_forked_child(|| grandparent.is_child() && parent.is_child())
        }));
    }

    #[test]
    fn threads_of_a_process_share_one_word() {
        let words: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| ForkGuard::get().unwrap().0 as *const _ as usize)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(words.iter().all(|word| *word == words[0]));
    }
}
