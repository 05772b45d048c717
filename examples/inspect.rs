//! Every lane of this user's processes, as a table, with what could not be seen. Usage: inspect [show|tap NAME]
//!
//! Without arguments it makes a small pipeline first: a camera here, a viewer that is too slow and a recorder in
//! processes of their own. Then it shows all lanes twice, and taps the camera's.

use fdring::inspect::{self, ConsumerView, LaneView, ProcessView, Survey};
use fdring::options::{LaneOptions, SessionOptions, Start};
use fdring::{Attach, Producer, Server, Tap, errors::TapError};
use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const FRAME_BYTES: usize = 4000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => pipeline(),
        ["show"] => show(&mut inspect::lanes()?, || {
            std::thread::park_timeout(BETWEEN_LOOKS);
            Ok(())
        }),
        ["tap", name] => tap(name, usize::MAX),
        ["read", address, "slowly"] => read(address, Duration::from_secs(3600)),
        ["read", address] => read(address, Duration::ZERO),
        _ => Err("usage: inspect [show|tap NAME]".into()),
    }
}

/// A camera with two consumers, and a look at them.
fn pipeline() -> Result<(), Box<dyn Error>> {
    let (name, address) = ("camera", format!("@fdring-inspect-{}", std::process::id()));
    let mut camera = LaneOptions::new(name).capacity(1 << 20).create()?;
    let server = Server::listen(address.as_str(), [&camera])?;
    let start = |how: &[&str]| {
        let mut reader = Command::new(std::env::current_exe()?);
        reader.args(["read", &address]).args(how).stdin(Stdio::null()).spawn()
    };
    let readers = [start(&[])?, start(&["slowly"])?].map(KillOnDrop);
    server.wait_for_sessions(2, PATIENCE)?;
    let mut survey = inspect::process(std::process::id())?;
    show(&mut survey, || film(&mut camera, 100))?;
    let lane = survey.lanes.iter().find(|lane| lane.info.name == name).ok_or("the camera is not there")?;
    let mut tap = lane.tap(Start::Newest)?;
    film(&mut camera, 1)?;
    camera.finish();
    let frames = frames_of(&mut tap, usize::MAX)?;
    println!("\ntapped {frames} frames, up to the end of the lane");
    drop(readers);
    Ok(())
}

fn film(camera: &mut Producer, frames: u8) -> Result<(), Box<dyn Error>> {
    for number in 0..frames {
        camera.fill(FRAME_BYTES, |frame| frame.fill(number))?;
    }
    Ok(())
}

/// A consumer, which takes that long for its first frame.
fn read(address: &str, pause: Duration) -> Result<(), Box<dyn Error>> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    let mut frames = session.attach_one(Attach::new())?;
    while frames.receive()?.is_some() {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            std::thread::park_timeout(until - Instant::now());
        }
    }
    Ok(())
}

/// Looks again after `meanwhile`, and prints what there is.
fn show(survey: &mut Survey, meanwhile: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    meanwhile()?;
    survey.look_again()?;
    println!("{:16} {:22} {:>12} {:>14} {:>14}  STATE", "LANE", "PRODUCER", "CAPACITY", "PUBLISHED", "BYTES/S");
    for lane in &survey.lanes {
        println!("{}", row_of(lane));
        for consumer in &lane.consumers {
            println!("{}", row_of_consumer(consumer));
        }
        for keeper in &lane.keepers {
            println!("  kept by {keeper}");
        }
    }
    for unseen in &survey.unseen {
        println!("not seen: {unseen}");
    }
    Ok(())
}

fn row_of(lane: &LaneView) -> String {
    let rate = lane.rates.map_or(0.0, |rates| rates.bytes_per_second);
    let state = if lane.is_blocked { "live, waits for room".to_owned() } else { lane.state.to_string() };
    let (name, capacity, published) = (lane.info.name.escape_debug().to_string(), lane.info.capacity, lane.published);
    format!("{name:16} {:22} {capacity:>12} {published:>14} {rate:>14.0}  {state}", who(lane.producer.as_ref()))
}

fn row_of_consumer(consumer: &ConsumerView) -> String {
    let kind = consumer.kind.map_or_else(|| "reads".to_owned(), |kind| kind.to_string());
    let behind = consumer.behind_bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
    let held = consumer.held_bytes;
    let does = match (consumer.is_evicted, consumer.asleep_for) {
        (true, _) => "evicted".to_owned(),
        (false, Some(time)) => format!("asleep for {time:.1?} or more"),
        (false, None) if !consumer.still_for.is_zero() => {
            format!("has read nothing for {:.1?} or more", consumer.still_for)
        }
        (false, None) => "awake".to_owned(),
    };
    format!("  {kind:14} {:22} {behind:>12} behind {held:>7} held  {does}", who(consumer.process.as_ref()))
}

fn who(process: Option<&ProcessView>) -> String {
    process.map_or_else(|| "?".to_owned(), ToString::to_string)
}

/// Prints how long the records of a lane are, for as long as it lives.
fn tap(name: &str, frames: usize) -> Result<(), Box<dyn Error>> {
    let survey = inspect::lanes()?;
    let lane = survey.lanes.iter().find(|lane| lane.info.name == name).ok_or("no lane of that name can be seen")?;
    let frames = frames_of(&mut lane.tap(Start::Latest)?, frames)?;
    println!("{frames} records");
    Ok(())
}

fn frames_of(tap: &mut Tap, frames_max: usize) -> Result<usize, Box<dyn Error>> {
    let mut frames = 0;
    while frames < frames_max {
        match tap.receive() {
            Ok(Some(_)) => frames += 1,
            Ok(None) => break,
            Err(TapError::Lagged { missed_bytes }) => println!("missed {missed_bytes} bytes"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(frames)
}

/// A child process that does not outlive this one's interest in it.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended by itself.
        let _ = self.0.wait();
    }
}
