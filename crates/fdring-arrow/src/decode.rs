//! Record batches from bytes, without a copy: the arrays lie where the bytes lie.
//!
//! The bytes may come from anyone. First [`layout`] checks where everything lies, then Arrow checks what
//! is in it: offsets, keys, text, numbers of nulls.

use crate::layout::{self, ALIGN_BYTES};
use crate::schema::LaneSchema;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_data::UnsafeFlag;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary_impl};
use arrow_ipc::{DictionaryBatch, MessageHeader, MetadataVersion, root_as_message};
use std::collections::HashMap;
use std::iter;

/// What a message begins with, before its length.
const MARKER: [u8; 4] = [0xff; 4];
/// Marker and length.
const PREFIX_LEN_BYTES: usize = 8;

/// The batch that these messages are: dictionaries, then one batch. The fault, if they are none.
///
/// `bytes` begin at a multiple of 64.
pub(crate) fn decode(bytes: &Buffer, schema: &LaneSchema) -> Result<RecordBatch, String> {
    let mut dictionaries = HashMap::new();
    let mut rest = bytes.clone();
    loop {
        let (metadata, body_and_more) = split(&rest)?;
        let message = root_as_message(&metadata).map_err(|error| format!("its metadata is invalid: {error}"))?;
        if message.version() != MetadataVersion::V5 {
            return Err(format!("it has version {:?} of Arrow's metadata, not V5", message.version()));
        }
        let body_len = usize::try_from(message.bodyLength()).ok().filter(|len| *len <= body_and_more.len());
        let body_len = body_len.ok_or_else(|| format!("a body of {} bytes is not there", message.bodyLength()))?;
        let body = body_and_more.slice_with_length(0, body_len);
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let batch = message.header_as_dictionary_batch().ok_or("a dictionary is missing")?;
                read_dictionary(&body, batch, schema, &mut dictionaries)?;
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("the batch is missing")?;
                let columns = schema.schema().fields().iter().map(|field| &**field);
                layout::check(&batch, columns, body_len as u64)?;
                if body_len < body_and_more.len() {
                    return Err("something comes after the batch".into());
                }
                let version = MetadataVersion::V5;
                let decoder =
                    RecordBatchDecoder::try_new(&body, batch, schema.schema().clone(), &dictionaries, &version);
                let decoded = decoder.and_then(|decoder| decoder.with_require_alignment(true).read_record_batch());
                return decoded.map_err(|error| error.to_string());
            }
            other => return Err(format!("it has a message of kind {other:?}")),
        }
        if !body_len.is_multiple_of(ALIGN_BYTES as usize) {
            return Err(format!("a body of {body_len} bytes ends at no multiple of {ALIGN_BYTES}"));
        }
        rest = body_and_more.slice(body_len);
    }
}

/// The metadata of the first message, and what comes after it.
fn split(bytes: &Buffer) -> Result<(Buffer, Buffer), String> {
    let prefix = bytes.get(..PREFIX_LEN_BYTES).ok_or("it ends before its batch")?;
    let (marker, len) = prefix.split_at(MARKER.len());
    let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
    let begin = PREFIX_LEN_BYTES + len;
    if marker != MARKER || begin > bytes.len() || !begin.is_multiple_of(ALIGN_BYTES as usize) {
        return Err(format!("it begins with no message: marker {marker:02x?}, length {len}"));
    }
    Ok((bytes.slice_with_length(PREFIX_LEN_BYTES, len), bytes.slice(begin)))
}

fn read_dictionary(
    body: &Buffer,
    batch: DictionaryBatch<'_>,
    schema: &LaneSchema,
    dictionaries: &mut HashMap<i64, ArrayRef>,
) -> Result<(), String> {
    let id = batch.id();
    let values = schema.dictionary(id).ok_or_else(|| format!("the schema has no dictionary {id}"))?;
    if batch.isDelta() || dictionaries.contains_key(&id) {
        return Err(format!("dictionary {id} comes in several parts"));
    }
    let data = batch.data().ok_or_else(|| format!("dictionary {id} has no values"))?;
    let named = |fault: String| format!("dictionary {id}: {fault}");
    layout::check(&data, iter::once(values), body.len() as u64).map_err(named)?;
    let (version, checked) = (MetadataVersion::V5, UnsafeFlag::new());
    read_dictionary_impl(body, batch, schema.schema(), dictionaries, &version, true, checked)
        .map_err(|error| named(error.to_string()))
}
