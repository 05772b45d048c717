//! Sends values of a Rust type from one process to another, and shows how a reader of other values is refused.
//!
//! Usage: typed. It starts its reader itself.
#![allow(unsafe_code, reason = "what the derive macros of bytemuck would write")]

use bytemuck::{CheckedBitPattern, NoUninit};
use fdring::options::LaneOptions;
use fdring::typed::{Layout, TypedConsumer, TypedProducer};
use fdring::{Error, Server};
use std::io::{ErrorKind, Write, stdout};
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u32)]
enum Side {
    Buy,
    Sell,
}

/// A trade, as plain bytes without padding. With the derive macros of bytemuck, the two implementations below are one
/// line: `#[derive(NoUninit, CheckedBitPattern)]`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Trade {
    price: f64,
    lots: u32,
    side: Side,
}

/// A trade before its bits were checked.
#[derive(Clone, Copy)]
#[repr(C)]
struct TradeBits {
    price: f64,
    lots: u32,
    side: u32,
}

// SAFETY: two fields of plain bits and an enum of 4 bytes, 16 bytes in all, none of them padding.
unsafe impl NoUninit for Trade {}
// SAFETY: every field is valid for any bits, and no byte is padding.
unsafe impl bytemuck::Zeroable for TradeBits {}
// SAFETY: as above.
unsafe impl bytemuck::AnyBitPattern for TradeBits {}
// SAFETY: `TradeBits` has the fields of `Trade` in the same order and size, and only sides that exist pass.
unsafe impl CheckedBitPattern for Trade {
    type Bits = TradeBits;

    fn is_valid_bit_pattern(bits: &TradeBits) -> bool {
        bits.side <= Side::Sell as u32
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let layout = Layout::of::<Trade>().version(1);
    if let Some(address) = std::env::args().nth(1) {
        return read(&address, layout);
    }

    let mut trades = TypedProducer::<Trade>::new(LaneOptions::new("trades").values(layout).create()?, layout)?;
    let address = format!("@fdring-typed-{}", std::process::id());
    let server = Server::listen(&*address, [trades.untyped()])?;

    let mut reader = Command::new(std::env::current_exe()?).arg(&address).spawn()?;
    server.wait_for_sessions(1, Duration::from_secs(10))?;

    // Another version of the same type: the sentence says what each side has.
    let other = fdring::Consumer::connect(&*address)?;
    match TypedConsumer::<Trade>::new(other, Layout::of::<Trade>().version(2)) {
        Err(error @ Error::Layout { .. }) => say(&format!("refused: {error}\n"))?,
        _ => return Err("a reader of another version was let in".into()),
    }

    for (lots, side) in [(100, Side::Buy), (40, Side::Sell), (60, Side::Sell)] {
        trades.send(&Trade { price: 17.25, lots, side })?;
    }
    drop(trades); // the end of the lane
    if !reader.wait()?.success() {
        return Err("the reader failed".into());
    }
    Ok(())
}

fn read(address: &str, layout: Layout) -> Result<(), Box<dyn std::error::Error>> {
    let mut trades = TypedConsumer::<Trade>::new(fdring::Consumer::connect(address)?, layout)?;
    let mut position = 0;
    while let Some(Trade { price, lots, side }) = trades.receive_value()? {
        position += if side == Side::Buy { i64::from(lots) } else { -i64::from(lots) };
        say(&format!("{side:?} {lots} at {price}: position {position}\n"))?;
    }
    Ok(())
}

/// Prints a text; that nobody reads it is no error.
fn say(text: &str) -> std::io::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
