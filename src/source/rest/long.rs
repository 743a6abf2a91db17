//! A body as it comes, with its long texts shortened on the way: what is kept of it is bounded,
//! whatever is sent. Pure.
//!
//! For a kill alone: its reason is cut anyway, so a long one need not keep it from being read. Only
//! text is left out: what it stops and whether it is confirmed are read as they stand, or not at
//! all.

/// Most that is kept of one text, bytes. The longest reason fits, each of its characters written as
/// two escapes.
const TEXT: usize = 16 * 1024;

/// A document that is being read.
#[derive(Debug, Default)]
pub struct Shortened {
    kept: Vec<u8>,
    seen: usize,
    /// In a text: how much of it there was.
    text: Option<usize>,
    /// Bytes that belong to the escape at hand, and whether they are digits.
    escape: (u8, bool),
    dropping: bool,
}

impl Shortened {
    /// Reads on.
    pub fn take(&mut self, bytes: &[u8]) {
        self.seen += bytes.len();
        for byte in bytes {
            self.next(*byte);
        }
    }

    /// Bytes that came.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// What is kept of them.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    fn next(&mut self, byte: u8) {
        let Some(length) = self.text else {
            self.text = (byte == b'"').then_some(0);
            self.kept.push(byte);
            return;
        };
        let ends = self.begins_anew(byte) && {
            self.dropping = length >= TEXT;
            byte == b'"'
        };
        self.text = (!ends).then_some(length + 1);
        if ends || !self.dropping {
            self.kept.push(byte);
        }
    }

    /// Whether a character begins here, or an escape goes on.
    fn begins_anew(&mut self, byte: u8) -> bool {
        match (self.escape, byte) {
            ((1, false), b'u') => self.escape = (4, true),
            ((1, false), _) => self.escape = (0, false),
            ((left @ 1.., true), _) if byte.is_ascii_hexdigit() => self.escape.0 = left - 1,
            (_, b'\\') => {
                self.escape = (1, false);
                return true;
            }
            _ => {
                self.escape = (0, false);
                return true;
            }
        }
        false
    }
}
