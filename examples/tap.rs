//! A camera, a recorder that gets every frame, and a viewer that is too slow for them. Usage: tap [camera|view ADDRESS]
//!
//! Without arguments it is all three: the camera and the recorder here, the viewer in a process of its own. The viewer
//! taps the lane. It shows the newest frame, however late it is, and costs the camera nothing.

use fdring::errors::TapError;
use fdring::options::{LaneOptions, SessionOptions};
use fdring::{Attach, Consumer, Server, Tap};
use std::error::Error;
use std::process::Command;
use std::time::Duration;

const FRAME_BYTES: usize = 64 << 10;
const FRAMES: u32 = 120;
const FRAME_TIME: Duration = Duration::from_millis(8);
/// What the viewer takes to show a frame.
const SHOW_TIME: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => film(&format!("@fdring-tap-{}", std::process::id()), true),
        ["camera", address] => film(address, false),
        ["view", address] => view(address),
        _ => Err("usage: tap [camera|view ADDRESS]".into()),
    }
}

/// The camera. The viewer is started here, or waited for.
fn film(address: &str, starts_viewer: bool) -> Result<(), Box<dyn Error>> {
    let mut camera = LaneOptions::new("camera").stamped(true).create()?;
    let server = Server::listen(address, [&camera])?;
    let recorder = std::thread::spawn({
        let mut frames = Consumer::connect(address)?;
        move || {
            let mut count = 0;
            while let Ok(Some(_)) = frames.receive() {
                count += 1;
            }
            count
        }
    });
    let viewer = match starts_viewer {
        true => Some(Command::new(std::env::current_exe()?).args(["view", address]).spawn()?),
        false => None,
    };
    println!("waiting for a viewer at {address}");
    server.wait_for_sessions(2, PATIENCE)?;
    for number in 1..=FRAMES {
        camera.fill(FRAME_BYTES, |frame| frame.fill(number as u8))?;
        std::thread::park_timeout(FRAME_TIME);
    }
    camera.finish();
    let recorded = recorder.join().expect("the recorder does not panic");
    println!("{recorded} of {FRAMES} frames recorded");
    if let Some(mut viewer) = viewer {
        viewer.wait()?;
    }
    Ok(())
}

fn view(address: &str) -> Result<(), Box<dyn Error>> {
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    let mut frames: Tap = session.tap_one(Attach::new())?;
    let (mut shown, mut last, mut oldest) = (0, None, Duration::ZERO);
    loop {
        match frames.receive_newest() {
            Ok(Some(frame)) => {
                (shown, last) = (shown + 1, Some(frame[0]));
                oldest = oldest.max(frame.published_at().map_or(Duration::ZERO, |time| time.age()));
            }
            Ok(None) => break,
            Err(TapError::Lagged { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        std::thread::park_timeout(SHOW_TIME);
    }
    let passed_over = frames.missed_bytes() / FRAME_BYTES as u64;
    println!("no frame was older than {oldest:.1?} when it was shown");
    println!("{shown} frames shown, about {passed_over} passed over; the last was number {}", last.unwrap_or(0));
    Ok(())
}
