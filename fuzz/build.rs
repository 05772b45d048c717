//! Compiles what the walker is compared with.

fn main() {
    println!("cargo::rerun-if-changed=glibc.c");
    cc::Build::new().file("glibc.c").compile("fdring_macros");
}
