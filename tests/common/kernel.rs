//! Kernels that lack something: system calls that fail in this process as they do there, by a seccomp(2) filter.
//!
//! A filter is for good, and for this thread and whatever it starts: use it in a process of its own.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unsafe_code, reason = "installing a filter")]

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
};
use rustix::io::Errno;

/// Where seccomp(2) shows a filter the number of the call, and its arguments (little-endian).
const NUMBER: u32 = 0;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// From now on the system call of that number fails with `errno`, if each argument named has that value.
pub(crate) fn deny(call: libc::c_long, arguments: &[(u32, u32)], errno: Errno) {
    answer(call, &arguments.iter().map(whole).collect::<Vec<_>>(), errno.raw_os_error() as u32);
}

/// From now on it fails with `errno` if the bits of `mask` in that argument are `flags`.
pub(crate) fn deny_flags(call: libc::c_long, argument: u32, mask: u32, flags: u32, errno: Errno) {
    answer(call, &[(argument, mask, flags)], errno.raw_os_error() as u32);
}

/// From now on that system call does nothing, and says 0: success.
pub(crate) fn fake(call: libc::c_long, arguments: &[(u32, u32)]) {
    answer(call, &arguments.iter().map(whole).collect::<Vec<_>>(), 0);
}

/// An argument of that value in all its bits.
fn whole((at, value): &(u32, u32)) -> (u32, u32, u32) {
    (*at, u32::MAX, *value)
}

/// Of each argument: which it is, the bits that count, and their value.
fn answer(call: libc::c_long, arguments: &[(u32, u32, u32)], errno: u32) {
    let instruction = |code: u32, k: u32, skip: u8| libc::sock_filter { code: code as u16, jt: 0, jf: skip, k };
    let tests = arguments.iter().map(|(at, mask, value)| (argument(*at), *mask, *value));
    let mut program = Vec::new();
    for (index, (offset, mask, value)) in [(NUMBER, u32::MAX, call as u32)].into_iter().chain(tests).enumerate() {
        // To the last instruction if it is another value: three a test, and the one that denies.
        let skip = 3 * (arguments.len() - index) + 1;
        program.push(instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0));
        program.push(instruction(BPF_ALU | BPF_AND | BPF_K, mask, 0));
        program.push(instruction(BPF_JMP | BPF_JEQ | BPF_K, value, skip as u8));
    }
    program.push(instruction(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno, 0));
    program.push(instruction(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: it only gives up the right to gain privileges.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    // SAFETY: `filter` points to `program`, both alive, and the kernel copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// As before Linux 6.16: no socket can refuse descriptors (`SO_PASSRIGHTS`).
pub(crate) fn cannot_refuse_descriptors() {
    const SO_PASSRIGHTS: u32 = 83;
    deny(libc::SYS_setsockopt, &[(1, libc::SOL_SOCKET as u32), (2, SO_PASSRIGHTS)], Errno::NOPROTOOPT);
}

/// A page at which whatever touches it waits for ever (userfaultfd(2)). `None` if this process may not make one.
fn page_that_never_comes() -> Option<usize> {
    const USER_MODE_AND_KERNEL: libc::c_int = libc::O_CLOEXEC;
    const UFFD_API: u64 = 0xaa;
    const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
    const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
    const MODE_MISSING: u64 = 1;
    // SAFETY: the call takes flags and gives a descriptor.
    let uffd = unsafe { libc::syscall(libc::SYS_userfaultfd, USER_MODE_AND_KERNEL) } as libc::c_int;
    if uffd < 0 {
        return None;
    }
    let mut api = [UFFD_API, 0, 0];
    // SAFETY: `api` has the layout of struct uffdio_api, and is there.
    assert_eq!(unsafe { libc::ioctl(uffd, UFFDIO_API, api.as_mut_ptr()) }, 0);
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses an address where nothing is mapped yet.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    let mut register = [page as u64, 4096, MODE_MISSING, 0];
    // SAFETY: `register` has the layout of struct uffdio_register, and is there.
    assert_eq!(unsafe { libc::ioctl(uffd, UFFDIO_REGISTER, register.as_mut_ptr()) }, 0);
    Some(page as usize)
}

/// Has a thread of this process touch a page that never comes, in a system call that it makes with the page's address.
fn wait_for_ever(call: impl FnOnce(usize) + Send + 'static) -> bool {
    let Some(page) = page_that_never_comes() else { return false };
    let (says, tid) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        says.send(rustix::thread::gettid()).unwrap();
        call(page);
    });
    super::wait_until_thread_sleeps(tid.recv().unwrap());
    true
}

/// Has an epoll descriptor watch `fd`, and a thread of this process wait there with its lock, for ever: its events are
/// to be copied to a page that never comes. `false` if this process may not do that.
pub(crate) fn watch_and_keep_the_lock(fd: impl rustix::fd::AsFd) -> bool {
    use rustix::event::epoll;
    let watcher = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&watcher, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
    wait_for_ever(move |page| {
        let number = std::os::fd::AsRawFd::as_raw_fd(&watcher);
        // SAFETY: the page is mapped for good, for this one event.
        unsafe { libc::epoll_wait(number, page as *mut libc::epoll_event, 1, -1) };
    })
}

/// Has a thread of this process take the message that waits in a socket, and keep the socket's lock, for ever: the
/// message is to be copied to a page that never comes. `false` if this process may not do that.
pub(crate) fn read_and_keep_the_lock(socket: rustix::fd::OwnedFd) -> bool {
    wait_for_ever(move |page| {
        let number = std::os::fd::AsRawFd::as_raw_fd(&socket);
        // SAFETY: the page is mapped for good, for this one byte.
        unsafe { libc::recv(number, page as *mut libc::c_void, 1, 0) };
    })
}

/// Has a thread of this process write to a memfd, and keep the lock of the file, for ever: the bytes are to come from a
/// page that never comes. `false` if this process may not do that.
pub(crate) fn write_and_keep_the_lock(memfd: rustix::fd::OwnedFd) -> bool {
    wait_for_ever(move |page| {
        let number = std::os::fd::AsRawFd::as_raw_fd(&memfd);
        // SAFETY: the page is mapped for good, and the kernel only reads from it.
        unsafe { libc::pwrite(number, page as *const libc::c_void, 1, 0) };
    })
}
