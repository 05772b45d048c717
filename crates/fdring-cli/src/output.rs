//! What is printed: JSON, colours, and text for people on standard error.

use crate::human::{harmless, harmless_bytes, plays_tricks};
use std::fmt::{self, Write};
use std::io::{IsTerminal, Write as _};
use std::sync::OnceLock;

/// Says a sentence on standard error, if that is open.
pub(crate) fn say(sentence: impl fmt::Display) {
    // Other processes may have chosen parts of it.
    let _ = writeln!(std::io::stderr(), "fdring: {}", harmless(&sentence.to_string()));
}

/// How text stands out on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Colour {
    #[default]
    None,
    Bold,
    /// Of what matters less.
    Dim,
    /// Of what is as it should be.
    Green,
    /// Of what needs a look.
    Yellow,
    /// Of what is broken.
    Red,
}

impl Colour {
    /// The text in this colour, if standard output is a terminal and `NO_COLOR` is unset or empty.
    pub(crate) fn paint(self, text: impl fmt::Display) -> String {
        static IS_ON: OnceLock<bool> = OnceLock::new();
        let is_plain = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_on = *IS_ON.get_or_init(|| std::io::stdout().is_terminal() && !is_plain());
        let code = match self {
            Self::None => return text.to_string(),
            _ if !is_on => return text.to_string(),
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// A JSON object on one line.
#[derive(Debug)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a field whose value is JSON already: a number, a boolean, an object.
    pub(crate) fn value(mut self, name: &str, value: impl fmt::Display) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "{}:{value}", Text(name)); // into a String, which takes everything
        self
    }

    pub(crate) fn text(self, name: &str, text: &str) -> Self {
        self.value(name, Text(text))
    }

    /// Adds a field that is `null` if there is no value.
    pub(crate) fn option(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.value(name, value),
            None => self.value(name, "null"),
        }
    }

    pub(crate) fn list(self, name: &str, values: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        self.value(name, format_args!("[{}]", values.join(",")))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}}}", self.0)
    }
}

/// A string as JSON has it (RFC 8259). What is not ASCII stays, but for what could play tricks on a terminal.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if plays_tricks(c) => {
                    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(f, "\\u{unit:04x}"))?
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A number as JSON has it: `null` if it is none, which JSON cannot say.
pub(crate) fn number(value: impl Into<f64> + Copy + fmt::Display) -> String {
    if value.into().is_finite() { value.to_string() } else { "null".to_owned() }
}

/// Writes bytes that somebody else has chosen. On a terminal, nothing but line ends and tabs does anything.
pub(crate) fn show(bytes: &[u8], out: &mut impl std::io::Write, is_terminal: bool) -> std::io::Result<()> {
    if !is_terminal {
        return out.write_all(bytes);
    }
    for piece in bytes.split_inclusive(|byte| [b'\n', b'\t'].contains(byte)) {
        let end = piece.len() - usize::from(matches!(piece.last(), Some(b'\n' | b'\t')));
        write!(out, "{}", harmless_bytes(&piece[..end]))?;
        out.write_all(&piece[end..])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_lines_and_tabs_but_no_tricks() {
        let shown = |is_terminal| {
            let mut out = Vec::new();
            show("a\tgröße\n\x1b[2J\u{202e}\n\n".as_bytes(), &mut out, is_terminal).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(true), "a\tgröße\n\\u{1b}[2J\\u{202e}\n\n");
        assert_eq!(shown(false), "a\tgröße\n\x1b[2J\u{202e}\n\n");
    }

    #[test]
    fn an_object_is_json() {
        let inner = || Object::new().value("n", 1).option("none", None::<u32>);
        let object = Object::new().text("a\"b", "c\\d\u{1b}é\u{e0041}").list("all", [inner(), Object::new()]);
        assert_eq!(object.to_string(), r#"{"a\"b":"c\\d\u001bé\udb40\udc41","all":[{"n":1,"none":null},{}]}"#);
    }

    #[test]
    fn what_is_no_number_is_null() {
        assert_eq!([1.5, f64::NAN, f64::NEG_INFINITY].map(number), ["1.5", "null", "null"]);
    }
}
