//! A lane's schema: the message in which it travels, and the types that a lane can have.
//!
//! The invariant of a [`LaneSchema`]: every field has a type for which [`layout`](crate::layout) knows the buffers, no
//! nesting is deeper than [`DEPTH_MAX`], and each dictionary has a number of its own. So what decodes batches of it can
//! rely on that, no matter which program made it.

use crate::Error;
use arrow_ipc::convert::try_schema_from_ipc_buffer;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// How deep types may be nested.
const DEPTH_MAX: usize = 24;
/// The most fields, nested ones included.
const FIELDS_MAX: usize = 1 << 16;
/// The length of an end of stream: a marker and a zero.
const END_LEN_BYTES: usize = 8;

/// A schema and its message.
#[derive(Debug)]
pub(crate) struct LaneSchema {
    /// As the program that made it has it.
    schema: SchemaRef,
    /// Its message of the Arrow IPC format.
    message: Vec<u8>,
    /// The values of each dictionary, by its number in messages, as a field.
    dictionaries: HashMap<i64, Field>,
}

impl LaneSchema {
    /// Of a producer's schema.
    pub(crate) fn of(schema: SchemaRef) -> Result<Self, Error> {
        let unsupported = |fault: String| Error::Unsupported { fault };
        check(&schema).map_err(unsupported)?;
        let message = encoded(&schema).map_err(|error| unsupported(error.to_string()))?;
        // The numbers of its dictionaries are those that the message says.
        let mut parsed = Self::parse(&message).map_err(unsupported)?;
        if parsed.schema.fields() != schema.fields() {
            return Err(unsupported("Arrow's format does not keep it as it is".into()));
        }
        parsed.schema = schema;
        Ok(parsed)
    }

    /// Of a message that may come from anyone.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, String> {
        let schema = try_schema_from_ipc_buffer(message).map_err(|error| error.to_string())?;
        check(&schema)?;
        let mut dictionaries = HashMap::new();
        for field in schema.flattened_fields() {
            if let DataType::Dictionary(_, values) = field.data_type() {
                let id = dictionary_id(field).ok_or("a dictionary has no number")?;
                let values = Field::new(field.name(), (**values).clone(), true);
                if dictionaries.insert(id, values).is_some() {
                    return Err(format!("two dictionaries have the number {id}"));
                }
            }
        }
        Ok(Self { schema: Arc::new(schema), message: message.to_vec(), dictionaries })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// What the values of a dictionary are.
    pub(crate) fn dictionary(&self, id: i64) -> Option<&Field> {
        self.dictionaries.get(&id)
    }

    pub(crate) fn has_dictionaries(&self) -> bool {
        !self.dictionaries.is_empty()
    }

    /// A number that tells schemas apart: FNV-1a over the message. It is the schema number of the lane, where tools
    /// show it.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.message
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    }

    /// How `other` differs; `None` if batches of it can be sent. The metadata of the whole schema may differ.
    pub(crate) fn difference(&self, other: &SchemaRef) -> Option<String> {
        if Arc::ptr_eq(&self.schema, other) || self.schema.fields() == other.fields() {
            return None;
        }
        let (ours, theirs) = (self.schema.fields(), other.fields());
        if ours.len() != theirs.len() {
            return Some(format!("it has {} columns, the batch {}", ours.len(), theirs.len()));
        }
        let (index, (ours, theirs)) = ours.iter().zip(theirs).enumerate().find(|(_, (ours, theirs))| ours != theirs)?;
        Some(match (ours.name() == theirs.name(), ours.data_type() == theirs.data_type()) {
            (true, true) if ours.is_nullable() == theirs.is_nullable() => {
                format!("column {index}, {:?}, has other metadata in the batch", ours.name())
            }
            _ => format!("column {index} is {}, in the batch {}", described(ours), described(theirs)),
        })
    }
}

/// A field in a sentence.
fn described(field: &Field) -> String {
    let null = if field.is_nullable() { ", nullable" } else { "" };
    format!("{:?}: {}{null}", field.name(), field.data_type())
}

#[expect(deprecated, reason = "Arrow is about to keep these numbers elsewhere, and has no other way to ask yet")]
fn dictionary_id(field: &Field) -> Option<i64> {
    field.dict_id()
}

/// The message of a schema: a stream without batches, without its end.
fn encoded(schema: &Schema) -> Result<Vec<u8>, ArrowError> {
    let mut message: Vec<u8> = Vec::new();
    for piece in StreamEncoder::try_new(schema)?.finish()? {
        message.extend_from_slice(&piece);
    }
    message.truncate(message.len() - END_LEN_BYTES);
    Ok(message)
}

/// Checks that every type can be sent: the fault, if one cannot.
fn check(schema: &Schema) -> Result<(), String> {
    let mut left = FIELDS_MAX;
    check_fields(schema.fields(), DEPTH_MAX, &mut left)
}

fn check_fields(fields: &Fields, depth: usize, left: &mut usize) -> Result<(), String> {
    fields.iter().try_for_each(|field| check_field(field, depth, left))
}

fn check_field(field: &Field, depth: usize, left: &mut usize) -> Result<(), String> {
    check_type(field.data_type(), depth, left).map_err(|fault| match depth {
        DEPTH_MAX => format!("column {:?}: {fault}", field.name()),
        _ => fault,
    })
}

fn check_type(data_type: &DataType, depth: usize, left: &mut usize) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("it is nested deeper than {DEPTH_MAX} levels"))?;
    *left = left.checked_sub(1).ok_or_else(|| format!("there are more than {FIELDS_MAX} fields"))?;
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => check_field(field, depth, left),
        DataType::FixedSizeList(field, len) => {
            is_length(*len, data_type)?;
            check_field(field, depth, left)
        }
        DataType::Struct(fields) => check_fields(fields, depth, left),
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else {
                return Err(format!("the entries of a map are {}, not a struct", entries.data_type()));
            };
            if pair.len() != 2 || pair[0].is_nullable() || entries.is_nullable() {
                return Err("the entries of a map are not pairs of a key, which is never null, and a value".into());
            }
            check_field(entries, depth, left)
        }
        DataType::Union(fields, _) => fields.iter().try_for_each(|(id, field)| match id {
            0.. => check_field(field, depth, left),
            _ => Err(format!("{id} is no number of a union's type")),
        }),
        DataType::Dictionary(key, values) => {
            if !key.is_dictionary_key_type() {
                return Err(format!("the keys of a dictionary are {key}, not integers"));
            }
            if has_dictionary(values) {
                return Err("a dictionary's values have dictionaries".into());
            }
            check_type(values, depth, left)
        }
        DataType::FixedSizeBinary(len) => is_length(*len, data_type),
        DataType::Time32(TimeUnit::Microsecond | TimeUnit::Nanosecond)
        | DataType::Time64(TimeUnit::Second | TimeUnit::Millisecond) => {
            Err(format!("{data_type} is no type of Arrow's"))
        }
        DataType::Interval(IntervalUnit::YearMonth | IntervalUnit::DayTime | IntervalUnit::MonthDayNano)
        | DataType::Null
        | DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => Ok(()),
        flat if flat.primitive_width().is_some() => Ok(()),
        other => Err(format!("{other} cannot be sent")),
    }
}

fn is_length(len: i32, of: &DataType) -> Result<(), String> {
    if len < 0 { Err(format!("{of} has a negative length")) } else { Ok(()) }
}

/// Whether a type is a dictionary or has one in it.
fn has_dictionary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, _) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_dictionary(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_dictionary(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has_dictionary(field.data_type())),
        _ => false,
    }
}
