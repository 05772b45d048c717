//! Nothing: the micro-benchmarks are in `micro.rs`.
