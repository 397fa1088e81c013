//! The plain text of what a terminal is sent: control sequences (ECMA-48) taken out, lines kept.

/// Turns a byte stream meant for a terminal into plain text, however it is cut into pieces.
///
/// Colours, cursor movements, titles and other control characters go; a movement to another place
/// of the screen becomes a line break, because firmware and boot loaders draw their menus with it.
/// Bytes that are not UTF-8 become U+FFFD.
#[derive(Debug, Default)]
pub struct Cleaner {
    state: State,
    /// The bytes of a character that is not complete yet.
    partial: Vec<u8>,
    /// A carriage return came: whether it begins a new line depends on what follows.
    returned: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Escape,
    /// Between `ESC [` and the final byte.
    Control,
    /// Inside an operating system command, ended by BEL or `ESC \`.
    Command,
    /// After an `ESC` inside an operating system command.
    CommandEscape,
}

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

impl Cleaner {
    /// Appends the text in `bytes` to `text`.
    pub fn feed(&mut self, bytes: &[u8], text: &mut String) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Command | State::CommandEscape, BELL) => State::Text,
                (State::Command, ESCAPE) => State::CommandEscape,
                (State::Command | State::CommandEscape, b'\\')
                    if self.state == State::CommandEscape =>
                {
                    State::Text
                }
                (State::Command | State::CommandEscape, _) => State::Command,
                (_, ESCAPE) => {
                    self.flush(text);
                    State::Escape
                }
                (State::Escape, b'[') => State::Control,
                (State::Escape, b']') => State::Command,
                // Intermediate bytes, as in the choice of a character set.
                (State::Escape, 0x20..=0x2f) => State::Escape,
                (State::Escape, _) => State::Text,
                (State::Control, 0x40..=0x7e) => {
                    if matches!(byte, b'H' | b'f') {
                        self.returned = false;
                        break_line(text);
                    }
                    State::Text
                }
                (State::Control, _) => State::Control,
                (State::Text, _) => {
                    self.text(byte, text);
                    State::Text
                }
            };
        }
    }

    fn text(&mut self, byte: u8, text: &mut String) {
        match byte {
            b'\r' => {
                self.flush(text);
                self.returned = true;
            }
            b'\n' => {
                self.flush(text);
                self.returned = false;
                text.push('\n');
            }
            b'\t' | 0x20..=0x7e => {
                self.flush(text);
                self.after_return(text);
                text.push(char::from(byte));
            }
            0x80.. => {
                self.after_return(text);
                self.partial.push(byte);
                match std::str::from_utf8(&self.partial) {
                    Ok(whole) => {
                        text.push_str(whole);
                        self.partial.clear();
                    }
                    Err(error) if error.error_len().is_some() => self.flush(text),
                    Err(_) => {}
                }
            }
            _ => {}
        }
    }

    fn after_return(&mut self, text: &mut String) {
        if self.returned {
            self.returned = false;
            break_line(text);
        }
    }

    fn flush(&mut self, text: &mut String) {
        if !self.partial.is_empty() {
            text.push_str(&String::from_utf8_lossy(&self.partial));
            self.partial.clear();
        }
    }
}

fn break_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(pieces: &[&[u8]]) -> String {
        let mut text = String::new();
        let mut cleaner = Cleaner::default();
        for piece in pieces {
            cleaner.feed(piece, &mut text);
        }
        text
    }

    #[test]
    fn colours_titles_and_queries_go() {
        assert_eq!(
            clean(&[b"\x1b[!p\x1b]104\x07\x1b[?7h\x1b[6n[\x1b[0;1;31mFAILED\x1b[0m] x\x1b]0;t\x1b\\y\x1b(Bz"]),
            "[FAILED] xyz"
        );
    }

    #[test]
    fn line_ends_of_every_kind() {
        assert_eq!(clean(&[b"a\r\nb\r\r\nc\rd\r\n\r\ne"]), "a\nb\nc\nd\n\ne");
    }

    #[test]
    fn moving_the_cursor_breaks_the_line_once() {
        assert_eq!(clean(&[b"\x1b[2J\x1b[01;01HBoot\x1b[02;01H\x1b[03;01Hnow"]), "Boot\nnow");
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let whole = "x\x1b[1;32m\u{25cf}\r\n\x1b]0;title\x07ok \u{1f5a5}\r.".as_bytes();
        for cut in 0..whole.len() {
            assert_eq!(
                clean(&[&whole[..cut], &whole[cut..]]),
                "x\u{25cf}\nok \u{1f5a5}\n.",
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        assert_eq!(clean(&[b"a\xffb\xe2\x97c\0\x08d"]), "a\u{fffd}b\u{fffd}cd");
    }
}
