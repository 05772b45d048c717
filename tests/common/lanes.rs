//! Lanes that this very program serves, and consumers of them.
//!
//! Use it beside `mod common;`, by `#[path = "common/lanes.rs"] mod lanes;`.
#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(unsafe_code, reason = "a promise about this program's own producer")]

use crate::common::unique_name;
use fdring::{Attach, Consumer, Producer, Server, Session};

/// Serves one lane under an address of its own.
pub(crate) fn serve(producer: Producer) -> (Producer, Server, String) {
    let address = format!("@{}", unique_name());
    let server = Server::listen(&*address, [&producer]).unwrap();
    (producer, server, address)
}

/// A consumer of the one lane there, in place if `trusts`.
pub(crate) fn attach(address: &str, trusts: bool) -> Consumer {
    // SAFETY: the producer is this very program, or a process of it, and it follows the protocol.
    let how = if trusts { unsafe { Attach::new().in_place() } } else { Attach::new() };
    Session::connect(address).unwrap().attach_one(how).unwrap()
}
