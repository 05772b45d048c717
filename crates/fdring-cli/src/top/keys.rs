//! Keys, as a terminal sends them: characters, and the sequences of those that are none.
//!
//! crossterm has this too. Its own way loses a key that is pressed while the size of the terminal changes, and reads a
//! terminal that is gone again and again.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What has come of a sequence that is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<u8>);

impl Keys {
    /// The keys in what has come. An escape that nothing follows is a key of its own; keys that are unknown are left
    /// out.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<KeyEvent> {
        let bytes = [&std::mem::take(&mut self.0)[..], bytes].concat();
        let (mut keys, mut rest) = (Vec::new(), &bytes[..]);
        while let [first, ..] = *rest {
            let (len, key) = match rest {
                [b'\x1b', b'[', sequence @ ..] => match sequence.iter().position(|byte| (b'@'..=b'~').contains(byte)) {
                    Some(end) => (end + 3, named(&sequence[..end], sequence[end])),
                    None => {
                        self.0 = rest.to_vec();
                        break;
                    }
                },
                [b'\x1b', b'O', last, ..] => (3, named(b"", *last)),
                _ => (1, plain(first)),
            };
            keys.extend(key);
            rest = &rest[len..];
        }
        keys
    }
}

/// A sequence by its parameters and its last byte, as xterm, the console of Linux, screen and rxvt have them.
fn named(parameters: &[u8], last: u8) -> Option<KeyEvent> {
    let code = match (last, parameters) {
        (b'A', _) => KeyCode::Up,
        (b'B', _) => KeyCode::Down,
        (b'C', _) => KeyCode::Right,
        (b'D', _) => KeyCode::Left,
        (b'H', _) | (b'~', b"1" | b"7") => KeyCode::Home,
        (b'F', _) | (b'~', b"4" | b"8") => KeyCode::End,
        (b'~', b"5") => KeyCode::PageUp,
        (b'~', b"6") => KeyCode::PageDown,
        _ => return None,
    };
    Some(code.into())
}

fn plain(byte: u8) -> Option<KeyEvent> {
    Some(match byte {
        b'\r' | b'\n' => KeyCode::Enter.into(),
        b'\x1b' => KeyCode::Esc.into(),
        0x08 | 0x7f => KeyCode::Backspace.into(),
        b' '..=b'~' => KeyCode::Char(byte.into()).into(),
        1..=26 => KeyEvent::new(KeyCode::Char((byte - 1 + b'a').into()), KeyModifiers::CONTROL),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(bytes: &[u8]) -> Vec<KeyCode> {
        Keys::default().take(bytes).into_iter().map(|key| key.code).collect()
    }

    #[test]
    fn keys_come_one_after_another_whatever_the_terminal_calls_them() {
        use KeyCode::{Backspace, Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Up};
        assert_eq!(codes(b"j\r\x7f \x1b"), [Char('j'), Enter, Backspace, Char(' '), Esc]);
        assert_eq!(codes(b"\x1b[A\x1bOB\x1b[C\x1b[1;5D"), [Up, Down, Right, Left]);
        assert_eq!(codes(b"\x1b[H\x1bOF\x1b[1~\x1b[8~\x1b[5~\x1b[6~"), [Home, End, Home, End, PageUp, PageDown]);
        assert_eq!(codes(b"\x1b[200~q\xc3\xa9\x1b[3;9R\x1bx\x1b\x1b"), [Char('q'), Esc, Char('x'), Esc, Esc]);
        let control = Keys::default().take(b"\x03\x0c");
        assert!(control.iter().all(|key| key.modifiers == KeyModifiers::CONTROL), "{control:?}");
        assert_eq!(codes(b"\x03\x0c"), [Char('c'), Char('l')]);
    }

    #[test]
    fn a_sequence_may_come_in_pieces() {
        let mut keys = Keys::default();
        assert!(keys.take(b"\x1b[").is_empty() && keys.take(b"5").is_empty());
        assert_eq!(keys.take(b"~q").len(), 2);
    }
}
