//! What is printed: text that is safe for a terminal, and JSON.

use std::fmt::{self, Write};
use std::io::IsTerminal;

/// A line that stands out on a terminal, unless `NO_COLOR` says that nothing is to.
pub(crate) fn heading(line: &str) -> String {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_plain || !std::io::stdout().is_terminal() { line.to_owned() } else { format!("\x1b[1m{line}\x1b[0m") }
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

    pub(crate) fn list(self, name: &str, values: impl IntoIterator<Item = Object>) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        self.value(name, format_args!("[{}]", values.join(",")))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}}}", self.0)
    }
}

/// A string as JSON has it (RFC 8259): what is not ASCII stays, control characters are escaped.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_json() {
        let inner = || Object::new().value("n", 1).option("none", None::<u32>);
        let object = Object::new().text("a\"b", "c\\d\u{1b}é").list("all", [inner(), Object::new()]);
        assert_eq!(object.to_string(), r#"{"a\"b":"c\\d\u001bé","all":[{"n":1,"none":null},{}]}"#);
    }
}
