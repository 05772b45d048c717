//! What the values of a lane look like, as a number that fits in the lane's schema.
//!
//! ```text
//!   63   62        40 39      28 27  24 23              0
//!  ┌───┬─────────────┬──────────┬──────┬─────────────────┐
//!  │ 1 │ name number │ version  │align │      size       │
//!  └───┴─────────────┴──────────┴──────┴─────────────────┘
//! ```
//!
//! The invariant: two layouts with one number describe values of the same size and alignment.

use crate::lane::LaneInfo;
use std::fmt;

const SIZE_BITS: u32 = 24;
const ALIGN_SHIFT: u32 = SIZE_BITS;
const VERSION_SHIFT: u32 = 28;
const NAME_SHIFT: u32 = 40;
const NAME_MASK: u64 = (1 << 23) - 1;
const TYPED_BIT: u64 = 1 << 63;

/// The version that a layout may have at most.
const VERSION_MAX: u16 = (1 << 12) - 1;

/// The layout of the values of a lane: name, size, alignment, and a version of the application's choice.
///
/// The producer's layout goes to each consumer in the [schema](LaneInfo::schema) of the lane, and a consumer of other
/// values is told at once. The name is the type's, without its path. Types of equal size and alignment differ in their
/// name alone: a field that changes its meaning needs a new version.
///
/// ```
/// use fdring::typed::Layout;
///
/// assert_eq!(Layout::of::<[f32; 3]>().to_string(), "[f32; 3], 12 bytes, aligned to 4, version 0");
/// ```
///
/// The schema of a lane of values has bit 63 set. Below it are 23 bits of the name (the lowest ones of its 64-bit
/// FNV-1a hash), 12 of the version, 4 of the alignment (its binary logarithm) and 24 of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    name: &'static str,
    size: u32,
    align_log2: u32,
    version: u16,
}

impl Layout {
    /// The layout of `T`, in version 0.
    ///
    /// A `T` without a size, or longer than 16 MiB − 1, or aligned to more than 4096 bytes, does not compile.
    ///
    /// ```
    /// use fdring::typed::Layout;
    ///
    /// assert_ne!(Layout::of::<u64>().schema(), Layout::of::<f64>().schema());
    /// ```
    pub fn of<T>() -> Self {
        const {
            assert!(size_of::<T>() != 0, "a value of a lane has a size");
            assert!(size_of::<T>() < 1 << SIZE_BITS, "a value of a lane has less than 16 MiB");
            assert!(align_of::<T>() <= 4096, "a value of a lane is aligned to at most 4096 bytes");
        }
        let (name, align_log2) = (std::any::type_name::<T>(), align_of::<T>().ilog2());
        Self { name, size: size_of::<T>() as u32, align_log2, version: 0 }
    }

    /// The same layout in another version: 0 to 4095. A consumer attaches only to values of its own version.
    ///
    /// ```
    /// use fdring::typed::Layout;
    ///
    /// assert_ne!(Layout::of::<u64>().version(2).schema(), Layout::of::<u64>().schema());
    /// ```
    ///
    /// # Panics
    ///
    /// If `version` is above 4095.
    pub fn version(mut self, version: u16) -> Self {
        assert!(version <= VERSION_MAX, "a version of values is at most {VERSION_MAX}, not {version}");
        self.version = version;
        self
    }

    /// The number that stands for this layout, for [`LaneOptions::schema`](crate::options::LaneOptions::schema).
    ///
    /// ```
    /// use fdring::typed::Layout;
    ///
    /// assert_eq!(Layout::of::<[u8; 3]>().schema() & 0xff_ffff, 3);
    /// ```
    pub fn schema(&self) -> u64 {
        let name = self
            .short_name()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        TYPED_BIT
            | (name & NAME_MASK) << NAME_SHIFT
            | u64::from(self.version) << VERSION_SHIFT
            | u64::from(self.align_log2) << ALIGN_SHIFT
            | u64::from(self.size)
    }

    /// The alignment in bytes.
    pub(crate) fn align(&self) -> u32 {
        1 << self.align_log2
    }

    /// Whether this is the layout of a `T`, in any version.
    pub(super) fn is_of<T>(&self) -> bool {
        Self { version: 0, ..*self } == Self::of::<T>()
    }

    /// Whether a lane has values of this layout.
    pub(super) fn fits(&self, lane: &LaneInfo) -> bool {
        lane.schema == self.schema() && lane.payload_align >= self.align()
    }

    /// The name without paths, which differ between crates: `[Tick; 4]` for `[feed::ticks::Tick; 4]`.
    fn short_name(&self) -> String {
        let mut short = String::with_capacity(self.name.len());
        for part in self.name.split_inclusive(|char: char| !(char.is_alphanumeric() || char == '_' || char == ':')) {
            short.push_str(part.rsplit("::").next().unwrap_or(part));
        }
        short
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) = (self.short_name(), self.version);
        write!(f, "{name}, {} bytes, aligned to {}, version {version}", self.size, self.align())
    }
}

/// What a lane says of its values, in words.
pub(super) fn in_words(lane: &LaneInfo) -> String {
    let LaneInfo { schema, payload_align, .. } = *lane;
    if schema & TYPED_BIT == 0 {
        return format!("untyped records, schema {schema}, aligned to {payload_align}");
    }
    let (size, align) = (schema & ((1 << SIZE_BITS) - 1), 1_u64 << (schema >> ALIGN_SHIFT & 15));
    let (version, name) = (schema >> VERSION_SHIFT & u64::from(VERSION_MAX), schema >> NAME_SHIFT & NAME_MASK);
    let lax =
        if align > payload_align.into() { format!(" in a lane aligned to {payload_align}") } else { String::new() };
    format!("a type with the name number {name:#08x}, {size} bytes, aligned to {align}{lax}, version {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    #[repr(C, align(32))]
    struct Wide([u64; 8]);

    #[test]
    fn a_schema_tells_name_size_alignment_and_version_apart() {
        let wide = Layout::of::<Wide>();
        assert_eq!(wide.to_string(), "Wide, 64 bytes, aligned to 32, version 0");
        let schema = wide.version(7).schema();
        assert_eq!((schema >> 63, schema >> 28 & 0xfff, schema >> 24 & 15, schema & 0xff_ffff), (1, 7, 5, 64));
        let all =
            [wide, wide.version(1), Layout::of::<[u64; 8]>(), Layout::of::<[u32; 16]>(), Layout::of::<[u64; 4]>()];
        for (index, layout) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.schema() != layout.schema()), "{layout}");
        }
    }

    #[test]
    fn names_have_no_paths_wherever_these_stand() {
        let named = |name| Layout { name, size: 8, align_log2: 3, version: 0 }.short_name();
        assert_eq!(named("f64"), "f64");
        assert_eq!(named("feed::ticks::Tick"), "Tick");
        assert_eq!(named("[feed::ticks::Tick; 4]"), "[Tick; 4]");
        assert_eq!(named("a::Pair<b::c::Left, d::Right<e::F>>"), "Pair<Left, Right<F>>");
    }

    #[test]
    fn the_name_number_is_that_of_the_page() {
        // FNV-1a of "f64" is 0xdd744c18ff7ea1ab.
        assert_eq!(Layout::of::<f64>().schema() >> 40 & 0x7f_ffff, 0x7e_a1ab);
    }
}
