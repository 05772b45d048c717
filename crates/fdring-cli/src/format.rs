//! The bytes of a payload as the fields of a struct: `u64 seq, f64 price, u8[4] flags`.
//!
//! Fields follow one another without gaps, and are little-endian; what a compiler leaves free is written as `pad[4]`.

use crate::human::harmless;
use crate::output::{Text, number};
use std::fmt::Write;
use std::str::FromStr;

const TYPES: &str = "u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 bool char str pad";

/// The longest array of a format, so that a length that was mistyped is told from one that was meant.
const COUNT_MAX: usize = 1 << 20;

/// A struct: its fields, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    fields: Vec<Field>,
    len_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    kind: Kind,
    name: String,
    /// The length of an array; of text and gaps, in bytes.
    count: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned(usize),
    Signed(usize),
    Float(usize),
    Bool,
    /// A Unicode scalar value, as Rust's `char`.
    Char,
    /// UTF-8, padded with zeros.
    Text,
    Gap,
}

impl Kind {
    fn new(name: &str) -> Option<Self> {
        let (sort, bits) = name.split_at_checked(1)?;
        let bytes = bits.parse().ok().filter(|bits: &usize| [8, 16, 32, 64, 128].contains(bits)).map(|bits| bits / 8);
        match (name, sort, bytes) {
            ("bool", ..) => Some(Self::Bool),
            ("char", ..) => Some(Self::Char),
            ("str", ..) => Some(Self::Text),
            ("pad", ..) => Some(Self::Gap),
            (_, "u", Some(bytes)) => Some(Self::Unsigned(bytes)),
            (_, "i", Some(bytes)) => Some(Self::Signed(bytes)),
            (_, "f", Some(bytes @ (4 | 8))) => Some(Self::Float(bytes)),
            _ => None,
        }
    }

    fn len_bytes(self) -> usize {
        match self {
            Self::Unsigned(bytes) | Self::Signed(bytes) | Self::Float(bytes) => bytes,
            Self::Char => 4,
            Self::Bool | Self::Text | Self::Gap => 1,
        }
    }

    /// A value as JSON.
    fn value(self, bytes: &[u8]) -> String {
        // As many bytes as the widest has, the rest with the sign.
        let is_negative = matches!(self, Self::Signed(_)) && bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        let wide = u128::from_le_bytes(wide);
        match self {
            Self::Signed(_) => wide.cast_signed().to_string(),
            Self::Float(4) => number(f32::from_bits(wide as u32)),
            Self::Float(_) => number(f64::from_bits(wide as u64)),
            Self::Bool if wide <= 1 => (wide == 1).to_string(),
            Self::Char => match char::from_u32(wide as u32) {
                Some(c) => Text(c.encode_utf8(&mut [0; 4])).to_string(),
                None => wide.to_string(),
            },
            _ => wide.to_string(),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut format = Self { fields: Vec::new(), len_bytes: 0 };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let field = Field::parse(part)?;
            if field.kind != Kind::Gap && format.fields.iter().any(|other| other.name == field.name) {
                return Err(format!("two fields are called {}", field.name));
            }
            format.len_bytes += field.len_bytes();
            format.fields.push(field);
        }
        match format.len_bytes {
            0 => Err("a struct has at least one field, such as `u64 seq`".to_owned()),
            _ => Ok(format),
        }
    }
}

impl Field {
    fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(char::is_whitespace).map_or((text, ""), |(kind, name)| (kind, name.trim()));
        let (kind, count) = match kind.split_once('[') {
            None => (kind, None),
            Some((kind, count)) => {
                let count = count.strip_suffix(']').and_then(|count| count.parse().ok());
                let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
                (
                    kind,
                    Some(count.ok_or_else(|| {
                        format!("`{text}`: a length is a number from 1 to {COUNT_MAX}, as in `u8[16]`")
                    })?),
                )
            }
        };
        let kind =
            Kind::new(kind).ok_or_else(|| format!("`{text}`: there is no type `{kind}`; the types are {TYPES}"))?;
        match (kind, name) {
            (Kind::Gap, _) => {}
            (_, "") => return Err(format!("`{text}`: a field has a type and a name, as in `u64 seq`")),
            (_, name) if name.contains(char::is_whitespace) => {
                return Err(format!("`{text}`: a name is one word; a comma comes between two fields"));
            }
            (Kind::Text, _) if count.is_none() => {
                return Err(format!("`{text}`: text has a length in bytes, as in `str[16]`"));
            }
            _ => {}
        }
        Ok(Self { kind, name: name.to_owned(), count })
    }

    fn len_bytes(&self) -> usize {
        self.kind.len_bytes() * self.count.unwrap_or(1)
    }

    /// Its value, or values, as JSON.
    fn value(&self, bytes: &[u8]) -> String {
        if self.kind == Kind::Text {
            let text = String::from_utf8_lossy(bytes);
            return Text(text.trim_end_matches('\0')).to_string();
        }
        let values: Vec<String> = bytes.chunks(self.kind.len_bytes()).map(|bytes| self.kind.value(bytes)).collect();
        match self.count {
            Some(_) => format!("[{}]", values.join(",")),
            None => values.concat(),
        }
    }
}

impl Format {
    /// The structs that a payload consists of; `None` if it is no whole number of them.
    pub(crate) fn values<'a>(&'a self, payload: &'a [u8]) -> Option<impl Iterator<Item = Fields<'a>>> {
        let is_whole = !payload.is_empty() && payload.len().is_multiple_of(self.len_bytes);
        is_whole.then(|| payload.chunks(self.len_bytes).map(|bytes| Fields { format: self, bytes }))
    }

    /// The length of the struct, in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

/// One struct of a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    format: &'a Format,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Names and values as JSON.
    fn pairs(self) -> impl Iterator<Item = (&'a str, String)> {
        let mut rest = self.bytes;
        let pairs = self.format.fields.iter().map(move |field| {
            let (bytes, after) = rest.split_at(field.len_bytes());
            rest = after;
            (field, bytes)
        });
        pairs.filter(|(field, _)| field.kind != Kind::Gap).map(|(field, bytes)| (&*field.name, field.value(bytes)))
    }

    /// As a JSON object.
    pub(crate) fn json(self) -> String {
        let pairs: Vec<String> = self.pairs().map(|(name, value)| format!("{}:{value}", Text(name))).collect();
        format!("{{{}}}", pairs.join(","))
    }

    /// As `seq=1 price=2.5`.
    pub(crate) fn text(self) -> String {
        let mut text = String::new();
        for (name, value) in self.pairs() {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{}={value}", harmless(name)); // into a String, which takes everything
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str, payload: &[u8]) -> Vec<String> {
        let format: Format = format.parse().unwrap();
        format.values(payload).into_iter().flatten().map(Fields::text).collect()
    }

    #[test]
    fn fields_follow_one_another() {
        let payload = [&7u64.to_le_bytes()[..], &2.5f64.to_le_bytes()].concat();
        assert_eq!(shown("u64 seq, f64 price", &payload), ["seq=7 price=2.5"]);
        let two = [&payload[..], &payload].concat();
        assert_eq!(shown(" u64  seq ,f64 price, ", &two).len(), 2);
        let format: Format = "u64 seq, f64 price".parse().unwrap();
        assert_eq!(format.values(&payload).unwrap().next().unwrap().json(), r#"{"seq":7,"price":2.5}"#);
    }

    #[test]
    fn every_type_has_its_values() {
        for (format, payload, text) in [
            ("i8 a, i16 b", &[0xff, 0xfe, 0xff][..], "a=-1 b=-2"),
            ("u128 a", &[0xff; 16], "a=340282366920938463463374607431768211455"),
            ("i128 a", &[0xff; 16], "a=-1"),
            ("f32 a", &f32::NAN.to_le_bytes(), "a=null"),
            ("f32 a", &0.1f32.to_le_bytes(), "a=0.1"),
            ("bool a, bool b, bool c", &[0, 1, 2], "a=false b=true c=2"),
            ("char a", &[0xe9, 0, 0, 0], "a=\"é\""),
            ("char a", &[0, 0xd8, 0, 0], "a=55296"),
            ("str[4] a", b"a\x1b\0\0", "a=\"a\\u001b\""),
            ("u8[2] a, pad, u16[1] b", &[1, 2, 3, 4, 0], "a=[1,2] b=[4]"),
            ("pad[2], u8 a", &[1, 2, 3], "a=3"),
        ] {
            assert_eq!(shown(format, payload), [text], "{format}");
        }
    }

    #[test]
    fn a_payload_that_is_no_whole_number_of_structs_has_no_values() {
        let format: Format = "u64 a".parse().unwrap();
        for len in [0, 7, 9] {
            assert!(format.values(&[0; 16][..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn a_format_that_makes_no_sense_says_why() {
        for (format, fault) in [
            ("", "at least one field"),
            ("u64", "a type and a name"),
            ("u65 a", "no type `u65`"),
            ("f16 a", "no type `f16`"),
            ("é a", "no type `é`"),
            ("u64 a b", "one word"),
            ("u64 a, u8 a", "two fields are called a"),
            ("u8[0] a", "a length is a number"),
            ("u8[x] a", "a length is a number"),
            ("u8[99999999] a", "a length is a number"),
            ("u8[4 a", "a length is a number"),
            ("str a", "as in `str[16]`"),
        ] {
            let error = format.parse::<Format>().unwrap_err();
            assert!(error.contains(fault), "{format}: {error}");
        }
    }
}
