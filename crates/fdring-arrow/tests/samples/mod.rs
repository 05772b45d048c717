//! Record batches for tests: every type that can be sent, with nulls, in nested columns too. Use it by `mod samples;`.
#![allow(dead_code, reason = "each test file uses a part of this")]

use arrow_array::builder::{
    FixedSizeBinaryBuilder, FixedSizeListBuilder, Int32Builder, LargeListBuilder, ListBuilder, MapBuilder,
    StringBuilder, StringDictionaryBuilder,
};
use arrow_array::types::{Int8Type, UInt16Type};
use arrow_array::*;
use arrow_buffer::{OffsetBuffer, ScalarBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Fields, Schema, UnionFields};
use std::sync::Arc;

/// How many rows [`of_every_type`] has.
pub(crate) const ROWS: usize = 100;

/// Whether row `row` is null, in columns that have nulls.
fn is_null(row: usize) -> bool {
    row % 5 == 2
}

fn some<T>(value: impl Fn(usize) -> T) -> impl Iterator<Item = Option<T>> {
    (0..ROWS).map(move |row| (!is_null(row)).then(|| value(row)))
}

fn word(row: usize) -> String {
    // Short and long ones: views of up to 12 bytes lie in the view itself.
    "né".repeat(row % 9)
}

/// A batch with a column of every type.
pub(crate) fn of_every_type() -> RecordBatch {
    let mut columns = flat();
    columns.extend(temporal());
    columns.extend(texts());
    columns.extend(nested());
    columns.extend(unions());
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

type Column = (&'static str, ArrayRef);

fn flat() -> Vec<Column> {
    vec![
        ("null", Arc::new(NullArray::new(ROWS))),
        ("boolean", Arc::new(BooleanArray::from_iter(some(|row| row % 3 == 0)))),
        ("i8", Arc::new(Int8Array::from_iter(some(|row| row as i8)))),
        ("u16", Arc::new(UInt16Array::from_iter_values((0..ROWS).map(|row| row as u16)))),
        ("i64", Arc::new(Int64Array::from_iter(some(|row| -(row as i64))))),
        ("u64", Arc::new(UInt64Array::from_iter(some(|row| row as u64 * (u64::MAX / 100))))),
        ("f64", Arc::new(Float64Array::from_iter(some(|row| row as f64 / 7.0)))),
        ("decimal", Arc::new(Decimal128Array::from_iter(some(|row| row as i128 * 12345)))),
        ("decimal256", Arc::new(Decimal256Array::from_iter(some(|row| i256::from(row as i64))))),
    ]
}

fn temporal() -> Vec<Column> {
    let instants = TimestampMicrosecondArray::from_iter(some(|row| row as i64 * 1_000_000)).with_timezone("+01:00");
    vec![
        ("date", Arc::new(Date32Array::from_iter(some(|row| row as i32)))),
        ("time", Arc::new(Time64NanosecondArray::from_iter(some(|row| row as i64)))),
        ("instant", Arc::new(instants)),
        ("duration", Arc::new(DurationSecondArray::from_iter(some(|row| row as i64)))),
    ]
}

fn texts() -> Vec<Column> {
    let mut fixed = FixedSizeBinaryBuilder::new(5);
    let mut words: StringDictionaryBuilder<UInt16Type> = StringDictionaryBuilder::new();
    for row in 0..ROWS {
        if is_null(row) {
            fixed.append_null();
            words.append_null();
        } else {
            fixed.append_value([row as u8; 5]).unwrap();
            words.append_value(word(row));
        }
    }
    vec![
        ("utf8", Arc::new(StringArray::from_iter(some(word)))),
        ("large utf8", Arc::new(LargeStringArray::from_iter(some(word)))),
        ("views", Arc::new(StringViewArray::from_iter(some(word)))),
        ("binary", Arc::new(BinaryArray::from_iter(some(|row| vec![row as u8; row % 20])))),
        ("binary views", Arc::new(BinaryViewArray::from_iter(some(|row| vec![row as u8; row % 20])))),
        ("fixed", Arc::new(fixed.finish())),
        ("dictionary", Arc::new(words.finish())),
    ]
}

fn nested() -> Vec<Column> {
    let mut lists = ListBuilder::new(StringDictionaryBuilder::<Int8Type>::new());
    let mut large = LargeListBuilder::new(ListBuilder::new(Int32Builder::new()));
    let mut pairs = FixedSizeListBuilder::new(Int32Builder::new(), 2);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for row in 0..ROWS {
        for item in 0..row % 4 {
            lists.values().append_value(word(item));
            large.values().values().append_value(item as i32);
            large.values().append(item % 2 == 0);
            maps.keys().append_value(word(item));
            maps.values().append_option((item > 0).then_some(row as i32));
        }
        pairs.values().append_value(row as i32);
        pairs.values().append_option((row % 3 > 0).then_some(-1));
        lists.append(!is_null(row));
        large.append(!is_null(row));
        pairs.append(!is_null(row));
        maps.append(!is_null(row)).unwrap();
    }
    let points = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Float32, true)),
            Arc::new(Float32Array::from_iter(some(|row| row as f32))) as ArrayRef,
        ),
        (
            Arc::new(Field::new("name", DataType::Utf8View, true)),
            Arc::new(StringViewArray::from_iter(some(word))) as ArrayRef,
        ),
    ]);
    let values = Arc::new(StringArray::from_iter_values((0..2 * ROWS).map(word))) as ArrayRef;
    let starts: Vec<i32> = (0..ROWS).map(|row| 2 * row as i32 % 150).collect();
    let sizes: Vec<i32> = (0..ROWS).map(|row| row as i32 % 5).collect();
    let item = Arc::new(Field::new_list_field(DataType::Utf8, false));
    let views = ListViewArray::new(item, ScalarBuffer::from(starts), ScalarBuffer::from(sizes), values, None);
    vec![
        ("lists", Arc::new(lists.finish())),
        ("large lists", Arc::new(large.finish())),
        ("pairs", Arc::new(pairs.finish())),
        ("maps", Arc::new(maps.finish())),
        ("points", Arc::new(points)),
        ("list views", Arc::new(views)),
    ]
}

fn unions() -> Vec<Column> {
    let fields = || {
        let members = [Field::new("n", DataType::Int32, true), Field::new("w", DataType::Utf8, true)];
        UnionFields::try_new([0, 4], members).unwrap()
    };
    let kinds: Vec<i8> = (0..ROWS).map(|row| if row % 3 == 0 { 0 } else { 4 }).collect();
    let children: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from_iter(some(|row| row as i32))), Arc::new(StringArray::from_iter(some(word)))];
    let offsets: Vec<i32> = (0..ROWS).map(|row| (ROWS - row - 1) as i32).collect();
    let sparse = UnionArray::try_new(fields(), kinds.clone().into(), None, children.clone()).unwrap();
    let dense = UnionArray::try_new(fields(), kinds.into(), Some(offsets.into()), children).unwrap();
    vec![("sparse", Arc::new(sparse)), ("dense", Arc::new(dense))]
}

/// A small batch of numbers and words, both with nulls: `rows` of them, from `first` on.
pub(crate) fn numbers(first: i64, rows: i64) -> RecordBatch {
    let words = (first..first + rows).map(|row| (row % 4 != 1).then(|| format!("the word of row {row}")));
    let columns: [(&str, ArrayRef, bool); 2] = [
        ("number", Arc::new(Int64Array::from_iter_values(first..first + rows)), false),
        ("word", Arc::new(StringArray::from_iter(words)), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Without columns, which has rows nevertheless.
pub(crate) fn of_no_columns() -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
}

/// Lists of structs of lists, so deep.
pub(crate) fn deep(levels: usize) -> ArrayRef {
    (0..levels).fold(Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef, |inner, _| {
        let field = Arc::new(Field::new("inner", inner.data_type().clone(), true));
        let fields = Fields::from(vec![field.clone()]);
        let outer = Arc::new(StructArray::new(fields, vec![inner], None)) as ArrayRef;
        let item = Arc::new(Field::new_list_field(outer.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([1, 1]);
        Arc::new(ListArray::new(item, offsets, outer, None)) as ArrayRef
    })
}

/// Calls `look` with each buffer of an array, those of nested arrays included.
pub(crate) fn each_buffer(data: &ArrayData, look: &mut impl FnMut(&[u8])) {
    data.buffers().iter().for_each(|buffer| look(buffer));
    data.nulls().into_iter().for_each(|nulls| look(nulls.validity()));
    data.child_data().iter().for_each(|child| each_buffer(child, look));
}
