//! What the kernel does for this process and what it lets it have, found out by asking for it.
//!
//! The invariant: nothing is told by the kernel's version, and nothing is left behind but the registration for the
//! barrier, which every process that makes a lane has.

use crate::error::{Error, Result};
use crate::fds::{has_peer_pidfd, refuse_fds};
use crate::os::{barrier, cgroup};
use crate::region::{HugePages, Region, RegionOptions};
use rustix::fd::AsFd;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::futex::{ClockId, WaitvFlags, waitv};

/// The features of the kernel that this process can use, as tried by [`kernel`](fn@kernel). A seccomp filter counts as
/// the kernel.
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// let kernel = fdring::inspect::kernel()?;
/// if !kernel.has_futex_waitv {
///     println!("a producer that waits for room looks for it every 10 ms");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    /// membarrier(2): consumers that go to sleep pay for the barrier of both sides, so that producers need no fence.
    /// Without it producers fence, once each time they publish.
    pub has_barrier: bool,
    /// futex_waitv(2), from Linux 5.16: a producer that waits for room sleeps until it is woken. Without it, it looks
    /// every 10 ms.
    pub has_futex_waitv: bool,
    /// `SO_PASSRIGHTS`, from Linux 6.16: descriptors that nobody has asked for are turned away. Without it they are
    /// received, and closed by a thread of its own.
    pub has_pass_rights: bool,
    /// `SO_PEERPIDFD`, from Linux 6.5: the process of a peer is known for sure. Without it, it is looked up by its
    /// number, which may be another process's by then.
    pub has_peer_pidfd: bool,
    /// `MFD_NOEXEC_SEAL`, from Linux 6.3: the memory of lanes can never be executed.
    pub has_noexec_seal: bool,
    /// `MADV_POPULATE_WRITE`, from Linux 5.14: memory is prefaulted in one call, with an error if there is none.
    /// Without it each page is touched.
    pub has_populate: bool,
    /// Why no lane can lie in huge pages; `None` if one of 4 MiB can.
    pub no_huge_pages: Option<String>,
    /// The memory that the control groups of this process still have, in bytes. `None` without a limit.
    pub memory_room_bytes: Option<u64>,
    /// How many processors they may use, in thousandths. `None` without a quota.
    pub processor_quota_thousandths: Option<u64>,
}

/// Tries what this library can use of the kernel.
///
/// ```
/// # fn main() -> fdring::Result<()> {
/// println!("{:#?}", fdring::inspect::kernel()?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Os`] if this process is short of descriptors or memory, or the kernel lacks what every lane needs: memfds
/// that can be sealed, and socket pairs.
pub fn kernel() -> Result<Kernel> {
    const PAGE: RegionOptions<'_> = RegionOptions { name: "fdring:trial", len_bytes: 4096, huge_pages: HugePages::No };
    const HUGE_BYTES: u64 = 4 << 20;
    let flags = SocketFlags::CLOEXEC;
    let (socket, _other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(Error::os("make a pair of sockets to try the kernel's options"))?;
    let page = Region::create(&PAGE)?.map_read_write()?;
    let huge = RegionOptions { len_bytes: HUGE_BYTES, huge_pages: HugePages::Require, ..PAGE };
    Ok(Kernel {
        has_barrier: barrier::register(),
        // No words at all are invalid, if the call is known.
        has_futex_waitv: waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic) == Err(Errno::INVAL),
        has_pass_rights: refuse_fds(socket.as_fd()),
        has_peer_pidfd: has_peer_pidfd(socket.as_fd()),
        has_noexec_seal: memfd_create("fdring:trial", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).is_ok(),
        has_populate: page.populate()?,
        no_huge_pages: Region::create(&huge).err().map(|error| error.to_string()),
        memory_room_bytes: cgroup::memory_room().map(|room| room.room_bytes),
        processor_quota_thousandths: cgroup::processor_quota_thousandths(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_relies_on_is_what_is_told() {
        let kernel = kernel().unwrap();
        assert_eq!((kernel.has_barrier, barrier::register()), (barrier::can_call(), kernel.has_barrier));
        let huge = RegionOptions { name: "huge", len_bytes: 4 << 20, huge_pages: HugePages::Try };
        let region = Region::create(&huge).unwrap();
        let is_huge = *region.huge_pages() == crate::region::HugePagesOutcome::Used;
        assert_eq!(kernel.no_huge_pages.is_none(), is_huge, "{:?}", kernel.no_huge_pages);
    }
}
