//! Regions: what their owner can do, what nobody else can, and what is refused.
#![allow(unsafe_code, reason = "the forbidden acts are unsafe ones")]

use core::ptr;
use core::sync::atomic::{AtomicU8, Ordering};
use std::fs::File;
use std::os::unix::net::UnixStream;

use rustix::event::EventfdFlags;
use rustix::event::epoll::CreateFlags;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

use super::testing::{Other, eventually, fork, in_forked_child, role, say_ready, wait_until_left_alone};
use super::*;
use crate::test_support::skipped;

const PAGE: u64 = 4096;
const LEN: u64 = 16 * PAGE;
/// How a producer seals a control region; and a data region, but for SEAL.
const CONTROL: Seals = Seals::SHRINK.union(Seals::GROW).union(Seals::FUTURE_WRITE).union(Seals::SEAL);
const DATA: Seals = CONTROL.without(Seals::SEAL);
const SEAT: Seals = Seals::SHRINK.union(Seals::GROW);
const OTHER: &str = "region::tests::other_process";

fn region(len_bytes: u64) -> Region {
    Region::create(&RegionOptions { name: "fdring test", len_bytes, huge_pages: HugePages::No }).unwrap()
}

/// A memfd as a stranger would make it: nothing allocated, nothing sealed.
fn bare(len: u64) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("fdring stranger", flags).unwrap();
    rustix::fs::ftruncate(&fd, len).unwrap();
    fd
}

fn allocated(len: u64) -> OwnedFd {
    let fd = bare(len);
    rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len).unwrap();
    fd
}

fn blocks(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_blocks as u64
}

fn byte(mapping: &Mapping, offset: usize) -> &AtomicU8 {
    assert!(offset < mapping.len());
    // SAFETY: within the mapping, as asserted.
    let byte = unsafe { mapping.ptr().add(offset) };
    // SAFETY: mapped as long as the mapping is borrowed; nobody accesses it but by atomics.
    unsafe { AtomicU8::from_ptr(byte.as_ptr()) }
}

fn message<T: fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

// What its owner can do.

#[test]
fn new_region_is_zero_allocated_and_closed_on_exec() {
    let region = region(LEN);
    assert_eq!(region.len() as u64, LEN);
    assert_eq!(*region.huge_pages(), HugePagesOutcome::NotAsked);
    assert!(blocks(&region) * 512 >= LEN, "every page is there before it is touched");
    assert!(rustix::io::fcntl_getfd(&region).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let mapping = region.map_read_write().unwrap();
    assert_eq!(mapping.len() as u64, LEN);
    assert!((0..LEN as usize).all(|offset| byte(&mapping, offset).load(Ordering::Relaxed) == 0));
}

#[test]
fn memory_that_is_not_a_program_cannot_become_one_where_the_kernel_knows_of_that() {
    let region = region(PAGE);
    let mode = rustix::fs::fstat(&region).unwrap().st_mode;
    let noexec_seal_is_known = rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).is_ok();
    assert_eq!(region.seals().unwrap().contains(Seals::EXEC), noexec_seal_is_known);
    assert_eq!(mode & 0o111 == 0, noexec_seal_is_known);
}

#[test]
fn writer_goes_on_writing_after_the_seals_and_readers_see_it() {
    let region = region(LEN);
    let writer = region.map_read_write().unwrap();
    region.seal(DATA).unwrap();
    assert!(region.seals().unwrap().contains(DATA));
    region.check_not_writable().unwrap();
    assert!(region.map_read_write().is_err());
    let reader = region.map_read_only().unwrap();
    byte(&writer, 4097).store(7, Ordering::Relaxed);
    assert_eq!(byte(&reader, 4097).load(Ordering::Relaxed), 7);
}

#[test]
fn check_not_writable_tells_a_region_that_can_still_be_mapped_writable() {
    let region = region(LEN);
    region.seal(SEAT).unwrap();
    let message = message(region.check_not_writable());
    assert!(message.contains("a new writable mapping was allowed"), "{message}");
}

#[test]
fn length_out_of_range_is_refused_before_anything_is_made() {
    for len_bytes in [0, REGION_LEN_MAX_BYTES + 1, u64::MAX] {
        for huge_pages in [HugePages::No, HugePages::Try, HugePages::Require] {
            let created = Region::create(&RegionOptions { name: "x", len_bytes, huge_pages });
            assert!(matches!(created, Err(Error::Invalid(_))), "{len_bytes}: {created:?}");
        }
    }
}

#[test]
fn more_memory_than_the_machine_has_is_an_error() {
    let error = check_memory("x", u64::MAX).unwrap_err();
    assert!(error.to_string().contains("free some memory"), "{error}");
    check_memory("x", PAGE).unwrap();
    if check_memory("x", REGION_LEN_MAX_BYTES).is_err() {
        let options = RegionOptions { name: "x", len_bytes: REGION_LEN_MAX_BYTES, huge_pages: HugePages::No };
        assert!(matches!(Region::create(&options), Err(Error::Os { .. })));
    }
}

#[test]
fn limit_on_file_sizes_is_an_error_that_names_the_region() {
    Other::start(OTHER, "limit", region(PAGE).as_fd()).succeed();
}

fn limit() {
    let limit = rustix::process::Rlimit { current: Some(LEN), maximum: Some(LEN) };
    rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
    let before = descriptors();
    let options = RegionOptions { name: "the data of lane 3", len_bytes: 2 * LEN, huge_pages: HugePages::No };
    match Region::create(&options) {
        Err(Error::Os { doing, cause, .. }) => {
            assert!(doing.contains("the data of lane 3"), "{doing}");
            assert_eq!(cause.kind(), io::ErrorKind::FileTooLarge);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn names_of_any_kind_are_cut_to_what_the_kernel_takes() {
    for name in ["", "a\0b", &"x".repeat(249), &"x".repeat(250), &"é".repeat(200), &"x".repeat(10_000)] {
        let options = RegionOptions { name, len_bytes: PAGE, huge_pages: HugePages::No };
        Region::create(&options).unwrap_or_else(|error| panic!("{} bytes: {error}", name.len()));
    }
    assert_eq!(kernel_name(&"é".repeat(200)).len(), 248);
    assert_eq!(kernel_name("a\0b"), "a");
}

#[test]
fn huge_pages_are_used_or_the_report_says_why_not() {
    let pool_is_empty = |file| std::fs::read_to_string(file).is_ok_and(|count| count.trim() == "0");
    let dir = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    let none = pool_is_empty(format!("{dir}/nr_hugepages")) && pool_is_empty(format!("{dir}/nr_overcommit_hugepages"));
    let options = RegionOptions { name: "huge", len_bytes: 2 * HUGE_PAGE_BYTES, huge_pages: HugePages::Try };
    let region = Region::create(&options).unwrap();
    match region.huge_pages() {
        HugePagesOutcome::Used => assert!(!none),
        HugePagesOutcome::Unavailable { reason } if none => assert!(reason.contains("vm.nr_hugepages"), "{reason}"),
        HugePagesOutcome::Unavailable { reason } => assert!(!reason.is_empty()),
        HugePagesOutcome::NotAsked => panic!("it was asked"),
    }
    let mapping = region.map_read_write().unwrap();
    mapping.prefault().unwrap();
    byte(&mapping, mapping.len() - 1).store(1, Ordering::Relaxed);
    region.seal(DATA).unwrap();
    region.check_not_writable().unwrap();
    Region::receive(region.as_fd().try_clone_to_owned().unwrap(), "it", options.len_bytes, DATA).unwrap();

    let required = Region::create(&RegionOptions { huge_pages: HugePages::Require, ..options });
    match required {
        Ok(region) => assert_eq!(*region.huge_pages(), HugePagesOutcome::Used),
        Err(Error::Os { doing, .. }) => assert!(doing.contains("huge pages for huge"), "{doing}"),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn length_that_is_no_multiple_of_a_huge_page_is_said_to_be_the_reason() {
    let mut options = RegionOptions { name: "x", len_bytes: PAGE, huge_pages: HugePages::Try };
    let region = Region::create(&options).unwrap();
    let report = region.huge_pages().to_string();
    assert!(report.contains("choose a multiple of 2097152"), "{report}");
    options.huge_pages = HugePages::Require;
    assert!(matches!(Region::create(&options), Err(Error::Invalid(_))));
}

// What nobody else can do.

/// Every way to change a memfd, and what the kernel said to it. Whatever succeeds is undone or harmless to the next.
fn acts(fd: BorrowedFd<'_>, extra: Seals) -> Vec<(&'static str, Result<(), Errno>)> {
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let len = LEN as usize;
    let mut acts = vec![
        ("map it writable", mapping::try_writable(fd, len)),
        ("make a mapping writable", make_writable(fd, MapFlags::SHARED)),
        ("write through /proc/self/mem", write_by_force(fd)),
        ("write", rustix::io::pwrite(fd, b"x", 0).map(drop)),
        ("punch a hole", rustix::fs::fallocate(fd, punch, 0, PAGE)),
        ("allocate beyond the end", rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, LEN, PAGE)),
        ("shorten it", rustix::fs::ftruncate(fd, PAGE)),
        ("lengthen it", rustix::fs::ftruncate(fd, 2 * LEN)),
    ];
    if extra.contains(Seals::EXEC) {
        acts.push(("make it executable", rustix::fs::fchmod(fd, Mode::from_raw_mode(0o777))));
    }
    if extra.contains(Seals::SEAL) {
        acts.push(("add a seal", Seals::SHRINK.add_to(fd)));
    }
    acts
}

fn make_writable(fd: BorrowedFd<'_>, flags: MapFlags) -> Result<(), Errno> {
    let len = LEN as usize;
    // SAFETY: the kernel chooses a free address.
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), len, ProtFlags::READ, flags, fd, 0) }?;
    // SAFETY: mapped just now, with nothing referring to it.
    let made = unsafe { rustix::mm::mprotect(base, len, MprotectFlags::READ | MprotectFlags::WRITE) };
    // SAFETY: as above.
    unsafe { rustix::mm::munmap(base, len) }.unwrap();
    made
}

/// `/proc/self/mem` ignores the protection of private mappings, and must not that of shared ones.
fn write_by_force(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mapping = match Mapping::new(fd, LEN as usize, MapMode::ReadOnly, "it") {
        // Before Linux 6.7 nobody could map shared what is sealed WRITE.
        Err(_) => return Err(Errno::PERM),
        Ok(mapping) => mapping,
    };
    let mem = rustix::fs::open("/proc/self/mem", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::pwrite(mem, b"x", mapping.ptr().addr().get() as u64).map(drop)
}

/// Runs in the other process, with the memfd as its standard input.
fn all_is_forbidden(extra: Seals) {
    let stdin = io::stdin();
    // Linux before 6.3 has no EXEC.
    let extra = if Seals::of(&stdin).unwrap().contains(Seals::EXEC) { extra | Seals::EXEC } else { extra };
    let open = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let writable = open("/proc/self/fd/0", OFlags::RDWR);
    let read_only = open("/proc/self/fd/0", OFlags::RDONLY);
    let again = open(&format!("/proc/self/fd/{}", read_only.as_raw_fd()), OFlags::RDWR);
    let ways = [("as sent", stdin.as_fd()), ("re-opened", writable.as_fd()), ("re-opened twice", again.as_fd())];
    for (way, fd) in ways {
        for (act, result) in acts(fd, extra) {
            let expected: &[_] = match act {
                "make a mapping writable" => &[Errno::ACCESS, Errno::PERM],
                "write through /proc/self/mem" => &[Errno::IO, Errno::PERM],
                _ => &[Errno::PERM],
            };
            assert!(result.is_err_and(|errno| expected.contains(&errno)), "{way}, {act}: {result:?}");
        }
    }
    // Opened read-only, it can do even less, whatever the seals.
    for (act, result) in acts(read_only.as_fd(), extra) {
        assert!(result.is_err(), "opened read-only, {act}: {result:?}");
    }
}

/// The acts above do something where nothing forbids them, and each seal is missed by the ones it is there for.
fn all_is_possible() {
    let stdin = io::stdin();
    for (act, result) in acts(stdin.as_fd(), Seals::SEAL | Seals::EXEC) {
        let possible = act != "write through /proc/self/mem";
        assert_eq!(result.is_ok(), possible, "{act}: {result:?}");
    }
}

#[test]
fn another_process_can_do_everything_to_an_unsealed_memfd() {
    Other::start(OTHER, "all is possible", allocated(LEN).as_fd()).succeed();
}

#[test]
fn another_process_can_change_nothing_of_a_region_once_its_writer_has_sealed_it() {
    let sets = [("data", SEAT, Seals::FUTURE_WRITE), ("control", SEAT, Seals::FUTURE_WRITE | Seals::SEAL)];
    // A seat: sealed by the producer against another length, and by the consumer, who maps it, against writing.
    for (what, first, then) in sets.into_iter().chain([("seat", SEAT, Seals::FUTURE_WRITE)]) {
        let region = region(LEN);
        region.seal(first).unwrap();
        let writer = region.map_read_write().unwrap();
        region.seal(then).unwrap();
        byte(&writer, 0).store(41, Ordering::Relaxed);
        let role = if what == "control" { "nothing is possible, nor sealing" } else { "nothing is possible" };
        Other::start(OTHER, role, region.as_fd()).succeed();
        assert_eq!(byte(&writer, 0).load(Ordering::Relaxed), 41, "{what}");
        byte(&writer, 0).store(42, Ordering::Relaxed);
        let stat = rustix::fs::fstat(&region).unwrap();
        assert_eq!((stat.st_size as u64, stat.st_blocks as u64 * 512), (LEN, LEN), "{what}");
    }
}

#[test]
fn another_process_can_change_nothing_of_a_sealed_region() {
    let sealed = Sealed::build("fdring test", LEN, |bytes| bytes.fill(9)).unwrap();
    Other::start(OTHER, "nothing is possible", sealed.as_fd()).succeed();
    assert!(sealed.iter().all(|byte| *byte == 9) && sealed.len() as u64 == LEN);
}

// Who still maps it writable.

fn frozen(region: &Region) -> bool {
    // Between mmap and madvise another test's fork may carry a mapping off, for the moments that its child lives.
    region.try_freeze().unwrap() == Freeze::Frozen
}

#[test]
fn living_writer_in_another_process_keeps_the_seat_from_freezing_and_its_death_lets_it() {
    let region = region(LEN);
    region.seal(SEAT).unwrap();
    let ours = region.map_seat_for_producer().unwrap();
    let mut other = Other::start(OTHER, "map it writable", region.as_fd());
    other.wait_ready();
    assert_eq!(byte(&ours, 0).load(Ordering::Relaxed), 5, "what it wrote is seen here");
    for _ in 0..3 {
        assert_eq!(region.try_freeze().unwrap(), Freeze::StillMapped);
    }
    other.kill();
    eventually("freezing after its death", || frozen(&region));
    assert!(region.seals().unwrap().contains(Seals::WRITE));
    assert_eq!(region.try_freeze().unwrap(), Freeze::Frozen, "and it stays so");
}

#[test]
fn forked_grandchild_that_maps_it_keeps_the_seat_from_freezing_after_its_parent_was_killed() {
    let region = region(LEN);
    region.seal(SEAT).unwrap();
    let mut other = Other::start(OTHER, "map it writable and fork", region.as_fd());
    other.wait_ready();
    other.kill();
    for _ in 0..3 {
        assert_eq!(region.try_freeze().unwrap(), Freeze::StillMapped);
    }
    drop(other); // The grandchild notices that nobody listens, and ends.
    eventually("freezing after the grandchild's end", || frozen(&region));
}

/// Maps standard input writable, and keeps it so; inherited by children, unlike a [`Mapping`].
fn map_stdin_writable() {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses a free address.
    let base =
        unsafe { rustix::mm::mmap(ptr::null_mut(), LEN as usize, prot, MapFlags::SHARED, io::stdin(), 0) }.unwrap();
    // SAFETY: mapped writable just now, and a byte needs no alignment.
    unsafe { AtomicU8::from_ptr(base.cast()) }.store(5, Ordering::Relaxed);
}

#[test]
fn seat_mapping_of_the_producer_does_not_keep_it_from_freezing_and_an_ordinary_one_does() {
    let region = region(LEN);
    let writer = region.map_read_write().unwrap();
    assert!(region.reopen_read_only().is_some(), "/proc is there, so this tests what it says");
    let seat = region.map_seat_for_producer().unwrap();
    byte(&writer, 1).store(3, Ordering::Relaxed);
    assert_eq!(byte(&seat, 1).load(Ordering::Relaxed), 3);
    drop(writer);
    let ordinary = region.map_read_only().unwrap();
    assert_eq!(region.try_freeze().unwrap(), Freeze::StillMapped);
    drop(ordinary);
    eventually("freezing beside the producer's mapping", || frozen(&region));
    assert_eq!(byte(&seat, 1).load(Ordering::Relaxed), 3);
}

#[test]
fn private_seat_mapping_without_proc_shows_what_is_written_later_and_lets_it_freeze() {
    let region = region(LEN);
    let writer = region.map_read_write().unwrap();
    let seat = Mapping::new(region.as_fd(), region.len(), MapMode::PrivateReadOnly, "the seat").unwrap();
    assert_eq!(byte(&seat, 1).load(Ordering::Relaxed), 0);
    for value in 1..=9 {
        byte(&writer, 1).store(value, Ordering::Relaxed);
        assert_eq!(byte(&seat, 1).load(Ordering::Relaxed), value);
    }
    drop(writer);
    eventually("freezing beside the private mapping", || frozen(&region));
}

#[test]
fn sealing_the_seals_is_told_from_being_mapped() {
    let sealed = region(LEN);
    sealed.seal(SEAT | Seals::SEAL).unwrap();
    assert_eq!(sealed.try_freeze().unwrap(), Freeze::SealsSealed);
    let frozen = region(LEN);
    eventually("freezing", || Seals::WRITE.add_to(&frozen).is_ok());
    frozen.seal(Seals::SEAL).unwrap();
    assert_eq!(frozen.try_freeze().unwrap(), Freeze::Frozen, "WRITE had been there before SEAL");
}

// What is refused.

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn whatever_is_not_a_region_as_announced_is_refused_and_closed() {
    Other::start(OTHER, "refuse", region(PAGE).as_fd()).succeed();
}

/// Runs in a process of its own, where nobody else opens descriptors.
fn refuse_strangers() {
    let read = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let path_only = |fd: &OwnedFd| {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    };
    let shm = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open("/dev/shm", flags, Mode::RUSR).unwrap()
    };
    let before = descriptors();
    let strangers: [(&str, &dyn Fn() -> OwnedFd); 12] = [
        ("not a memfd", &|| read("/dev/null")),
        ("not a memfd", &|| io::pipe().unwrap().0.into()),
        ("not a memfd", &|| io::pipe().unwrap().1.into()),
        ("not a memfd", &|| read("/")),
        ("not a memfd", &|| path_only(&allocated(LEN))),
        ("not a memfd", &|| rustix::event::epoll::create(CreateFlags::CLOEXEC).unwrap()),
        ("not a memfd", &|| UnixStream::pair().unwrap().0.into()),
        ("not a memfd", &|| rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap()),
        ("not a memfd", &|| read("/proc/self/status")),
        ("lacks the seals SHRINK, GROW, FUTURE_WRITE, having SEAL", &shm),
        ("having SEAL", &|| rustix::fs::memfd_create("no sealing", MemfdFlags::CLOEXEC).unwrap()),
        ("having none", &|| allocated(LEN)),
    ];
    for (fault, stranger) in strangers {
        let refused = Region::receive(stranger(), "the data of lane 0", LEN, DATA);
        assert!(matches!(refused, Err(Error::Peer { .. })), "{refused:?}");
        let message = message(refused);
        assert!(message.contains(fault) && message.contains("the data of lane 0"), "{message}");
        assert_eq!(descriptors(), before, "closed: {fault}");
        assert!(matches!(Sealed::from_fd(stranger()), Err(Error::Peer { .. })), "{fault}");
        // By a thread, where closing it could take long.
        eventually("closed", || descriptors() == before);
    }
    refuse_incomplete_regions();
    assert_eq!(descriptors(), before, "closed");
}

fn refuse_incomplete_regions() {
    let sealed = |fd: OwnedFd, seals: Seals| {
        seals.add_to(&fd).unwrap();
        fd
    };
    let fault = |fd: OwnedFd, len: u64| message(Region::receive(fd, "it", len, DATA));
    for missing in [Seals::SHRINK, Seals::GROW, Seals::FUTURE_WRITE] {
        let fault = fault(sealed(allocated(LEN), DATA.without(missing)), LEN);
        assert!(fault.contains(&format!("lacks the seals {missing},")), "{fault}");
    }
    for (seals, missing) in [(Seals::NONE, "SHRINK, GROW"), (Seals::SHRINK, "GROW"), (Seals::GROW, "SHRINK")] {
        let refused = Region::receive(sealed(allocated(LEN), seals), "it", LEN, Seals::NONE);
        let fault = message(refused);
        assert!(fault.contains(&format!("lacks the seals {missing},")), "whatever is asked for: {fault}");
    }
    for len in [LEN - 1, LEN + 1, LEN - PAGE, 2 * LEN, PAGE] {
        let fault = fault(sealed(allocated(LEN), DATA), len);
        assert!(fault.contains("65536 bytes long, where"), "{fault}");
    }
    for len in [0, REGION_LEN_MAX_BYTES + 1, u64::MAX] {
        let fault = fault(sealed(allocated(LEN), DATA), len);
        assert!(fault.contains("is said to be"), "{fault}");
    }
    let fault_of_all = |fd| fault(sealed(fd, DATA), LEN);
    let holes = "has holes: 0 of 65536";
    let sparse = fault_of_all(bare(LEN));
    assert!(sparse.contains(holes), "{sparse}");

    let punched = allocated(LEN);
    rustix::fs::fallocate(&punched, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, PAGE, PAGE).unwrap();
    let punched = fault_of_all(punched);
    assert!(punched.contains("has holes: 61440 of 65536"), "{punched}");

    let beyond_the_end = bare(LEN);
    rustix::fs::fallocate(&beyond_the_end, FallocateFlags::KEEP_SIZE, LEN, LEN).unwrap();
    assert_eq!(blocks(&beyond_the_end) * 512, LEN, "as many blocks as a whole file");
    let beyond_the_end = fault_of_all(beyond_the_end);
    assert!(beyond_the_end.contains(holes), "{beyond_the_end}");

    let read_only = bare(LEN);
    rustix::fs::fallocate(&read_only, FallocateFlags::KEEP_SIZE, LEN, LEN).unwrap();
    let path = format!("/proc/self/fd/{}", read_only.as_raw_fd());
    DATA.add_to(&read_only).unwrap();
    let read_only = File::open(path).unwrap();
    let read_only = fault(read_only.into(), LEN);
    assert!(read_only.contains("has a hole at 0"), "{read_only}");
}

#[test]
fn region_as_announced_is_received_with_any_further_seals() {
    for seals in [DATA, CONTROL, DATA | Seals::WRITE] {
        let fd = allocated(LEN);
        eventually("sealing", || seals.add_to(&fd).is_ok());
        let region = Region::receive(fd, "the data of lane 0", LEN, DATA).unwrap();
        assert_eq!(region.len() as u64, LEN);
        drop(region.map_seat_for_producer().unwrap());
        assert!(region.map_read_write().is_err());
    }
}

#[test]
fn reallocating_fills_what_was_punched_before_the_seal_and_keeps_the_rest() {
    let region = region(LEN);
    region.seal(SEAT).unwrap();
    let mapping = region.map_read_write().unwrap();
    byte(&mapping, 0).store(1, Ordering::Relaxed);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&region, punch, PAGE, PAGE).unwrap();
    region.seal(Seals::FUTURE_WRITE).unwrap();
    assert_eq!(blocks(&region) * 512, LEN - PAGE);
    region.reallocate().unwrap();
    assert_eq!(blocks(&region) * 512, LEN);
    assert_eq!(byte(&mapping, 0).load(Ordering::Relaxed), 1);
    assert_eq!(rustix::fs::fallocate(&region, punch, PAGE, PAGE), Err(Errno::PERM));
}

// Mappings.

#[test]
fn prefaulting_brings_every_page_and_so_does_touching() {
    for access in [MapMode::ReadWrite, MapMode::ReadOnly] {
        let (populated, touched) = (bare(LEN), bare(LEN));
        Mapping::new(populated.as_fd(), LEN as usize, access, "it").unwrap().prefault().unwrap();
        assert_eq!(blocks(&populated) * 512, LEN, "{access:?}");
        Mapping::new(touched.as_fd(), LEN as usize, access, "it").unwrap().touch(0, LEN as usize);
        assert_eq!(blocks(&touched) * 512, LEN, "{access:?}");
    }
}

/// Whether the kernel maps pages when it is asked to.
fn can_populate() -> bool {
    let region = region(PAGE);
    let mapping = region.map_read_only().unwrap();
    // SAFETY: the range is this mapping's; populating it changes no byte and moves nothing.
    unsafe { rustix::mm::madvise(mapping.ptr().as_ptr().cast(), mapping.len(), Advice::LinuxPopulateRead) }.is_ok()
}

#[test]
fn prefaulting_past_the_end_is_an_error_where_touching_would_be_sigbus() {
    let fd = allocated(LEN);
    if !can_populate() {
        return skipped("this kernel has no MADV_POPULATE_READ (Linux 5.14), and would raise SIGBUS");
    }
    for access in [MapMode::ReadWrite, MapMode::ReadOnly, MapMode::PrivateReadOnly] {
        let mapping = Mapping::new(fd.as_fd(), LEN as usize, access, "it").unwrap();
        rustix::fs::ftruncate(&fd, PAGE).unwrap();
        assert!(matches!(mapping.prefault(), Err(Error::Os { .. })), "{access:?}");
        rustix::fs::ftruncate(&fd, LEN).unwrap();
    }
}

#[test]
fn forked_child_has_no_mapping_and_dropping_it_there_leaves_the_addresses_alone() {
    let region = region(LEN);
    let mapping = region.map_read_write().unwrap();
    assert!(in_forked_child(|| {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
        let base = mapping.ptr().as_ptr();
        // SAFETY: NOREPLACE fails where anything is mapped already, which is what is tested.
        let Ok(mapped) = (unsafe { rustix::mm::mmap_anonymous(base.cast(), mapping.len(), prot, flags) }) else {
            return false;
        };
        let forked = mapping.is_forked() && matches!(mapping.prefault(), Err(Error::Forked));
        drop(taken_over(&mapping));
        // SAFETY: mapped writable above, unless the drop took it away, which ends the child with a signal.
        let byte = unsafe { AtomicU8::from_ptr(mapped.cast()) };
        byte.store(1, Ordering::Relaxed);
        forked && byte.load(Ordering::Relaxed) == 1
    }));
    byte(&mapping, 0).store(1, Ordering::Relaxed);
}

#[test]
fn forked_child_can_map_for_itself() {
    let region = region(LEN);
    assert!(in_forked_child(|| {
        let Ok(mapping) = region.map_read_write() else { return false };
        byte(&mapping, 0).store(1, Ordering::Relaxed);
        !mapping.is_forked()
    }));
}

#[test]
fn dropping_a_mapping_unmaps_it() {
    let region = region(LEN);
    let mapping = region.map_read_write().unwrap();
    assert_eq!(region.try_freeze().unwrap(), Freeze::StillMapped);
    drop(mapping);
    eventually("freezing, so that no mapping is left", || frozen(&region));
}

/// What the processes started by the tests above do. Run by itself it does nothing.
#[test]
#[ignore = "the other process of the tests beside it"]
fn other_process() {
    let Some(role) = role() else { return };
    match role.as_str() {
        "limit" => limit(),
        "refuse" => refuse_strangers(),
        "all is possible" => all_is_possible(),
        "nothing is possible" => all_is_forbidden(Seals::NONE),
        "nothing is possible, nor sealing" => all_is_forbidden(Seals::SEAL),
        "use a builder in a child" => use_a_builder_in_a_child(),
        "map it writable" => {
            map_stdin_writable();
            say_ready();
            wait_until_left_alone();
        }
        "map it writable and fork" => {
            map_stdin_writable();
            fork(|| {
                wait_until_left_alone();
                0
            });
            say_ready();
            wait_until_left_alone();
        }
        other => panic!("no such role: {other}"),
    }
}

// Sealed regions and forks; the rest of them is in tests/region.rs.

#[test]
fn forked_child_reads_a_sealed_region_and_drops_its_own_copy_of_the_mapping() {
    let sealed = Sealed::build("fdring test", LEN, |bytes| bytes.fill(9)).unwrap();
    assert!(in_forked_child(|| {
        let all_there = sealed.iter().all(|byte| *byte == 9);
        drop(taken_over(&sealed));
        all_there
    }));
    assert!(sealed.iter().all(|byte| *byte == 9));
}

#[test]
fn forked_child_can_neither_seal_what_its_parent_is_filling_nor_keep_it_from_being_sealed() {
    let mut builder = SealedBuilder::new("fdring test", LEN).unwrap();
    builder.fill(9);
    assert!(in_forked_child(|| { matches!(taken_over(&builder).seal(), Err(Error::Forked)) }));
    let (reader, writer) = io::pipe().unwrap();
    let child = fork(|| {
        drop(taken_over(&writer));
        // Ends when the parent has closed its end.
        let _ = rustix::io::read(&reader, &mut [0; 1]);
        0
    });
    let sealed = builder.seal();
    drop(writer);
    rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap();
    assert!(sealed.unwrap().iter().all(|byte| *byte == 9));
}

/// In a forked child: takes a value over that the child does not otherwise drop.
fn taken_over<T>(value: &T) -> T {
    // SAFETY: a forked child runs no destructors but that of the copy.
    unsafe { ptr::read(value) }
}

#[test]
fn using_a_builder_in_a_forked_child_panics_instead_of_touching_memory_that_is_not_there() {
    Other::start(OTHER, "use a builder in a child", region(PAGE).as_fd()).succeed();
}

/// In a process of its own, with one thread that matters, so that the child may unwind.
fn use_a_builder_in_a_child() {
    let builder = SealedBuilder::new("fdring test", LEN).unwrap();
    std::panic::set_hook(Box::new(|_| ()));
    let panicked = in_forked_child(|| std::panic::catch_unwind(|| builder[0]).is_err());
    let _ = std::panic::take_hook();
    assert!(panicked);
}
