//! A second reader of frames, slow and obvious, written from `docs/protocol.md` alone: what the parser is held to.
//!
//! It shares nothing with `wire` but that page: numbers are read digit by digit, text is decoded by hand, and what
//! comes out is a flat list of named fields. Faults are found in the order of the bytes, except that a list is judged
//! as a whole once it was read, and the number of descriptors last.

use std::collections::BTreeSet;

/// A frame as the list of its fields, or the first fault in it.
pub(super) type Verdict = Result<PlainFrame, Fault>;

/// A frame, by its name in the protocol, and its fields in the order of the bytes, without counts and lengths.
#[derive(Debug, PartialEq)]
pub(super) struct PlainFrame {
    pub(super) name: &'static str,
    pub(super) fields: Vec<(&'static str, Value)>,
    pub(super) descriptors: u64,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Why bytes are not a frame: in words, with the numbers and the text that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) numbers: Vec<u64>,
    pub(super) text: Vec<u8>,
    /// What the sender is refused with, of §12.
    pub(super) code: u64,
}

/// A fault that breaks the protocol.
pub(super) fn fault(what: &'static str, numbers: &[u64]) -> Fault {
    Fault { what, numbers: numbers.to_vec(), text: Vec::new(), code: 5 }
}

/// What is said of `bytes` in a line: the frame's name, or the code and the words of the fault.
#[cfg(test)]
pub(super) fn summary(verdict: &Verdict) -> String {
    match verdict {
        Ok(frame) => frame.name.to_owned(),
        Err(fault) => format!("{} {}", fault.code, fault.what),
    }
}

/// Reads the one frame that `bytes` are, which came with `descriptors` descriptors.
pub(super) fn read(bytes: &[u8], descriptors: usize) -> Verdict {
    if bytes.len() > 65536 {
        return Err(fault("too long", &[bytes.len() as u64]));
    }
    let mut reader = Cursor { bytes, at: 0, fields: Vec::new() };
    let header = reader.take(16)?;
    let (magic, version, kind) = (number(&header[..4]), number(&header[4..6]), number(&header[6..8]));
    if header[..4] != [0x66, 0x64, 0x72, 0x66] {
        return Err(fault("magic", &[magic]));
    }
    let is_frozen = kind == 1 || kind == 5;
    if !is_frozen && version != 1 {
        return Err(Fault { code: 1, ..fault("version", &[version]) });
    }
    if kind == 0 || kind > 10 {
        return Err(fault("unknown type", &[kind]));
    }
    if header[14..] != [0, 0] {
        return Err(fault("reserved", &[number(&header[14..])]));
    }
    let (announced, came) = (number(&header[8..12]), bytes.len() as u64 - 16);
    if announced != came {
        return Err(fault("body length", &[announced, came]));
    }
    let announced = number(&header[12..14]);
    if announced != descriptors as u64 {
        return Err(fault("descriptors announced", &[announced, descriptors as u64]));
    }
    if is_frozen {
        reader.note("version in the header", version);
    }
    let (name, expected) = reader.body(kind, version)?;
    if reader.at != bytes.len() {
        return Err(fault("trailing", &[(bytes.len() - reader.at) as u64]));
    }
    if expected != descriptors as u64 {
        return Err(fault("descriptors", &[descriptors as u64, expected]));
    }
    Ok(PlainFrame { name, fields: reader.fields, descriptors: expected })
}

/// Little-endian bytes as a number, digit by digit.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number * 256 + u64::from(*byte))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<(&'static str, Value)>,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let rest = self.bytes.len() - self.at;
        if rest < len {
            return Err(fault("truncated", &[(len - rest) as u64]));
        }
        self.at += len;
        Ok(&self.bytes[self.at - len..self.at])
    }

    fn number(&mut self, len: usize) -> Result<u64, Fault> {
        Ok(number(self.take(len)?))
    }

    fn note(&mut self, name: &'static str, value: u64) {
        self.fields.push((name, Value::Number(value)));
    }

    /// Reads a number and notes it.
    fn field(&mut self, name: &'static str, len: usize) -> Result<u64, Fault> {
        let value = self.number(len)?;
        self.note(name, value);
        Ok(value)
    }

    /// A byte that is one of a few values, from `min` to `max`.
    fn choice(&mut self, name: &'static str, min: u64, max: u64) -> Result<u64, Fault> {
        let value = self.field(name, 1)?;
        if value < min || value > max { Err(fault("unknown value", &[value, min, max])) } else { Ok(value) }
    }

    /// A number of lanes.
    fn count(&mut self, min: u64) -> Result<u64, Fault> {
        let count = self.number(1)?;
        if count < min || count > 83 { Err(fault("lane count", &[count, min])) } else { Ok(count) }
    }

    fn lane(&mut self) -> Result<(), Fault> {
        let lane = self.field("lane", 1)?;
        if lane > 82 { Err(fault("lane index", &[lane])) } else { Ok(()) }
    }

    fn index(&mut self, expected: u64) -> Result<(), Fault> {
        let came = self.number(2)?;
        if came == expected { Ok(()) } else { Err(fault("descriptor index", &[came, expected])) }
    }

    fn name(&mut self) -> Result<Vec<u8>, Fault> {
        let len = self.number(1)?;
        let name = self.take(len as usize)?;
        if len == 0 || len > 64 {
            return Err(fault("name length", &[len]));
        }
        check_text(name)?;
        self.fields.push(("name", Value::Bytes(name.to_vec())));
        Ok(name.to_vec())
    }

    /// The frame's name, and the number of descriptors that go with it.
    fn body(&mut self, kind: u64, version: u64) -> Result<(&'static str, u64), Fault> {
        match kind {
            1 => self.hello().map(|()| ("Hello", 0)),
            2 => self.offer(version).map(|descriptors| ("Offer", descriptors)),
            3 => self.attach().map(|descriptors| ("Attach", descriptors)),
            4 => {
                for _ in 0..self.count(1)? {
                    self.field("start position", 8)?;
                }
                Ok(("Attached", 0))
            }
            5 => self.refuse().map(|()| ("Refuse", 0)),
            6 => {
                self.lane()?;
                self.field("number", 8)?;
                Ok(("Attachments", self.attached_records()?))
            }
            7 => self.lane().map(|()| ("Query", 0)),
            8 => self.report().map(|()| ("Report", 0)),
            9 => self.field("reason", 2).map(|_| ("Bye", 0)),
            _ => self.lane().map(|()| ("Evicted", 0)),
        }
    }

    /// The records of Attachments; how many descriptors they have.
    fn attached_records(&mut self) -> Result<u64, Fault> {
        let listed = self.number(1)?;
        if listed == 0 || listed > 32 {
            return Err(fault("attached records", &[listed]));
        }
        let (mut descriptors, mut lowest) = (0, 0);
        for index in 0..listed {
            let position = self.field("position", 8)?;
            let count = self.field("number of descriptors", 1)?;
            if count == 0 || count > 253 {
                return Err(fault("attachment count", &[count]));
            }
            if index > 0 && position <= lowest {
                return Err(fault("attached order", &[position]));
            }
            lowest = position;
            descriptors += count;
        }
        Ok(descriptors)
    }

    fn hello(&mut self) -> Result<(), Fault> {
        let role = self.choice("role", 1, 3)?;
        let (lowest, highest) = (self.field("lowest version", 2)?, self.field("highest version", 2)?);
        if highest < lowest {
            return Err(fault("version range", &[lowest, highest]));
        }
        let count = self.count(0)?;
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.name()?);
        }
        let mut seen = BTreeSet::new();
        for name in names {
            check_new(&mut seen, name)?;
        }
        if role == 1 && count > 0 { Err(fault("names of a producer", &[count])) } else { Ok(()) }
    }

    /// The number of descriptors that go with it.
    fn offer(&mut self, header_version: u64) -> Result<u64, Fault> {
        let chosen = self.field("chosen version", 2)?;
        if chosen != header_version {
            return Err(fault("chosen version", &[chosen, header_version]));
        }
        let id = self.take(16)?.to_vec();
        self.fields.push(("session id", Value::Bytes(id)));
        self.index(0)?;
        let count = self.count(1)?;
        let (mut ids, mut names, mut descriptors) = (BTreeSet::new(), BTreeSet::new(), 1);
        for lane in 0..count {
            let (id, name) = self.offered_lane(&mut descriptors)?;
            if !ids.insert(id) {
                return Err(fault("duplicate id", &[lane]));
            }
            check_new(&mut names, name)?;
        }
        Ok(descriptors)
    }

    /// Its id and its name. `descriptors` counts those of what comes before it; its own are added.
    fn offered_lane(&mut self, descriptors: &mut u64) -> Result<(Vec<u8>, Vec<u8>), Fault> {
        let id = self.take(16)?.to_vec();
        self.fields.push(("lane id", Value::Bytes(id.clone())));
        let capacity = self.field("capacity", 8)?;
        self.field("generation", 8)?;
        self.field("schema", 8)?;
        let (record, payload) = (self.field("record_align", 4)?, self.field("payload_align", 4)?);
        let flags = self.field("flags", 4)?;
        if flags >= 64 {
            return Err(fault("reserved", &[flags]));
        }
        if flags & 32 != 0 {
            return Err(Fault { code: 6, ..fault("unsupported", &[]) });
        }
        let slot = self.number(4)?;
        if slot != 0 {
            return Err(fault("reserved", &[slot]));
        }
        let carried = self.field("descriptors a record", 1)?;
        match (flags & 4 != 0, carried) {
            (true, 1..=253) | (false, 0) => {}
            (true, _) => return Err(fault("record fds max", &[carried])),
            (false, _) => return Err(fault("reserved", &[carried])),
        }
        let (kind, has_space_bell) = (self.choice("kind of bell", 1, 2)?, flags & 8 != 0);
        if has_space_bell && kind == 1 {
            return Err(fault("eventfd space bell", &[]));
        }
        let first = *descriptors;
        for expected in [first, first + 1, first + 2, 0, if has_space_bell { first + 3 } else { 0 }] {
            self.index(expected)?;
        }
        *descriptors += if has_space_bell { 4 } else { 3 };
        let name = self.name()?;
        check_geometry(&name, capacity, record, payload, flags & 2 != 0)?;
        Ok((id, name))
    }

    /// The number of descriptors that go with it.
    fn attach(&mut self) -> Result<u64, Fault> {
        let count = self.count(1)?;
        let (mut read, mut asking) = (0, 0);
        for lane in 0..count {
            let delivery = self.choice("delivery", 1, 3)?;
            if delivery == 3 {
                if self.take(12)? != [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0] {
                    return Err(fault("attach", &[lane]));
                }
                continue;
            }
            read += 1;
            let start = self.field("start", 1)?;
            let reading = self.choice("reading", 1, 2)?;
            self.choice("barrier", 1, 2)?;
            let descriptors = self.choice("descriptors", 0, 1)?;
            asking += descriptors;
            let position = self.field("position", 8)?;
            if start == 0 || start > 5 {
                return Err(fault("unknown value", &[start, 1, 5]));
            }
            if start != 5 && position != 0 {
                return Err(fault("reserved", &[position]));
            }
            let (is_lossy, in_place) = (delivery == 2, reading == 1);
            if is_lossy && (in_place || descriptors == 1) || !is_lossy && start == 3 {
                return Err(fault("attach", &[lane]));
            }
        }
        if read == 0 { Err(fault("nothing to read", &[])) } else { Ok(asking) }
    }

    fn refuse(&mut self) -> Result<(), Fault> {
        self.field("code", 2)?;
        let len = self.number(2)?;
        if len > 512 {
            return Err(fault("sentence length", &[len]));
        }
        let sentence = self.take(len as usize)?;
        check_text(sentence)?;
        self.fields.push(("sentence", Value::Bytes(sentence.to_vec())));
        Ok(())
    }

    fn report(&mut self) -> Result<(), Fault> {
        self.lane()?;
        self.field("published", 8)?;
        self.choice("state", 1, 3)?;
        let seats = self.field("number of seats", 4)?;
        let listed = self.number(2)?;
        if listed != seats && !(seats > 1024 && listed == 1024) || listed > 1024 {
            return Err(fault("seat count", &[listed, seats]));
        }
        for _ in 0..listed {
            self.field("process id", 4)?;
            self.field("user id", 4)?;
            self.choice("kind", 1, 3)?;
            self.choice("asleep", 0, 1)?;
            for name in ["consumed", "read", "since", "still"] {
                self.field(name, 8)?;
            }
        }
        Ok(())
    }
}

fn check_new(seen: &mut BTreeSet<Vec<u8>>, name: Vec<u8>) -> Result<(), Fault> {
    if seen.insert(name.clone()) { Ok(()) } else { Err(Fault { text: name, ..fault("duplicate name", &[]) }) }
}

/// The rules of §6, in their order; the second number says which is broken.
fn check_geometry(name: &[u8], capacity: u64, record: u64, payload: u64, is_stamped: bool) -> Result<(), Fault> {
    let powers = |from: u32, to: u32| (from..=to).map(|power| 2u64.pow(power));
    let is_alignment = |align| powers(3, 12).any(|power| power == align);
    let broken: &[u64] = if !powers(12, 40).any(|power| power == capacity) {
        &[1, capacity]
    } else if !is_alignment(record) {
        &[2, record]
    } else if !is_alignment(payload) {
        &[3, payload]
    } else if payload > record {
        &[4, record, payload]
    } else if capacity / record < 4 {
        &[5, capacity, record]
    } else if is_stamped && payload == 8 {
        &[6, payload]
    } else {
        return Ok(());
    };
    Err(Fault { text: name.to_vec(), ..fault("geometry", broken) })
}

/// Text is UTF-8, all of it, and then without control characters.
fn check_text(bytes: &[u8]) -> Result<(), Fault> {
    let codes = decode(bytes).ok_or_else(|| fault("not UTF-8", &[]))?;
    match codes.iter().find(|code| **code <= 0x1f || (0x7f..=0x9f).contains(*code)) {
        Some(code) => Err(fault("control character", &[*code])),
        None => Ok(()),
    }
}

/// The codes of UTF-8, see RFC 3629: the shortest form of each, no surrogates, none above U+10FFFF.
fn decode(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut codes = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let (len, least, bits) = match first {
            0x00..=0x7f => (1, 0, first & 0x7f),
            0xc0..=0xdf => (2, 0x80, first & 0x1f),
            0xe0..=0xef => (3, 0x800, first & 0x0f),
            0xf0..=0xf7 => (4, 0x1_0000, first & 0x07),
            _ => return None,
        };
        let mut code = u64::from(bits);
        for byte in rest.get(1..len)? {
            if byte & 0xc0 != 0x80 {
                return None;
            }
            code = code * 64 + u64::from(byte & 0x3f);
        }
        if code < least || code > 0x10_ffff || (0xd800..=0xdfff).contains(&code) {
            return None;
        }
        codes.push(code);
        rest = &rest[len..];
    }
    Some(codes)
}
