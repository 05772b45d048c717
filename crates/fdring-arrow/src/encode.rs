//! A record batch as messages of the Arrow IPC format: its dictionaries, then its columns.
//!
//! Each batch carries the dictionaries that it uses, so that it can be read without those before it. Metadata and
//! buffers begin at multiples of 64 bytes.

use crate::Error;
use crate::schema::LaneSchema;
use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::ArrowError;
use std::fmt;

/// Encodes the batches of one lane.
pub(crate) struct Encoder {
    /// Made at the first batch; at each, if there are dictionaries: it would send only those that have changed.
    stream: Option<StreamEncoder>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { stream: None }
    }

    /// The messages of a batch, which has the schema.
    pub(crate) fn encode(&mut self, batch: &RecordBatch, schema: &LaneSchema) -> Result<Messages, Error> {
        if schema.has_dictionaries() {
            self.stream = None;
        }
        let encoded = self.pieces(batch, schema);
        if encoded.is_err() {
            self.stream = None;
        }
        let pieces = encoded.map_err(Error::Encode)?;
        let len = pieces.iter().map(Buffer::len).sum();
        Ok(Messages { pieces, len })
    }

    fn pieces(&mut self, batch: &RecordBatch, schema: &LaneSchema) -> Result<Vec<Buffer>, ArrowError> {
        if let Some(stream) = &mut self.stream {
            return stream.encode(batch);
        }
        let mut pieces = self.stream.insert(StreamEncoder::try_new(schema.schema())?).encode(batch)?;
        // A stream begins with its schema.
        let mut ahead = schema.message().len();
        let count = pieces.iter().take_while(|piece| {
            let is_ahead = ahead > 0;
            ahead = ahead.saturating_sub(piece.len());
            is_ahead
        });
        let count = count.count();
        pieces.drain(..count);
        Ok(pieces)
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// Messages in pieces: the buffers of the arrays themselves, and what lies between them.
#[derive(Debug)]
pub(crate) struct Messages {
    pieces: Vec<Buffer>,
    len: usize,
}

impl Messages {
    /// The length of all pieces, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn pieces(&self) -> Vec<&[u8]> {
        self.pieces.iter().map(Buffer::as_slice).collect()
    }

    /// Writes them one after the other to `bytes`, which are as long.
    pub(crate) fn write(&self, mut bytes: &mut [u8]) {
        for piece in &self.pieces {
            let (here, rest) = bytes.split_at_mut(piece.len());
            here.copy_from_slice(piece);
            bytes = rest;
        }
    }
}
