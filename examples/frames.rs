//! A camera of 1920 × 1080 at 60 Hz, and three who want its frames: a detector that gets each one in place, a recorder
//! that lags and holds frames while its disk is slow, and a viewer that shows the newest.
//!
//! Usage: frames [FRAMES]. It is 300 by default, and each of the four is a process of its own. The camera fills its
//! frames in the ring; nobody copies one but the viewer, for which the camera never waits. Each says how many frames it
//! has seen.
#![allow(unsafe_code, reason = "vouches for its own camera, to read in place")]

use fdring::errors::TapError;
use fdring::options::{LaneOptions, NoConsumer, SessionOptions, Start};
use fdring::{Attach, OwnedRecord, Server};
use std::error::Error;
use std::io::{ErrorKind, Write, stdout};
use std::process::{Child, Command};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;
const RATE_HZ: u32 = 60;
/// The side of the bright square that each frame has, and how far it moves from frame to frame.
const SQUARE: usize = 64;
const STEP: usize = 16;
const BRIGHT: u8 = 255;
/// 32 frames: half a second for those who lag.
const RING_BYTES: u64 = 64 << 20;
/// The recorder writes this many frames at once, and its disk takes this time for them.
const HELD: usize = 8;
const WRITE_TIME: Duration = Duration::from_millis(110);
/// What the viewer takes to show a frame.
const SHOW_TIME: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
const USAGE: &str = "usage: frames [FRAMES]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => film(300),
        ["detect", address] => detect(address),
        ["record", address] => record(address),
        ["view", address] => view(address),
        [frames] => film(frames.parse().map_err(|_| USAGE)?),
        _ => Err(USAGE.into()),
    }
}

/// The camera, which starts the others.
fn film(frames: u32) -> Result<(), Box<dyn Error>> {
    let address = format!("@fdring-frames-{}", std::process::id());
    // The detector and the recorder miss nothing: the first frame waits for them, and each one for room.
    let everybody = NoConsumer::WaitFor(2);
    let mut camera = LaneOptions::new("camera").capacity(RING_BYTES).no_consumer(everybody).stamped(true).create()?;
    let server = Server::listen(address.as_str(), [&camera])?;
    let others = ["detect", "record", "view"].map(|role| start(role, &address));
    server.wait_for_sessions(others.len(), PATIENCE)?;
    let begun = Instant::now();
    for number in 0..frames {
        let mut frame = camera.reserve_timeout(WIDTH * HEIGHT, PATIENCE)?;
        draw(&mut frame, number as usize);
        frame.set_tag(number as u16);
        frame.commit();
        let next = begun + Duration::from_secs(1) * (number + 1) / RATE_HZ;
        while let Some(early) = next.checked_duration_since(Instant::now()).filter(|early| !early.is_zero()) {
            park_timeout(early);
        }
    }
    let (took, stats) = (begun.elapsed().as_secs_f64(), camera.stats());
    say(&format!(
        "camera: {frames} frames of {WIDTH} × {HEIGHT} in {took:.1} s, {} times no room",
        stats.times_blocked
    ))?;
    camera.finish();
    for other in others {
        if !other?.wait()?.success() {
            return Err("one of those who read the frames has failed".into());
        }
    }
    Ok(())
}

fn start(role: &str, address: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?).args([role, address]).spawn()
}

/// Where the square is in the frame of that number.
fn square_at(number: usize) -> (usize, usize) {
    (number * STEP % (WIDTH - SQUARE), number * STEP / 2 % (HEIGHT - SQUARE))
}

/// Draws a frame where it lies in the ring: a slope of grey, and the square.
fn draw(frame: &mut [u8], number: usize) {
    let (left, top) = square_at(number);
    for (y, row) in frame.chunks_exact_mut(WIDTH).enumerate() {
        row.fill((y * 128 / HEIGHT) as u8);
        if (top..top + SQUARE).contains(&y) {
            row[left..left + SQUARE].fill(BRIGHT);
        }
    }
}

/// The top left corner of what is bright, to within a quarter of the square.
fn find(frame: &[u8]) -> Option<(usize, usize)> {
    let grid = SQUARE / 4;
    let rows = frame.chunks_exact(WIDTH).enumerate().step_by(grid);
    rows.flat_map(|(y, row)| row.iter().enumerate().step_by(grid).map(move |(x, pixel)| (x, y, *pixel)))
        .find_map(|(x, y, pixel)| (pixel == BRIGHT).then_some((x, y)))
}

/// Every frame, where the camera has put it.
fn attach_in_place() -> Attach {
    // SAFETY: the camera is this program, which writes its lane by this library alone.
    unsafe { Attach::new().start(Start::Oldest).in_place() }
}

fn detect(address: &str) -> Result<(), Box<dyn Error>> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    let mut frames = session.attach_one(attach_in_place())?;
    let (mut seen, mut found) = (0_usize, 0);
    while let Some(frame) = frames.receive()? {
        let near = |is: usize, seen: usize| (is..is + SQUARE / 4).contains(&seen);
        let (left, top) = square_at(seen);
        found += u32::from(find(&frame).is_some_and(|(x, y)| near(left, x) && near(top, y)));
        seen += 1;
    }
    say(&format!("detector: {seen} frames seen, the square found in {found}"))
}

fn record(address: &str) -> Result<(), Box<dyn Error>> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    let mut frames = session.attach_one(attach_in_place())?;
    let (mut seen, mut written, mut behind) = (0_u32, 0, 0);
    let mut held: Vec<OwnedRecord> = Vec::new();
    loop {
        let frame = frames.receive()?.map(|frame| frame.into_owned());
        let is_over = frame.is_none();
        seen += u32::from(!is_over);
        held.extend(frame);
        if is_over || held.len() == HELD {
            // The frames stay in the ring meanwhile, and the camera goes on behind them.
            park_timeout(WRITE_TIME);
            behind = behind.max(frames.behind_bytes());
            written += held.drain(..).map(|frame| frame.len()).sum::<usize>();
        }
        if is_over {
            break;
        }
    }
    let (megabytes, behind) = (written >> 20, behind / (WIDTH * HEIGHT) as u64);
    say(&format!("recorder: {seen} frames seen, {megabytes} MiB written, at most {behind} frames behind"))
}

fn view(address: &str) -> Result<(), Box<dyn Error>> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    let mut frames = session.tap_one(Attach::new())?;
    let (mut seen, mut last, mut oldest) = (0, None, Duration::ZERO);
    loop {
        match frames.receive_newest() {
            Ok(Some(frame)) => {
                (seen, last) = (seen + 1, Some(frame.tag()));
                oldest = oldest.max(frame.published_at().map_or(Duration::ZERO, |time| time.age()));
            }
            Ok(None) => break,
            Err(TapError::Lagged { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        park_timeout(SHOW_TIME);
    }
    let last = last.map_or("none".to_owned(), |number| number.to_string());
    say(&format!("viewer: {seen} frames seen, none older than {oldest:.1?}, the last was number {last}"))
}

/// Prints a whole line, even if other processes print too. Nobody need read it.
fn say(line: &str) -> Result<(), Box<dyn Error>> {
    match stdout().write_all(format!("{line}\n").as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
