//! How records are read: the loops of an fdring consumer.

use crate::payload::sum;
use crate::plan::BATCH;
use fdring::{Consumer, Record, errors::ReceiveError};

#[inline(always)]
pub(crate) fn sum_exactly<const LEN: usize>(record: &[u8]) -> u64 {
    let payload: &[u8; LEN] = record.try_into().expect("the length that was sent");
    sum(payload)
}

pub(crate) fn receive_one(consumer: &mut Consumer) -> u64 {
    sum(&consumer.receive().expect("a sound lane").expect("a record"))
}

pub(super) fn receive_many<const LEN: usize>(consumer: &mut Consumer, records: u64) -> u64 {
    let mut total = 0u64;
    for _ in 0..records {
        let record = consumer.receive().expect("a sound lane").expect("a record");
        total = total.wrapping_add(sum_exactly::<LEN>(&record));
    }
    total
}

/// The sum that `read` makes of the next record, for which it tries again and again.
#[inline(always)]
pub(super) fn try_until(consumer: &mut Consumer, read: impl Fn(&[u8]) -> u64) -> u64 {
    loop {
        match consumer.try_receive() {
            Ok(record) => return read(&record.expect("a record")),
            Err(error) => assert!(matches!(error, ReceiveError::Empty), "a sound lane: {error}"),
        }
    }
}

pub(super) fn try_one(consumer: &mut Consumer) -> u64 {
    try_until(consumer, sum)
}

pub(super) fn try_each<const LEN: usize>(consumer: &mut Consumer, records: u64) -> u64 {
    (0..records).fold(0, |total, _| total.wrapping_add(try_until(consumer, sum_exactly::<LEN>)))
}

/// Has `read` read some of the records that are left, until there are none; it adds them to the sum.
#[inline(always)]
pub(super) fn in_runs(consumer: &mut Consumer, records: u64, read: impl Fn(&mut Consumer, &mut u64) -> u64) -> u64 {
    let (mut left, mut total) = (records, 0u64);
    while left != 0 {
        left -= read(consumer, &mut total);
    }
    total
}

/// As [`in_runs`], of several consumers in turn, each of which gets that number of records.
#[inline(always)]
pub(super) fn in_turn(
    mut consumers: Vec<&mut Consumer>,
    each: u64,
    read: impl Fn(&mut Consumer, &mut u64) -> u64,
) -> u64 {
    let mut left = vec![each; consumers.len()];
    let mut total = 0u64;
    while left.iter().any(|left| *left != 0) {
        for (consumer, left) in consumers.iter_mut().zip(&mut left) {
            if *left != 0 {
                *left -= read(consumer, &mut total);
            }
        }
    }
    total
}

/// A batch, record by record.
#[inline(always)]
pub(super) fn receive_batch<const LEN: usize>(consumer: &mut Consumer, total: &mut u64) -> u64 {
    *total = total.wrapping_add(receive_many::<LEN>(consumer, BATCH));
    BATCH
}

/// What is there of a batch, record by record.
#[inline(always)]
pub(super) fn try_batch<const LEN: usize>(consumer: &mut Consumer, total: &mut u64) -> u64 {
    for tried in 0..BATCH {
        match consumer.try_receive() {
            Ok(record) => *total = total.wrapping_add(sum_exactly::<LEN>(&record.expect("a record"))),
            Err(ReceiveError::Empty) => return tried,
            Err(error) => panic!("a sound lane: {error}"),
        }
    }
    BATCH
}

#[inline(always)]
pub(super) fn receive_run<const LEN: usize>(consumer: &mut Consumer, total: &mut u64) -> u64 {
    let add = |record: &Record<'_>| *total = total.wrapping_add(sum_exactly::<LEN>(record));
    consumer.receive_many(add).expect("a lane that goes on") as u64
}

#[inline(always)]
pub(crate) fn drain<const LEN: usize>(consumer: &mut Consumer, total: &mut u64) -> u64 {
    let add = |record: &Record<'_>| *total = total.wrapping_add(sum_exactly::<LEN>(record));
    match consumer.try_receive_many(add) {
        Ok(records) => records as u64,
        Err(ReceiveError::Empty) => 0,
        Err(error) => panic!("a sound lane: {error}"),
    }
}
