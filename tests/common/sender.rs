//! A producer in a process of its own, which sends numbers when it is told to.
//!
//! Use it beside `mod common;` and `mod peer;`, by `#[path = "common/sender.rs"] mod sender;`.

use crate::peer::{argument, say, told, wait_for_the_end};
use fdring::Server;
use fdring::options::LaneOptions;

/// Listens where its argument says. At "send COUNT" it sends as many numbers, from 0 on; at "finish now" it ends its
/// lane; at "die now" it sends one more and kills itself. Told nothing more, it waits to be killed.
pub(crate) fn sends_when_told() {
    let mut producer = LaneOptions::new("lane").capacity(1 << 16).create().unwrap();
    let _server = Server::listen(argument(), [&producer]).unwrap();
    say("listening");
    let mut sent = 0_u64;
    loop {
        match told().split_once(' ') {
            Some(("send", count)) => {
                for _ in 0..count.parse::<u64>().unwrap() {
                    producer.send(&sent.to_le_bytes()).unwrap();
                    sent += 1;
                    // Sometimes at once, sometimes after the reader has gone to sleep.
                    (0..sent * sent % 4000).for_each(|_| std::hint::spin_loop());
                }
            }
            Some(("finish", _)) => return,
            Some(("die", _)) => {
                producer.send(&sent.to_le_bytes()).unwrap();
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
            _ => wait_for_the_end(),
        }
    }
}
