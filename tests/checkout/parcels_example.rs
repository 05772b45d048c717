//! The example `parcels`, as a terminal would run it.

mod example;

use example::example;
use std::process::Command;

#[test]
fn tables_go_through_three_processes_and_are_kept() {
    // Fewer descriptors than tables.
    let script = format!("ulimit -n 256; exec {}", example("parcels").display());
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let (out, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && complaint.is_empty(), "{complaint}");
    let total: u64 = (0..1000).flat_map(|table| (0..512).map(move |row| (table + row) * (table + 10 + row))).sum();
    let line = format!("kept 1000 tables of 3 columns, 12288000 bytes; the sum of all products is {total}\n");
    assert_eq!(out, line);
}
