//! Large payloads and descriptors from one process to another: as parcels, through the ring, over Unix sockets.
//!
//! Each way sends the same bytes from a buffer that is warm, and its receiver adds all of them up. The plain loop of
//! `sendmsg` and `recvmsg` is written by hand. Both processes close each descriptor that comes. Beside each rate stands
//! what both processes together took of a processor, which other processes of the machine change less.
//!
//! Usage: cargo bench --bench parcels [-- [payloads|descriptors] [--array=N] [--rounds=N]]. With `--test` everything
//! runs once, and nothing is measured.
#![allow(unsafe_code, reason = "one of the ways reads in place")]

use fdring::options::LaneOptions;
use fdring::parcel::Parcel;
use fdring::{Attach, Consumer, Producer, Server, Session};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often each way is measured, unless `--rounds` says otherwise; the table has the fastest.
const ROUNDS_DEFAULT: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);
const PAYLOADS: [usize; 3] = [64 << 10, 1 << 20, 16 << 20];
const ARRAYS: [usize; 4] = [1, 4, 16, 64];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, len, count, address] = &arguments[..] {
        return receiver(role, len.parse()?, count.parse()?, address);
    }
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    // None: everything runs once, and sends little.
    let rounds = arguments.iter().find_map(|argument| argument.strip_prefix("--rounds="));
    let rounds = rounds.map_or(Ok(ROUNDS_DEFAULT), str::parse)?;
    let rounds = if has("--test") { None } else { Some(rounds) };
    if !has("descriptors") {
        payloads(rounds)?;
    }
    if !has("payloads") {
        let array = arguments.iter().find_map(|argument| argument.strip_prefix("--array="));
        let arrays = array.map_or(Ok(ARRAYS.to_vec()), |array| array.parse().map(|len| vec![len]))?;
        descriptors(rounds, &arrays)?;
    }
    Ok(())
}

fn payloads(rounds: Option<usize>) -> Result<()> {
    println!("payloads           new parcel   parcel sent on     ring, copied   ring, in place      Unix socket");
    for len in PAYLOADS {
        let count = if rounds.is_none() { 2 } else { (256 << 20) / len };
        let mut row = format!("{:>5} KiB   ", len >> 10);
        for way in ["parcel", "forward", "copy", "in-place", "socket"] {
            let Cost { time, processor } = best(rounds, way, len, count)?;
            let bytes = (len * count) as f64;
            let (rate, micros) = (bytes / time.as_secs_f64() / 1e9, processor.as_micros() as f64 / bytes * 1048576.0);
            row += &format!("{rate:>6.2} {micros:>9.0}");
        }
        println!("{row}");
    }
    println!("           (GB/s, and microseconds of a processor for each MiB)");
    Ok(())
}

fn descriptors(rounds: Option<usize>, arrays: &[usize]) -> Result<()> {
    println!("descriptors a message      records            many at once          sendmsg      ratios");
    for &len in arrays {
        // Longer than the table of descriptors takes to grow: with threads, some milliseconds each time.
        let count = if rounds.is_none() { 2 } else { (64_000 / len).max(8_000) };
        let rate = |cost: &Cost| (len * count) as f64 / cost.time.as_secs_f64() / 1e6;
        let micros = |cost: &Cost| cost.processor.as_micros() as f64 / (len * count) as f64;
        let (mut row, mut rates) = (format!("{len:>21}"), Vec::new());
        for way in ["records", "many", "sendmsg"] {
            let cost = best(rounds, way, len, count)?;
            row += &format!(" {:>9.3} {:>6.2}    ", rate(&cost), micros(&cost));
            rates.push(rate(&cost));
        }
        println!("{row} {:>6.2} {:>6.2}", rates[0] / rates[2], rates[1] / rates[2]);
    }
    println!("           (millions a second, and microseconds of a processor for each)");
    Ok(())
}

/// What a round takes.
struct Cost {
    time: Duration,
    /// Of both processes.
    processor: Duration,
}

/// The least that a way takes.
fn best(rounds: Option<usize>, way: &str, len: usize, count: usize) -> Result<Cost> {
    let mut best = round(way, len, count)?;
    for _ in 1..rounds.unwrap_or(1) {
        let Cost { time, processor } = round(way, len, count)?;
        best = Cost { time: best.time.min(time), processor: best.processor.min(processor) };
    }
    Ok(best)
}

/// The time that this thread has run, by the scheduler's own count.
fn processor_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(stat.split(' ').next().unwrap_or_default().parse()?))
}

/// Sends `count` messages of `len` bytes or descriptors to a new process, until it has all.
fn round(way: &str, len: usize, count: usize) -> Result<Cost> {
    let address = format!("@fdring-parcels-{}", std::process::id());
    let (mut socket, theirs) = UnixStream::pair()?;
    let start = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([way, &len.to_string(), &count.to_string(), &address]);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::inherit()).spawn().map(Receiver)
    };
    let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
    let before = processor_time()?;
    let (time, mut receiver) = match way {
        "socket" => {
            let receiver = start()?;
            socket.read_exact(&mut [0])?; // it is ready
            let begin = Instant::now();
            (0..count).try_for_each(|_| socket.write_all(&bytes))?;
            socket.read_exact(&mut [0])?; // it has all
            (begin.elapsed(), receiver)
        }
        "sendmsg" => {
            let receiver = start()?;
            socket.read_exact(&mut [0])?;
            let fds = files(len)?;
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            let begin = Instant::now();
            (0..count).try_for_each(|_| send_plain(&socket, &fds))?;
            socket.read_exact(&mut [0])?;
            (begin.elapsed(), receiver)
        }
        _ => {
            let attachments = match way {
                "parcel" | "forward" => 1,
                "records" | "many" => len,
                _ => 0,
            };
            // A short ring stays in the caches.
            let capacity = (4 * len as u64).next_power_of_two().max(4 << 20);
            let options = LaneOptions::new("payloads").capacity(capacity).attachments(attachments);
            let mut lane = options.create()?;
            let _server = Server::listen(&*address, [&lane])?;
            let receiver = start()?;
            lane.wait_for_consumers(1, PATIENCE)?;
            let begin = Instant::now();
            send(&mut lane, way, &bytes, count)?;
            lane.finish_and_wait(PATIENCE)?;
            (begin.elapsed(), receiver)
        }
    };
    let mut theirs = [0; 8];
    socket.read_exact(&mut theirs)?;
    let processor = processor_time()? - before + Duration::from_nanos(u64::from_le_bytes(theirs));
    let status = receiver.0.wait()?;
    if status.success() {
        Ok(Cost { time, processor })
    } else {
        Err(format!("the receiver of {way} failed: {status}").into())
    }
}

fn send(lane: &mut Producer, way: &str, bytes: &[u8], count: usize) -> Result<()> {
    let sent_on = Parcel::copy_of("payload", 0, &[bytes])?;
    let fds = files(if ["records", "many"].contains(&way) { bytes.len() } else { 0 })?;
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    if way == "many" {
        let records: Vec<(&[u8], &[BorrowedFd<'_>])> = vec![(b"", &fds); count];
        return Ok(lane.send_many_with_fds(&mut &records[..])?);
    }
    for _ in 0..count {
        match way {
            "parcel" => lane.send_parcel(b"", &Parcel::copy_of("payload", 0, &[bytes])?)?,
            "forward" => lane.send_parcel(b"", &sent_on)?,
            "records" => lane.send_with_fds(b"", &fds)?,
            _ => lane.fill(bytes.len(), |room| room.copy_from_slice(bytes))?,
        }
    }
    Ok(())
}

fn files(count: usize) -> std::io::Result<Vec<File>> {
    (0..count).map(|_| File::open("/dev/null")).collect()
}

/// The other process.
fn receiver(way: &str, len: usize, count: usize, address: &str) -> Result<()> {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    match way {
        "socket" => {
            let mut bytes = vec![0; len];
            socket.write_all(&[0])?;
            for _ in 0..count {
                socket.read_exact(&mut bytes)?;
                add_up(&bytes, len)?;
            }
            socket.write_all(&[0])?;
        }
        "sendmsg" => {
            socket.write_all(&[0])?;
            (0..count).try_for_each(|_| receive_plain(&socket, len))?;
            socket.write_all(&[0])?;
        }
        _ => {
            let mut attach = Attach::new().attachments(!["copy", "in-place"].contains(&way));
            if way == "in-place" {
                // SAFETY: the producer is this very program, and follows the protocol.
                attach = unsafe { attach.in_place() };
            }
            receive(&mut Session::connect(address)?.attach_one(attach)?, way, len, count)?;
        }
    }
    let processor = processor_time()?.as_nanos() as u64;
    Ok(socket.write_all(&processor.to_le_bytes())?)
}

fn receive(consumer: &mut Consumer, way: &str, len: usize, count: usize) -> Result<()> {
    let mut records = 0;
    while let Some(record) = consumer.receive()? {
        match way {
            "parcel" | "forward" => {
                let parcel = record.take_parcel(len as u64 + 4096)?;
                add_up(parcel.buffer(0).unwrap_or_default(), len)?;
            }
            "records" | "many" if record.take_fds()?.len() != len => return Err("a descriptor is missing".into()),
            "records" | "many" => {}
            _ => add_up(&record, len)?,
        }
        records += 1;
    }
    if records == count { Ok(()) } else { Err(format!("{records} records came, not {count}").into()) }
}

/// Reads all bytes, and fails if they are not those that were sent.
fn add_up(bytes: &[u8], len: usize) -> Result<()> {
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    // Each byte is as often there as any other.
    if bytes.len() == len && sum == len as u64 / 2 * 255 {
        Ok(())
    } else {
        Err("other bytes came than were sent".into())
    }
}

fn send_plain(socket: &UnixStream, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "there is room for 64");
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive_plain(socket: &UnixStream, len: usize) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = vec![];
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if fds.len() == len { Ok(()) } else { Err("a descriptor is missing".into()) }
}

/// A process that does not outlive a round.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
