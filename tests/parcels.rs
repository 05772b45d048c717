//! Parcels: made, sent, sent on, kept, and read from hostile senders, across processes.

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{KillOnDrop, belongings, census, command, isolated, role, wait_until};
use fdring::parcel::{Parcel, ParcelBuilder};
use fdring::{Error, recv_fds, send_fds};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const SEALED: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);
const ROOM: u64 = 1 << 20;

/// A memfd as somebody without this library makes it.
fn stranger(content: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("stranger", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    assert_eq!(rustix::io::pwrite(&fd, content, 0).unwrap(), content.len());
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// The same descriptors again, as if they had been received.
fn again(parcel: &Parcel) -> Vec<OwnedFd> {
    parcel.fds().iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect()
}

/// A parcel of `count` buffers, each of which is full of its kind.
fn parcel(count: u32, len: u64) -> Parcel {
    let builder = (0..count).fold(ParcelBuilder::new("parcel"), |builder, kind| builder.buffer(kind, len));
    let mut writer = builder.allocate().unwrap();
    writer.buffers_mut().enumerate().for_each(|(kind, bytes)| bytes.fill(kind as u8));
    writer.seal().unwrap()
}

fn fault(fds: Vec<OwnedFd>, room: u64) -> String {
    match Parcel::from_fds(fds, room) {
        Err(error @ Error::Peer { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn buffers_of_every_length_arrive_whole_and_aligned() {
    for lens in [vec![], vec![0], vec![1], vec![0, 0, 3], vec![63, 64, 65, 0, 4096, 100_000]] {
        let builder = lens.iter().enumerate().fold(ParcelBuilder::new("p"), |b, (n, len)| b.buffer(n as u32 + 5, *len));
        let mut writer = builder.allocate().unwrap();
        for (number, len) in lens.iter().enumerate() {
            assert_eq!(writer.buffer_mut(number).len() as u64, *len);
            writer.buffer_mut(number).fill(number as u8 + 1);
        }
        let sent = writer.seal().unwrap();
        let received = Parcel::from_fds(again(&sent), ROOM).unwrap();
        for parcel in [&sent, &received] {
            assert_eq!(parcel.count(), lens.len());
            for (number, buffer) in parcel.buffers().enumerate() {
                assert_eq!((buffer.len() as u64, parcel.kind(number)), (lens[number], Some(number as u32 + 5)));
                assert_eq!(buffer.as_ptr() as usize % 64, 0);
                assert!(buffer.iter().all(|byte| *byte == number as u8 + 1));
                assert_eq!(parcel.buffer(number).unwrap().as_ptr(), buffer.as_ptr());
            }
            assert!(parcel.buffer(lens.len()).is_none() && parcel.kind(lens.len()).is_none());
        }
        let bytes = received.into_bytes();
        assert!(bytes.buffers().eq(sent.buffers()));
    }
}

#[test]
fn a_parcel_goes_through_three_processes_without_a_copy() {
    match role().as_deref() {
        // Takes a parcel, shares its second buffer in one of its own, with a sum, and sends that on.
        Some("filter") => {
            let (from, to) = (std::io::stdin(), std::io::stdout());
            let received = recv_fds(from.as_fd(), &mut [0; 16], 253).unwrap();
            let parcel = Parcel::from_fds(received.fds, ROOM).unwrap();
            let sum: u64 = parcel.buffer(1).unwrap().iter().map(|byte| u64::from(*byte)).sum();
            let mut writer = ParcelBuilder::new("filtered").buffer(9, 8).shared(&parcel, 1).allocate().unwrap();
            writer.buffer_mut(0).copy_from_slice(&sum.to_le_bytes());
            let filtered = writer.seal().unwrap();
            drop(parcel);
            send_fds(to.as_fd(), b"filtered", &filtered.fds()).unwrap();
            std::process::exit(0);
        }
        Some(_) => return,
        None => (),
    }
    let ((to_filter, filter_in), (from_filter, filter_out)) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let mut command = command("a_parcel_goes_through_three_processes_without_a_copy", "filter");
    command.stdin(Stdio::from(OwnedFd::from(filter_in))).stdout(Stdio::from(OwnedFd::from(filter_out)));
    let filter = KillOnDrop(command.spawn().unwrap());
    drop(command);
    let source = parcel(3, 5000);
    send_fds(&to_filter, b"source", &source.fds()).unwrap();
    // What the test harness prints to the same socket before the program begins carries no descriptors.
    let received = loop {
        let received = recv_fds(&from_filter, &mut [0; 4096], 253).unwrap();
        if !received.fds.is_empty() {
            break received;
        }
    };
    assert!(filter.wait().success());
    let same = |a: &OwnedFd, b: std::os::fd::BorrowedFd<'_>| {
        let (a, b) = (rustix::fs::fstat(a).unwrap(), rustix::fs::fstat(b).unwrap());
        (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
    };
    assert!(same(&received.fds[1], source.fds()[0]));
    let filtered = Parcel::from_fds(received.fds, ROOM).unwrap();
    assert_eq!(filtered.buffer(0), Some(&5000_u64.to_le_bytes()[..]));
    assert_eq!((filtered.buffer(1), filtered.kind(1)), (source.buffer(1), Some(1)));
}

#[test]
fn what_is_no_parcel_is_refused_with_a_reason_and_leaves_nothing() {
    isolated("what_is_no_parcel_is_refused_with_a_reason_and_leaves_nothing", || {
        let good = parcel(2, 100);
        let table = rustix::fs::fstat(good.fds()[0]).unwrap().st_size as usize;
        let mut content = vec![0; table];
        rustix::io::pread(good.fds()[0], &mut content[..], 0).unwrap();
        let before = (census(), belongings());
        let altered = |at: usize, byte: u8| {
            let mut content = content.clone();
            content[at] = byte;
            stranger(&content, SEALED)
        };
        assert_eq!(Parcel::from_fds(vec![altered(300, 7)], ROOM).unwrap().count(), 2, "payloads are anybody's");
        for (fds, words) in [
            (vec![], "0 descriptors"),
            (vec![altered(0, 0)], "does not begin with a parcel's table"),
            (vec![altered(8, 9)], "version 9"),
            (vec![altered(12, 200)], "200 buffers, which it has no room for"),
            (vec![altered(16, 2)], "1 memfds, where its table says 2"),
            (vec![altered(16, 1), stranger(b"more", SEALED)], "2 memfds, where its table says 1"),
            (vec![altered(32, 1)], "lies in memfd 1"),
            (vec![altered(40, 1)], "no multiple of 64"),
            (vec![altered(40, 64)], "within the table"),
            (vec![altered(50, 1)], "is not within"),
            (vec![stranger(&content, SealFlags::SHRINK | SealFlags::GROW)], "lacks the seals WRITE"),
            (vec![stranger(&content, SEALED.difference(SealFlags::SHRINK))], "lacks the seals SHRINK"),
            (vec![stranger(&content[..20], SEALED)], "20 bytes, too few"),
            (vec![stranger(b"", SEALED)], "0 bytes, too few"),
        ] {
            let fault = fault(fds, ROOM);
            assert!(fault.contains(words), "{fault}, without {words}");
        }
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let error = fault(vec![altered(16, 2), null()], ROOM);
        assert!(error.contains("descriptor 1 is not a memfd"), "{error}");
        let many = (0..254).map(|_| null()).collect();
        assert!(fault(many, ROOM).contains("254 descriptors"));
        // Holes cost their sender nothing, and would cost the reader.
        let hollow = rustix::fs::memfd_create("hollow", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::pwrite(&hollow, &content, 0).unwrap();
        rustix::fs::ftruncate(&hollow, 1 << 30).unwrap();
        rustix::fs::fcntl_add_seals(&hollow, SEALED).unwrap();
        assert!(fault(vec![hollow], 2 << 30).contains("holes"));
        // Everything closed, the last of it by a thread.
        wait_until("all is closed", || (census(), belongings()) == before);
    });
}

#[test]
fn all_the_memfds_together_are_no_longer_than_asked_for() {
    let first = parcel(1, 10_000);
    let both = ParcelBuilder::new("both").buffer(0, 10_000).shared(&first, 0).allocate().unwrap().seal().unwrap();
    let len =
        |parcel: &Parcel| parcel.fds().iter().map(|fd| rustix::fs::fstat(fd).unwrap().st_size as u64).sum::<u64>();
    assert_eq!(both.fds().len(), 2);
    assert!(Parcel::from_fds(again(&both), len(&both)).is_ok());
    assert!(fault(again(&both), len(&both) - 1).contains("are taken"));
    assert!(fault(again(&first), len(&first) - 1).contains("are taken"));
    assert!(fault(again(&first), 0).contains("at most 0 are taken"));
}

#[test]
fn a_descriptor_that_lingers_when_it_is_closed_stops_nobody() {
    let (socket, _reader) = hostile::lingering();
    let start = Instant::now();
    assert!(fault(vec![stranger(b"x", SEALED), socket], ROOM).contains("descriptor 1 is not a memfd"));
    let (socket, _reader) = hostile::lingering();
    assert!(matches!(fdring::Sealed::from_fd(socket), Err(Error::Peer { .. })));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn thousands_are_kept_under_a_limit_of_256_descriptors() {
    isolated("thousands_are_kept_under_a_limit_of_256_descriptors", || {
        let before = (census(), belongings());
        let limit = Rlimit { current: Some(256), ..getrlimit(Resource::Nofile) };
        setrlimit(Resource::Nofile, limit).unwrap();
        let kept: Vec<_> = (0..5000)
            .map(|number: u32| {
                let mut writer = ParcelBuilder::new("frame").buffer(number, 4).allocate().unwrap();
                writer.buffer_mut(0).copy_from_slice(&number.to_le_bytes());
                Parcel::from_fds(again(&writer.seal().unwrap()), ROOM).unwrap().into_bytes()
            })
            .collect();
        for (number, bytes) in (0_u32..).zip(&kept) {
            assert_eq!((bytes.kind(0), bytes.buffer(0)), (Some(number), Some(&number.to_le_bytes()[..])));
        }
        // In any order, on any threads.
        let (odd, even): (Vec<_>, Vec<_>) = kept.into_iter().partition(|bytes| bytes.kind(0).unwrap() % 2 == 1);
        std::thread::scope(|scope| {
            scope.spawn(|| drop(odd));
            drop(even);
        });
        assert_eq!((census(), belongings()), before);
    });
}

#[test]
fn a_shared_buffer_keeps_what_it_lies_in() {
    isolated("a_shared_buffer_keeps_what_it_lies_in", || {
        let before = (census(), belongings());
        let first = parcel(2, 3000);
        let second =
            ParcelBuilder::new("second").shared(&first, 1).shared(&first, 0).allocate().unwrap().seal().unwrap();
        assert_eq!(second.fds().len(), 2, "one memfd for both");
        let kept = first.into_bytes();
        assert_eq!(second.buffer(0), kept.buffer(1));
        drop(kept);
        assert_eq!(second.buffer(1), Some(&[0; 3000][..]));
        let third = second.clone();
        let kept = second.into_bytes();
        assert_eq!(third.buffers().collect::<Vec<_>>(), kept.buffers().collect::<Vec<_>>());
        assert_eq!(Parcel::from_fds(again(&third), ROOM).unwrap().count(), 2);
        drop((third, kept));
        assert_eq!((census(), belongings()), before);
    });
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let one = parcel(1, 8);
    let invalid = |builder: ParcelBuilder| match builder.allocate() {
        Err(Error::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = invalid(ParcelBuilder::new("p").shared(&one, 1));
    assert!(why.contains("buffer 1 is to be shared of a parcel that has 1"), "{why}");
    assert!(invalid(ParcelBuilder::new("p").buffer(0, u64::MAX)).contains("longer than any memory"));
    assert!(invalid(ParcelBuilder::new("p").buffer(0, 1 << 63).buffer(0, 1 << 63)).contains("longer than any memory"));
    assert!(invalid(ParcelBuilder::new("p").buffer(0, 1 << 41)).contains("a region cannot have"));
    let others: Vec<Parcel> = (0..253).map(|_| parcel(1, 1)).collect();
    let builder = others.iter().fold(ParcelBuilder::new("p"), |builder, other| builder.shared(other, 0));
    assert!(invalid(builder).contains("254 memfds"));
    let builder = (0..65_537).fold(ParcelBuilder::new("p"), |builder, kind| builder.buffer(kind, 0));
    assert!(invalid(builder).contains("65537 buffers"));
}

#[test]
#[should_panic(expected = "buffer 0 is shared")]
fn a_shared_buffer_cannot_be_written() {
    let first = parcel(1, 8);
    let mut writer = ParcelBuilder::new("second").shared(&first, 0).allocate().unwrap();
    writer.buffer_mut(0).fill(1);
}

/// More pieces than the kernel writes at once, and pieces without a byte in every place.
#[test]
fn a_copy_has_all_pieces_in_order() {
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let many: Vec<&[u8]> = bytes.chunks(300).collect();
    let holes: Vec<&[u8]> = bytes.chunks(5000).flat_map(|chunk| [&[][..], &[], chunk, &[]]).collect();
    for pieces in [&many[..], &holes, &[&bytes], &[&[], &[]], &[]] {
        let copy = Parcel::copy_of("copy", 9, pieces).unwrap();
        let parcel = Parcel::from_fds(again(&copy), 1 << 20).unwrap();
        assert_eq!((parcel.count(), parcel.kind(0)), (1, Some(9)));
        assert_eq!(parcel.buffer(0).unwrap(), pieces.concat());
        assert_eq!(rustix::io::pwrite(copy.fds()[0], b"x", 0), Err(rustix::io::Errno::PERM));
        assert!(rustix::fs::fcntl_get_seals(copy.fds()[0]).unwrap().contains(SEALED));
    }
}

#[test]
fn nobody_can_write_to_a_parcel() {
    let parcel = parcel(1, 8);
    assert_eq!(rustix::io::pwrite(parcel.fds()[0], b"x", 0), Err(rustix::io::Errno::PERM));
    assert!(std::fs::File::from(again(&parcel).remove(0)).write_all(b"x").is_err());
    let seals = rustix::fs::fcntl_get_seals(parcel.fds()[0]).unwrap();
    assert!(seals.contains(SEALED), "{seals:?}");
}
