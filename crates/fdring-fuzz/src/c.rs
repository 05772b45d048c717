//! The kit for C: what `include/fdring_fuzz.h` declares.
//!
//! A panic in a function that C has called aborts the process, which is how fuzzers see it.

#![allow(unsafe_code, reason = "a C interface takes pointers, and exports names")]

use crate::messages::Sequence;
use crate::oracle::find;
use std::slice;

/// `struct fdring_cmsg`: a message that a right walker finds, or the fault that ends the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CFound {
    /// Where the header begins, in bytes.
    pub offset: u64,
    /// The length in the header.
    pub len: u64,
    /// The length of the body, if it is all there; else 0.
    pub body_len: u64,
    /// The level in the header.
    pub level: i32,
    /// The type in the header.
    pub kind: i32,
    /// An [`Outcome`](crate::oracle::Outcome) as a number.
    pub outcome: u32,
    /// 0.
    pub reserved: u32,
}

/// The bytes at `data`, where C passes a null pointer for none.
///
/// # Safety
///
/// `len` bytes can be read at `data` as long as the slice lives, or `len` is 0.
unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller promises that many readable bytes.
    unsafe { slice::from_raw_parts(data, len) }
}

/// Runs the target `cmsg_walk` on an input. Aborts where a promise is broken.
///
/// # Safety
///
/// `size` bytes can be read at `data`.
// SAFETY: no other function has this name, which begins with the name of the package.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdring_fuzz_cmsg_walk(data: *const u8, size: usize) {
    // SAFETY: the caller promises that many readable bytes.
    crate::targets::cmsg_walk(unsafe { bytes(data, size) });
}

/// Runs the target `frame_parse` on an input. Aborts where a promise is broken.
///
/// # Safety
///
/// `size` bytes can be read at `data`.
// SAFETY: no other function has this name, which begins with the name of the package.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdring_fuzz_frame_parse(data: *const u8, size: usize) {
    // SAFETY: the caller promises that many readable bytes.
    crate::targets::frame_parse(unsafe { bytes(data, size) });
}

/// Writes the control buffer that `data` stands for to `control`; what does not fit is cut off. Returns its length.
///
/// # Safety
///
/// `size` bytes can be read at `data`, and `room` written at `control`; the two do not overlap.
// SAFETY: no other function has this name, which begins with the name of the package.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdring_cmsg_generate(data: *const u8, size: usize, control: *mut u8, room: usize) -> usize {
    // SAFETY: the caller promises that many readable bytes.
    let generated = Sequence::from_bytes(unsafe { bytes(data, size) }).to_bytes();
    let used = generated.len().min(room);
    if used > 0 {
        // SAFETY: the caller promises this room, and that nothing else lies there.
        unsafe { std::ptr::copy_nonoverlapping(generated.as_ptr(), control, used) };
    }
    used
}

/// Writes what a right walker finds in `control` to `found`, at most `room` of them. Returns how many there are.
///
/// # Safety
///
/// `size` bytes can be read at `control`, and `room` structures written at `found`.
// SAFETY: no other function has this name, which begins with the name of the package.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdring_cmsg_expect(control: *const u8, size: usize, found: *mut CFound, room: usize) -> usize {
    // SAFETY: the caller promises that many readable bytes.
    let all = find(unsafe { bytes(control, size) });
    for (index, one) in all.iter().take(room).enumerate() {
        let plain = CFound {
            offset: one.offset as u64,
            len: one.len,
            body_len: one.body.len() as u64,
            level: one.level,
            kind: one.kind,
            outcome: one.outcome as u32,
            reserved: 0,
        };
        // SAFETY: the index is below the room that the caller promises.
        let place = unsafe { found.add(index) };
        // SAFETY: as above; the structure needs no drop.
        unsafe { place.write(plain) };
    }
    all.len()
}
