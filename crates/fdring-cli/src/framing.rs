//! Records on standard input and output: by lines, or each after its length.

use crate::Failure;
use crate::human::harmless_bytes;
use std::io::{self, BufRead, ErrorKind, Read, Write};

/// How records are told apart in a stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Framing {
    /// One record a line, without its newline.
    Lines,
    /// The length as 4 bytes, the lowest first, then the record.
    Length,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Framed {
    /// How records are told apart.
    #[arg(long, value_enum, default_value_t = Framing::Lines)]
    framing: Framing,
    /// Each record has its tag before it: a number and a tab; with lengths, 2 bytes after the length, lowest first.
    #[arg(long)]
    tags: bool,
}

impl Framed {
    /// Reads the next record into `payload`, and returns its tag. `None` at the end of the input.
    pub(crate) fn read(self, input: &mut impl BufRead, payload: &mut Vec<u8>, max: usize) -> io::Result<Option<u16>> {
        payload.clear();
        match self.framing {
            Framing::Lines => self.read_line(input, payload, max),
            Framing::Length => self.read_prefixed(input, payload, max),
        }
    }

    fn read_line(self, input: &mut impl BufRead, payload: &mut Vec<u8>, max: usize) -> io::Result<Option<u16>> {
        // With its newline, a tag of 5 digits and a tab.
        let line_max = max as u64 + 7;
        if input.take(line_max + 1).read_until(b'\n', payload)? == 0 {
            return Ok(None);
        }
        if payload.last() == Some(&b'\n') {
            payload.pop();
        }
        let mut tag = 0;
        if self.tags {
            let tab = payload.iter().take(6).position(|byte| *byte == b'\t');
            let number = tab.and_then(|tab| std::str::from_utf8(&payload[..tab]).ok()?.parse().ok());
            tag = number.ok_or_else(|| invalid("it does not begin with a tag, a number from 0 to 65535, and a tab"))?;
            payload.drain(..=tab.unwrap_or_default());
        }
        check_length(payload.len() as u64, max)?;
        Ok(Some(tag))
    }

    fn read_prefixed(self, input: &mut impl BufRead, payload: &mut Vec<u8>, max: usize) -> io::Result<Option<u16>> {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let cut = |error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => invalid("the input ends in the middle of it"),
            _ => error,
        };
        let mut prefix = [0; 4];
        input.read_exact(&mut prefix).map_err(cut)?;
        let len = u32::from_le_bytes(prefix);
        check_length(len.into(), max)?;
        let mut tag = [0; 2];
        if self.tags {
            input.read_exact(&mut tag).map_err(cut)?;
        }
        payload.resize(len as usize, 0);
        input.read_exact(payload).map_err(cut)?;
        Ok(Some(u16::from_le_bytes(tag)))
    }

    /// Refuses a terminal for what cannot be told from what it obeys.
    pub(crate) fn check_output(self, is_terminal: bool) -> Result<(), Failure> {
        match self.framing {
            Framing::Length if is_terminal => {
                Err(Failure::new("--framing length is for files and pipes, not for a terminal"))
            }
            _ => Ok(()),
        }
    }

    /// Writes a record. For a terminal, bytes of a line that it might obey are escaped.
    pub(crate) fn write(self, out: &mut impl Write, tag: u16, payload: &[u8], is_terminal: bool) -> io::Result<()> {
        match self.framing {
            Framing::Lines => {
                if self.tags {
                    write!(out, "{tag}\t")?;
                }
                match is_terminal {
                    true => write!(out, "{}", harmless_bytes(payload))?,
                    false => out.write_all(payload)?,
                }
                out.write_all(b"\n")
            }
            Framing::Length => {
                let len = u32::try_from(payload.len()).map_err(|_| invalid("it has 2^32 bytes or more"))?;
                out.write_all(&len.to_le_bytes())?;
                if self.tags {
                    out.write_all(&tag.to_le_bytes())?;
                }
                out.write_all(payload)
            }
        }
    }
}

fn check_length(len: u64, max: usize) -> io::Result<()> {
    let fault = || invalid(format!("it is longer than {max} bytes, the longest record of the lane; see --capacity"));
    if len > max as u64 { Err(fault()) } else { Ok(()) }
}

fn invalid(fault: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, fault.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(how: Framed, mut input: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
        let (mut records, mut payload) = (Vec::new(), Vec::new());
        while let Some(tag) = how.read(&mut input, &mut payload, 10)? {
            records.push((tag, payload.clone()));
        }
        Ok(records)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let records = [(0, b"one".to_vec()), (7, Vec::new()), (65535, b"\x1b\xff\t".to_vec()), (9, vec![b'x'; 10])];
        for framing in [Framing::Lines, Framing::Length] {
            for tags in [false, true] {
                let (how, mut bytes) = (Framed { framing, tags }, Vec::new());
                for (tag, payload) in &records {
                    how.write(&mut bytes, *tag, payload, false).unwrap();
                }
                let expected = records.clone().map(|(tag, payload)| (if tags { tag } else { 0 }, payload));
                assert_eq!(read_all(how, &bytes).unwrap(), expected, "{how:?}");
            }
        }
    }

    #[test]
    fn what_is_no_record_says_why() {
        let how = |framing, tags| Framed { framing, tags };
        let wrong: [(Framed, &[u8], &str); 7] = [
            (how(Framing::Lines, false), b"eleven byte\n", "longer than 10 bytes"),
            (how(Framing::Lines, false), &[b'x'; 100], "longer than 10 bytes"),
            (how(Framing::Lines, true), b"65536\tx", "a number from 0 to 65535"),
            (how(Framing::Lines, true), b"no tag", "does not begin with a tag"),
            (how(Framing::Length, false), &[255; 10], "longer than 10 bytes"),
            (how(Framing::Length, false), &[3, 0, 0], "ends in the middle"),
            (how(Framing::Length, true), &[3, 0, 0, 0, 1, 0, b'a'], "ends in the middle"),
        ];
        for (how, input, fault) in wrong {
            let error = read_all(how, input).unwrap_err();
            assert!(error.to_string().contains(fault), "{how:?} {input:?}: {error}");
        }
        assert_eq!(read_all(how(Framing::Lines, false), b"no newline").unwrap(), [(0, b"no newline".to_vec())]);
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let mut out = Vec::new();
        let how = Framed { framing: Framing::Lines, tags: false };
        how.write(&mut out, 0, "\x1b[2Jrot: größer".as_bytes(), true).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\\u{1b}[2Jrot: größer\n");
    }
}
