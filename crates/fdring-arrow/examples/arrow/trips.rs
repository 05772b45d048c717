//! The trips: what they are, which of them are sent on, and what their sums are.

use crate::{Result, Work};
use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int8Type, UInt8Type};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt8Array, UInt64Array,
};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::Arc;

/// What a trip takes at most, in bytes.
pub(crate) const ROW_MAX_BYTES: u64 = 80;
/// How many batches differ: they are sent in turn.
const POOL: usize = 4;
/// Trips that have cost more are sent on by the filter.
const FARE_MIN: f64 = 10.0;

const ZONES: [&str; 8] =
    ["Harlem", "Soho", "Chinatown", "JFK Airport", "Upper West Side North", "Astoria", "Red Hook", "Midtown Center"];
const PAYMENTS: [&str; 4] = ["credit card", "cash", "no charge", "dispute"];

/// A few batches of `rows` rows each.
pub(crate) fn pool(rows: usize) -> Vec<RecordBatch> {
    (0..POOL).map(|n| trips(n * rows..(n + 1) * rows)).collect()
}

/// The trips with these numbers: the same in every process.
fn trips(numbers: std::ops::Range<usize>) -> RecordBatch {
    // SplitMix64: as good as random, and the same each time.
    let chance = |number: usize, salt: u64| {
        let mut value = (number as u64).wrapping_add(salt << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value ^ (value >> 29)
    };
    let of = |salt: u64| numbers.clone().map(move |number| chance(number, salt));
    let pickup = |number: usize| 1_700_000_000_000_000 + number as i64 * 250_000;
    let dropoffs = numbers.clone().map(|number| pickup(number) + (chance(number, 1) % 3_600_000_000) as i64);
    let distances = of(2).map(|value| (value % 3000) as f64 / 100.0);
    let fares = of(3).map(|value| (value % 20 != 0).then_some((value % 6000) as f64 / 100.0));
    let tips = of(4).map(|value| (value % 3 == 0).then_some((value % 900) as f64 / 100.0));
    let passengers = of(5).map(|value| (value % 10 != 0).then_some((value % 5) as u8 + 1));
    let zones = of(6).map(|value| ZONES[value as usize % ZONES.len()]);
    let mut payments: StringDictionaryBuilder<Int8Type> = StringDictionaryBuilder::new();
    of(7).for_each(|value| payments.append_value(PAYMENTS[value as usize % PAYMENTS.len()]));
    let zone = "America/New_York";
    let columns: [(&str, ArrayRef, bool); 9] = [
        ("trip", Arc::new(UInt64Array::from_iter_values(numbers.clone().map(|number| number as u64))), false),
        (
            "pickup",
            Arc::new(TimestampMicrosecondArray::from_iter_values(numbers.clone().map(pickup)).with_timezone(zone)),
            false,
        ),
        ("dropoff", Arc::new(TimestampMicrosecondArray::from_iter_values(dropoffs).with_timezone(zone)), false),
        ("distance", Arc::new(Float64Array::from_iter_values(distances)), false),
        ("fare", Arc::new(Float64Array::from_iter(fares)), true),
        ("tip", Arc::new(Float64Array::from_iter(tips)), true),
        ("passengers", Arc::new(UInt8Array::from_iter(passengers)), true),
        ("zone", Arc::new(StringArray::from_iter_values(zones)), false),
        ("payment", Arc::new(payments.finish()), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("the columns are as long as each other")
}

/// The memory of a batch, in bytes.
pub(crate) fn bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
}

/// The trips that have cost more than 10: none whose fare is unknown.
pub(crate) fn dear(batch: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let fares = column(batch, "fare")?.as_primitive::<Float64Type>();
    let are_dear: BooleanArray = fares.iter().map(|fare| Some(fare.is_some_and(|fare| fare > FARE_MIN))).collect();
    filter_record_batch(batch, &are_dear)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> std::result::Result<&'a ArrayRef, ArrowError> {
    batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("there is no column {name:?}")))
}

/// What the sink says of the trips that have come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    trips: u64,
    /// In cents.
    fares: u64,
    passengers: u64,
    /// Whose name begins with an M.
    zones: u64,
}

impl Sums {
    /// Those of the trips of a batch that the filter sends on.
    pub(crate) fn of(batch: &RecordBatch, work: Work) -> Result<Self> {
        let dear = if work == Work::Filter { Some(dear(batch)?) } else { None };
        let batch = dear.as_ref().unwrap_or(batch);
        let fares = column(batch, "fare")?.as_primitive::<Float64Type>();
        let passengers = column(batch, "passengers")?.as_primitive::<UInt8Type>();
        let zones = column(batch, "zone")?.as_string::<i32>();
        Ok(Self {
            trips: batch.num_rows() as u64,
            fares: fares.iter().flatten().map(|fare| (fare * 100.0).round() as u64).sum(),
            passengers: passengers.iter().flatten().map(u64::from).sum(),
            zones: zones.iter().flatten().filter(|zone| zone.starts_with('M')).count() as u64,
        })
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.trips += more.trips;
        self.fares += more.fares;
        self.passengers += more.passengers;
        self.zones += more.zones;
    }
}

impl Sum for Sums {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sums, more| {
            sums += more;
            sums
        })
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trips, fares, passengers, zones } = self;
        write!(f, "{trips} trips, {fares} cents, {passengers} passengers, {zones} in zones with an M")
    }
}
