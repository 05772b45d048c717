//! What a terminal shows of what is sent to it, as far as the programs here use one: text, the cursor's place, erasing.
//! Colours are left out.

use unicode_width::UnicodeWidthChar;

#[derive(Debug)]
pub(super) struct Picture {
    /// The second cell of a wide character is empty.
    cells: Vec<Vec<Option<char>>>,
    row: usize,
    column: usize,
    /// The beginning of a character or a sequence that is not whole.
    rest: Vec<u8>,
}

impl Picture {
    pub(super) fn new(columns: usize, rows: usize) -> Self {
        Self { cells: vec![vec![Some(' '); columns]; rows], row: 0, column: 0, rest: Vec::new() }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.cells.iter().map(|line| line.iter().flatten().collect::<String>().trim_end().to_owned())
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        let bytes = [&std::mem::take(&mut self.rest)[..], bytes].concat();
        let mut rest = &bytes[..];
        while let Some(len) = self.take_one(rest) {
            rest = &rest[len..];
        }
        self.rest = rest.to_vec();
    }

    /// Takes a character or a sequence, and tells how long it is. `None` if there is no whole one.
    fn take_one(&mut self, bytes: &[u8]) -> Option<usize> {
        match *bytes {
            [b'\x1b', b'[', ref sequence @ ..] => {
                let end = sequence.iter().position(|byte| (b'@'..=b'~').contains(byte))?;
                self.obey(std::str::from_utf8(&sequence[..end]).unwrap_or(""), sequence[end]);
                Some(end + 3)
            }
            [] | [b'\x1b'] => None,
            [b'\x1b', _, ..] => Some(2),
            [first, ..] => {
                let len = [1, 1, 2, 3, 4][(first.leading_ones() as usize).min(4)];
                let character = std::str::from_utf8(bytes.get(..len)?).ok().and_then(|text| text.chars().next());
                self.put(character.unwrap_or(char::REPLACEMENT_CHARACTER));
                Some(len)
            }
        }
    }

    fn put(&mut self, character: char) {
        match character {
            '\r' => self.column = 0,
            '\n' => self.next_line(),
            character => {
                let columns = self.cells.first().map_or(0, Vec::len);
                let width = character.width().unwrap_or(0);
                if self.column + width > columns {
                    self.next_line();
                    self.column = 0;
                }
                let cells = self.cells.get_mut(self.row).and_then(|line| line.get_mut(self.column..));
                for (index, cell) in cells.into_iter().flatten().take(width).enumerate() {
                    *cell = (index == 0).then_some(character);
                }
                self.column += width;
            }
        }
    }

    fn next_line(&mut self) {
        self.row += 1;
        if self.row == self.cells.len() {
            self.row -= 1;
            self.cells.rotate_left(1);
            self.cells[self.row].fill(Some(' '));
        }
    }

    /// See ECMA-48.
    fn obey(&mut self, parameters: &str, command: u8) {
        match command {
            b'H' => {
                let mut numbers = parameters.split(';').map(|number| number.parse().unwrap_or(1_usize).max(1) - 1);
                (self.row, self.column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            }
            b'J' if parameters == "2" => self.cells.iter_mut().for_each(|line| line.fill(Some(' '))),
            b'K' => {
                let cells = self.cells.get_mut(self.row).and_then(|line| line.get_mut(self.column..));
                cells.into_iter().flatten().for_each(|cell| *cell = Some(' '));
            }
            // Another screen.
            b'h' | b'l' if parameters == "?1049" => self.obey("2", b'J'),
            _ => {}
        }
    }
}
