//! Keeps records: a window of frames, and frames in other threads, all of them where the camera has put them.
//!
//! `cargo run --example hold` starts the camera as a second process. It publishes frames of four tiles: the four are
//! reserved at once, filled by four threads, and published together. This process reads them in place, without a copy.
//! It keeps the last eight tiles, to compare each with the one before it at the same place, and hands some to a thread
//! that is slower: they stay in the ring until that thread has dropped them, and the camera waits if it comes to that.
#![allow(unsafe_code, reason = "vouches for its own camera, to read in place")]

use fdring::{Attach, OwnedRecord, Server, options::LaneOptions, options::SessionOptions};
use std::collections::VecDeque;
use std::error::Error;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const FRAMES: u32 = 200;
const TILES: usize = 4;
const TILE_BYTES: usize = 16 << 10;
/// How often the archive goes through a tile.
const ROUNDS: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(address) => film(&address),
        None => watch(&format!("@fdring-hold-{}", std::process::id())),
    }
}

/// The camera.
fn film(address: &str) -> Result<(), Box<dyn Error>> {
    // 16 frames long.
    let mut tiles = LaneOptions::new("tiles").capacity(1 << 20).create()?;
    let server = Server::listen(address, [&tiles])?;
    server.wait_for_sessions(1, PATIENCE)?;
    for frame in 0..FRAMES {
        let mut window = tiles.reserve_window_timeout(&[TILE_BYTES; TILES], PATIENCE)?;
        thread::scope(|scope| {
            for (place, mut tile) in window.slots().into_iter().enumerate() {
                tile.set_tag(place as u16);
                scope.spawn(move || {
                    tile.fill((frame as u8).wrapping_mul(place as u8 + 1));
                    tile[..4].copy_from_slice(&frame.to_le_bytes());
                });
            }
        });
        window.commit(); // in order, whichever thread was done first
    }
    Ok(())
}

/// The watching process.
fn watch(address: &str) -> Result<(), Box<dyn Error>> {
    let mut camera = Command::new(std::env::current_exe()?).arg(address).spawn()?;
    let session = SessionOptions::new().patience(PATIENCE).connect(address)?;
    // SAFETY: the camera is this program, which writes its lane by this library alone.
    let in_place = unsafe { Attach::new().in_place() };
    let mut tiles = session.attach_one(in_place)?;

    let (to_archive, archived) = channel::<OwnedRecord>();
    let archive = thread::spawn(move || {
        let (mut count, mut sum) = (0, 0_u64);
        for tile in archived {
            // Slow work; the tile is what it was, however long it takes.
            sum = (0..ROUNDS).fold(sum, |sum, _| {
                tile.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
            });
            assert_eq!(frame_of(&tile) % 10, 0);
            count += 1;
        } // dropped here: now the camera may overwrite it
        (count, sum)
    });

    let (mut window, mut changes, mut held_max_bytes) = (VecDeque::new(), 0, 0);
    while let Some(tile) = tiles.receive()? {
        if tile.tag() == 0 && frame_of(&tile).is_multiple_of(10) {
            to_archive.send(tile.hold())?; // a second hold of the same bytes
        }
        let tile = tile.into_owned();
        if window.len() == 2 * TILES {
            window.pop_front();
        }
        // The same place, one frame before.
        if let Some(before) = window.len().checked_sub(TILES).and_then(|index| window.get(index)) {
            let before: &OwnedRecord = before;
            assert_eq!((frame_of(before) + 1, before.tag()), (frame_of(&tile), tile.tag()));
            changes += u32::from(before[4..] != tile[4..]);
        }
        window.push_back(tile);
        held_max_bytes = held_max_bytes.max(tiles.held_bytes());
    }
    drop((tiles, window, to_archive)); // the archive's tiles outlive the consumer
    let (archived, sum) = archive.join().expect("the archive is whole");
    println!("{FRAMES} frames of {TILES} tiles, {changes} changes seen, {archived} tiles archived, of sum {sum:016x}");
    println!("at most {} KiB of the ring were held at a time", held_max_bytes >> 10);
    if !camera.wait()?.success() {
        return Err("the camera has failed".into());
    }
    Ok(())
}

/// The number of the frame that a tile is of.
fn frame_of(tile: &[u8]) -> u32 {
    u32::from_le_bytes(tile[..4].try_into().expect("tiles are longer"))
}
