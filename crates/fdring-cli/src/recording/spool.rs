//! Bytes on their way to a file, which a thread of its own writes: a disk that stalls does not stop the reading of
//! lanes until the pieces in between are full.
//!
//! The invariant: bytes reach the file in order, and an error of the file reaches a later call.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// The length of a piece.
const PIECE_BYTES: usize = 1 << 20;

/// A file that is written behind the back of its user.
#[derive(Debug)]
pub(super) struct Spool {
    piece: Vec<u8>,
    /// `None` once the file has failed.
    full: Option<SyncSender<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    written_bytes: Arc<AtomicU64>,
}

impl Spool {
    /// Holds at most `buffer_bytes` that are not in the file yet, in pieces of 1 MiB, one at least.
    pub(super) fn new(file: File, buffer_bytes: u64) -> io::Result<Self> {
        let pieces = usize::try_from(buffer_bytes).unwrap_or(usize::MAX) / PIECE_BYTES;
        let (full, pieces_to_write) = sync_channel::<Vec<u8>>(pieces.clamp(1, 1 << 20));
        let (written, empty) = sync_channel(4);
        let write = move || {
            let mut file = file;
            for mut piece in pieces_to_write {
                file.write_all(&piece)?;
                piece.clear();
                // What does not fit is given back to the allocator.
                let _ = written.try_send(piece);
            }
            Ok(())
        };
        let thread = Some(std::thread::Builder::new().name("file".to_owned()).spawn(write)?);
        Ok(Self { piece: Vec::new(), full: Some(full), empty, thread, written_bytes: Arc::default() })
    }

    /// How many bytes were handed on, to look at while others own the spool.
    pub(super) fn written_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.written_bytes)
    }

    /// Waits until everything is in the file.
    pub(super) fn close(mut self) -> io::Result<()> {
        self.hand_on()?;
        self.full = None;
        self.end_of_thread()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE_BYTES));
        let piece = std::mem::replace(&mut self.piece, next);
        self.written_bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        match self.full.as_ref().map(|full| full.send(piece)) {
            Some(Ok(())) => Ok(()),
            _ => {
                self.full = None;
                self.end_of_thread()?;
                Err(io::Error::other("the file has failed before"))
            }
        }
    }

    fn end_of_thread(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it has panicked")))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..len]);
        if self.piece.len() == PIECE_BYTES {
            self.hand_on()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn bytes_reach_the_file_in_order() {
        let bytes: Vec<u8> = (0..5 * PIECE_BYTES / 2).map(|number| (number / 7) as u8).collect();
        let mut file = File::from(rustix::fs::memfd_create("spool", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        let mut spool = Spool::new(file.try_clone().unwrap(), 0).unwrap();
        let written = spool.written_bytes();
        for part in bytes.chunks(999_983) {
            spool.write_all(part).unwrap();
        }
        spool.close().unwrap();
        assert_eq!(written.load(Ordering::Relaxed), bytes.len() as u64);
        let mut read = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut read).unwrap();
        assert!(read == bytes);
    }

    #[test]
    fn an_error_of_the_file_reaches_a_later_call() {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let mut spool = Spool::new(full(), 2 << 20).unwrap();
        let error = std::iter::repeat_with(|| spool.write_all(&[7; PIECE_BYTES])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let mut spool = Spool::new(full(), 2 << 20).unwrap();
        spool.write_all(b"one byte too many").unwrap();
        assert_eq!(spool.close().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
