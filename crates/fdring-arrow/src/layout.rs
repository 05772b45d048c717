//! The layout of a batch's buffers, as its message says it, against the schema and the bytes that came.
//!
//! Arrow checks what is in the buffers, and panics where they are not there. So this file checks that they are: that
//! each column has the numbers and buffers of its type, that buffers lie within the body, one after the other, at
//! multiples of 64 bytes, and that each is as long as its column's number of rows asks, in whole values. What is in
//! them it does not look at.

use arrow_ipc::RecordBatch;
use arrow_schema::{DataType, Field, UnionMode};
use std::collections::VecDeque;

/// Where buffers begin: at multiples of this.
pub(crate) const ALIGN_BYTES: u64 = 64;
/// The most rows of a batch, and the most values of a nested column.
pub(crate) const ROWS_MAX: u64 = u32::MAX as u64;

/// Checks a batch of these columns, whose body has `body_len` bytes. The fault, if there is one.
pub(crate) fn check<'a>(
    batch: &RecordBatch<'_>,
    columns: impl IntoIterator<Item = &'a Field>,
    body_len: u64,
) -> Result<(), String> {
    if batch.compression().is_some() {
        return Err("it is compressed".into());
    }
    let rows = count(batch.length(), "rows")?;
    let nodes = batch.nodes().ok_or("it has no columns")?;
    let places = batch.buffers().ok_or("it has no buffers")?;
    let mut walk = Walk {
        nodes: nodes.iter().map(|node| (node.length(), node.null_count())).collect(),
        places: places.iter().map(|place| (place.offset(), place.length())).collect(),
        view_buffers: batch.variadicBufferCounts().into_iter().flatten().collect(),
        body_len,
        end: 0,
    };
    for column in columns {
        let named = |fault: String| format!("column {:?}: {fault}", column.name());
        let found = walk.column(column.data_type()).map_err(named)?;
        same(found, rows).map_err(named)?;
    }
    if walk.nodes.len() + walk.places.len() + walk.view_buffers.len() > 0 {
        return Err("it has more columns or buffers than the schema".into());
    }
    Ok(())
}

fn count(value: i64, what: &str) -> Result<u64, String> {
    let count = u64::try_from(value).ok().filter(|count| *count <= ROWS_MAX);
    count.ok_or_else(|| format!("it has {value} {what}, not 0 to {ROWS_MAX}"))
}

/// Checks that a column has as many rows as those beside it, or its parent, ask for.
fn same(rows: u64, wanted: u64) -> Result<(), String> {
    if rows == wanted { Ok(()) } else { Err(format!("it has {rows} rows, not {wanted}")) }
}

/// What of a message is not matched with columns yet. Arrow takes it in the same order.
struct Walk {
    /// Length and number of nulls of each column, nested ones included.
    nodes: VecDeque<(i64, i64)>,
    /// Offset and length of each buffer.
    places: VecDeque<(i64, i64)>,
    /// For each column of views, how many buffers they point to.
    view_buffers: VecDeque<i64>,
    body_len: u64,
    /// Where the last buffer ended.
    end: u64,
}

impl Walk {
    /// Matches a column with what the message has next. Returns its number of rows.
    fn column(&mut self, data_type: &DataType) -> Result<u64, String> {
        let (rows, nulls) = self.nodes.pop_front().ok_or("the message has no numbers for it")?;
        let (rows, nulls) = (count(rows, "rows")?, count(nulls, "nulls")?);
        let is_valid = match data_type {
            DataType::Null => nulls == rows,
            DataType::Union(..) => nulls == 0,
            _ => nulls <= rows,
        };
        if !is_valid {
            return Err(format!("it has {nulls} nulls in {rows} rows"));
        }
        if !matches!(data_type, DataType::Null | DataType::Union(..)) {
            self.buffer(if nulls > 0 { rows.div_ceil(8) } else { 0 })?;
        }
        self.buffers(data_type, rows)?;
        Ok(rows)
    }

    /// Matches what comes after the nulls: buffers, and nested columns.
    fn buffers(&mut self, data_type: &DataType, rows: u64) -> Result<(), String> {
        match data_type {
            DataType::Null => Ok(()),
            DataType::Boolean => self.buffer(rows.div_ceil(8)).map(drop),
            DataType::Utf8 | DataType::Binary => self.offsets(rows, 4).and_then(|()| self.buffer(0)).map(drop),
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.offsets(rows, 8).and_then(|()| self.buffer(0)).map(drop)
            }
            DataType::Utf8View | DataType::BinaryView => self.views(rows),
            DataType::FixedSizeBinary(len) => self.buffer(rows * u64::from(len.unsigned_abs())).map(drop),
            DataType::List(field) | DataType::Map(field, _) => {
                self.offsets(rows, 4)?;
                self.column(field.data_type()).map(drop)
            }
            DataType::LargeList(field) => {
                self.offsets(rows, 8)?;
                self.column(field.data_type()).map(drop)
            }
            DataType::ListView(field) => self.list_views(rows, 4, field),
            DataType::LargeListView(field) => self.list_views(rows, 8, field),
            DataType::FixedSizeList(field, len) => {
                same(self.column(field.data_type())?, rows * u64::from(len.unsigned_abs()))
            }
            DataType::Struct(fields) => fields.iter().try_for_each(|field| same(self.column(field.data_type())?, rows)),
            DataType::Union(fields, mode) => {
                self.buffer(rows)?;
                if *mode == UnionMode::Dense {
                    self.values(rows, 4)?;
                }
                for (_, field) in fields.iter() {
                    let found = self.column(field.data_type())?;
                    same(found, if *mode == UnionMode::Sparse { rows } else { found })?;
                }
                Ok(())
            }
            DataType::Dictionary(keys, _) => self.buffers(keys, rows),
            flat => match flat.primitive_width() {
                Some(width) => self.values(rows, width as u64),
                None => Err(format!("{flat} cannot be received")),
            },
        }
    }

    /// Offsets of one integer more than there are rows; none, if there are no rows.
    fn offsets(&mut self, rows: u64, width: u64) -> Result<(), String> {
        match self.places.front() {
            Some((_, 0)) if rows == 0 => self.values(0, width),
            _ => self.values(rows + 1, width),
        }
    }

    fn views(&mut self, rows: u64) -> Result<(), String> {
        self.values(rows, 16)?;
        let buffers = self.view_buffers.pop_front().ok_or("the message does not say how many buffers it has")?;
        // One after the other, until there are no more: the number may be any.
        (0..count(buffers, "buffers")?).try_for_each(|_| self.buffer(0).map(drop))
    }

    fn list_views(&mut self, rows: u64, width: u64, values: &Field) -> Result<(), String> {
        self.values(rows, width)?;
        self.values(rows, width)?;
        self.column(values.data_type()).map(drop)
    }

    /// Matches a buffer of values of `width` bytes, at least `count` of them. Arrow panics at a part of a value.
    fn values(&mut self, count: u64, width: u64) -> Result<(), String> {
        let len = self.buffer(count * width)?;
        if len.is_multiple_of(width) { Ok(()) } else { Err(format!("a buffer of {len} bytes has values of {width}")) }
    }

    /// Matches the next buffer, which is to have at least `needed` bytes. Returns its length.
    fn buffer(&mut self, needed: u64) -> Result<u64, String> {
        let (offset, len) = self.places.pop_front().ok_or("the message has too few buffers")?;
        let range = u64::try_from(offset).ok().zip(u64::try_from(len).ok());
        let placed = range.and_then(|(offset, len)| Some((offset, len, offset.checked_add(len)?)));
        let Some((start, len, end)) = placed.filter(|(.., end)| *end <= self.body_len) else {
            return Err(format!("a buffer of {len} bytes at {offset} is not within the {} of the body", self.body_len));
        };
        if !start.is_multiple_of(ALIGN_BYTES) || start < self.end {
            return Err(format!("a buffer begins at {start}, not at a multiple of {ALIGN_BYTES} after the last one"));
        }
        if len < needed {
            return Err(format!("a buffer has {len} bytes where its rows take {needed}"));
        }
        self.end = end;
        Ok(len)
    }
}
