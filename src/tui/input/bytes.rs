//! Cuts what a terminal sends into pieces: letters, the Escape key, sequences, pastes. A sequence that has begun is finished or
//! dropped, however slowly its bytes come; only the Escape key, which is how all of them begin, is told by time.

use std::time::{Duration, Instant};

/// So long after an Escape a letter is one with Alt; the two are then one key.
const ALT: Duration = Duration::from_millis(50);
/// What has begun and gets no more bytes for so long is dropped.
const DROP: Duration = Duration::from_secs(2);
/// Bytes of an answer that are kept, and of a paste.
const ANSWER: usize = 4096;
const PASTE: usize = 1 << 20;
/// What ends a paste.
const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// A piece of what a terminal sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The Escape key.
    Escape,
    /// A letter or a control character, and whether Alt was held.
    Letter(char, bool),
    /// `ESC [`, what is between, and the last byte.
    Csi(Vec<u8>, u8),
    /// `ESC O` and this.
    Ss3(u8),
    /// `ESC [ [` and this: F1 to F5 of the Linux console.
    Console(u8),
    /// `ESC [ M` and these three: a mouse that counts to 223.
    Mouse([u8; 3]),
    /// `ESC` and this, then text up to its end: an answer.
    Text(u8, Vec<u8>),
    /// What was pasted.
    Paste(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    Csi,
    Ss3,
    Console,
    Mouse,
    /// The first byte tells whether it is an answer, or a key with Alt.
    TextBegins(u8),
    Text(u8),
    TextEnds(u8),
    /// So many bytes of its end have come.
    Paste(usize),
    /// A letter of this many bytes, and whether Alt was held.
    Letter(usize, bool),
}

/// What has come and is no whole piece yet.
pub struct Bytes {
    state: State,
    held: Vec<u8>,
    /// When the last byte came.
    last: Instant,
    /// The longest time between two bytes of one sequence.
    gap: Duration,
}

impl Bytes {
    /// Nothing has come.
    pub fn new(now: Instant) -> Self {
        Self { state: State::Ground, held: Vec::new(), last: now, gap: Duration::ZERO }
    }

    /// Whether a piece has begun.
    pub fn has_begun(&self) -> bool {
        self.state != State::Ground
    }

    /// The longest time between two bytes of one sequence so far.
    pub fn gap(&self) -> Duration {
        self.gap
    }

    /// How much longer what has begun may take; an Escape alone waits for `escape`. None where nothing has begun.
    pub fn patience(&self, now: Instant, escape: Duration) -> Option<Duration> {
        let limit = match self.state {
            State::Ground => return None,
            State::Escape => escape,
            _ => DROP,
        };
        Some(limit.saturating_sub(now.saturating_duration_since(self.last)))
    }

    /// No byte came for as long as [`Bytes::patience`] said.
    pub fn expire(&mut self, pieces: &mut Vec<Piece>) {
        match self.state {
            State::Escape => pieces.push(Piece::Escape),
            State::Paste(_) => pieces.push(self.paste()),
            _ => {}
        }
        self.begin(State::Ground);
    }

    /// This byte has come.
    pub fn take(&mut self, byte: u8, now: Instant, pieces: &mut Vec<Piece>) {
        let gap = now.saturating_duration_since(self.last);
        self.last = now;
        match self.state {
            State::Ground => self.ground(byte, pieces),
            State::Escape => self.after_escape(byte, gap, pieces),
            State::Csi => {
                self.gap = self.gap.max(gap);
                self.csi(byte, pieces);
            }
            State::Ss3 => match byte {
                0x1b => self.begin(State::Escape),
                b'0'..=b'9' | b';' => {}
                _ => self.end(Piece::Ss3(byte), pieces),
            },
            State::Console => self.end(Piece::Console(byte), pieces),
            State::Mouse => {
                self.held.push(byte);
                if let [button, x, y] = self.held[..] {
                    self.end(Piece::Mouse([button, x, y]), pieces);
                }
            }
            State::TextBegins(kind) => {
                let begins = match kind {
                    b']' => byte.is_ascii_digit(),
                    b'P' => byte.is_ascii_digit() || b">!+?=$|".contains(&byte),
                    _ => byte == b'G',
                };
                if begins {
                    self.gap = self.gap.max(gap);
                    self.begin(State::Text(kind));
                    self.held.push(byte);
                } else {
                    self.end(Piece::Letter(char::from(kind), true), pieces);
                    self.ground(byte, pieces);
                }
            }
            State::Text(kind) => {
                self.gap = self.gap.max(gap);
                match byte {
                    0x07 => self.end_text(kind, pieces),
                    0x1b => self.state = State::TextEnds(kind),
                    0x18 | 0x1a => self.begin(State::Ground),
                    _ if self.held.len() < ANSWER => self.held.push(byte),
                    _ => {}
                }
            }
            State::TextEnds(kind) => {
                self.end_text(kind, pieces);
                if byte != b'\\' {
                    // Something else has begun instead of the end.
                    self.after_escape(byte, gap, pieces);
                }
            }
            State::Paste(matched) => self.pasted(byte, matched, pieces),
            State::Letter(length, alt) => {
                if !(0x80..0xc0).contains(&byte) {
                    self.begin(State::Ground);
                    return self.ground(byte, pieces);
                }
                self.held.push(byte);
                if self.held.len() == length {
                    let letter = std::str::from_utf8(&self.held).ok().and_then(|text| text.chars().next());
                    self.begin(State::Ground);
                    pieces.extend(letter.map(|letter| Piece::Letter(letter, alt)));
                }
            }
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.held.clear();
    }

    fn end(&mut self, piece: Piece, pieces: &mut Vec<Piece>) {
        self.begin(State::Ground);
        pieces.push(piece);
    }

    fn end_text(&mut self, kind: u8, pieces: &mut Vec<Piece>) {
        let text = std::mem::take(&mut self.held);
        self.end(Piece::Text(kind, text), pieces);
    }

    fn ground(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if byte == 0x1b { self.begin(State::Escape) } else { self.letter(byte, false, pieces) }
    }

    fn letter(&mut self, byte: u8, alt: bool, pieces: &mut Vec<Piece>) {
        let length = match byte {
            0x00..=0x7f => return self.end(Piece::Letter(char::from(byte), alt), pieces),
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            // No letter begins so.
            _ => return self.begin(State::Ground),
        };
        self.begin(State::Letter(length, alt));
        self.held.push(byte);
    }

    fn after_escape(&mut self, byte: u8, gap: Duration, pieces: &mut Vec<Piece>) {
        match byte {
            b'[' => self.begin(State::Csi),
            b'O' => self.begin(State::Ss3),
            b']' | b'P' | b'_' => self.begin(State::TextBegins(byte)),
            0x1b => {
                self.end(Piece::Escape, pieces);
                return self.begin(State::Escape);
            }
            _ if gap <= ALT => return self.letter(byte, true, pieces),
            _ => {
                self.end(Piece::Escape, pieces);
                return self.letter(byte, false, pieces);
            }
        }
        self.gap = self.gap.max(gap);
    }

    fn csi(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        match byte {
            0x1b => self.begin(State::Escape),
            0x20..=0x3f => {
                if self.held.len() < ANSWER {
                    self.held.push(byte);
                }
            }
            b'M' if self.held.is_empty() => self.begin(State::Mouse),
            b'[' if self.held.is_empty() => self.begin(State::Console),
            b'~' if self.held == b"200" => self.begin(State::Paste(0)),
            0x40..=0x7e => {
                let held = std::mem::take(&mut self.held);
                self.end(Piece::Csi(held, byte), pieces);
            }
            // As terminals do: it is done, and the sequence goes on.
            0x00..=0x1f => pieces.push(Piece::Letter(char::from(byte), false)),
            0x7f => {}
            _ => self.letter(byte, false, pieces),
        }
    }

    fn pasted(&mut self, byte: u8, matched: usize, pieces: &mut Vec<Piece>) {
        if byte == PASTE_ENDS[matched] {
            self.state = State::Paste(matched + 1);
            if matched + 1 == PASTE_ENDS.len() {
                let piece = self.paste();
                self.end(piece, pieces);
            }
            return;
        }
        let begins = byte == PASTE_ENDS[0];
        if self.held.len() < PASTE {
            self.held.extend(&PASTE_ENDS[..matched]);
            self.held.extend((!begins).then_some(byte));
        }
        self.state = State::Paste(usize::from(begins));
    }

    fn paste(&mut self) -> Piece {
        Piece::Paste(String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of `sent`, whose bytes come so far apart; what is left over has its time to expire.
    fn pieces(sent: &[u8], apart: u64) -> Vec<Piece> {
        let mut now = Instant::now();
        let (mut bytes, mut pieces) = (Bytes::new(now), Vec::new());
        for &byte in sent {
            now += Duration::from_millis(apart);
            if bytes.patience(now, Duration::from_millis(400)) == Some(Duration::ZERO) {
                bytes.expire(&mut pieces);
            }
            bytes.take(byte, now, &mut pieces);
        }
        bytes.expire(&mut pieces);
        pieces
    }

    fn letter(letter: char) -> Piece {
        Piece::Letter(letter, false)
    }

    #[test]
    fn sequences_are_the_same_however_slowly_they_come() {
        let sent = b"j\x1b[0n\x1b]11;rgb:12/12/12\x1b\\\x1b[<0;3;4M\x1bOA\x1bP>|XTerm(390)\x1b\\\x1b[?64;4c\x1b[200~a\x1b[b\x1b[201~k";
        let whole = pieces(sent, 0);
        assert_eq!(whole.len(), 9);
        assert_eq!((&whole[0], &whole[8]), (&letter('j'), &letter('k')));
        assert_eq!(whole[1], Piece::Csi(b"0".to_vec(), b'n'));
        assert_eq!(whole[2], Piece::Text(b']', b"11;rgb:12/12/12".to_vec()));
        assert_eq!(whole[7], Piece::Paste("a\x1b[b".into()));
        for apart in [1, 20, 300] {
            assert_eq!(pieces(sent, apart), whole, "{apart} ms apart");
        }
    }

    #[test]
    fn escape_is_a_key_of_its_own() {
        assert_eq!(pieces(b"\x1b", 0), [Piece::Escape]);
        assert_eq!(pieces(b"\x1b\x1b[0n", 0), [Piece::Escape, Piece::Csi(b"0".to_vec(), b'n')]);
        assert_eq!(pieces(b"\x1bx", 1), [Piece::Letter('x', true)]);
        assert_eq!(pieces(b"\x1bx", 60), [Piece::Escape, letter('x')]);
        assert_eq!(pieces("\x1bé".as_bytes(), 1), [Piece::Letter('é', true)]);
        assert_eq!(pieces(b"\x1b]x", 1), [Piece::Letter(']', true), letter('x')]);
    }

    #[test]
    fn what_never_ends_is_dropped() {
        for begun in [&b"\x1b["[..], b"\x1b[12;", b"\x1b]11;rgb", b"\x1bP>|", b"\x1bO", b"\xc3", b"\x1b[M!"] {
            assert_eq!(pieces(begun, 0), [], "{begun:?}");
            let (now, mut found) = (Instant::now(), Vec::new());
            let mut bytes = Bytes::new(now);
            begun.iter().for_each(|byte| bytes.take(*byte, now, &mut found));
            assert_eq!(bytes.patience(now + DROP / 2, ALT), Some(DROP / 2));
            bytes.expire(&mut found);
            bytes.take(b'j', now + DROP, &mut found);
            assert_eq!(found, [letter('j')], "{begun:?}");
        }
        assert_eq!(pieces(b"\xff\xc3j", 0), [letter('j')]);
    }

    #[test]
    fn a_paste_of_any_size_ends_and_is_bounded() {
        let sent = [b"\x1b[200~".to_vec(), vec![b'a'; PASTE + 100], b"\x1b[201~q".to_vec()].concat();
        let pieces = pieces(&sent, 0);
        assert!(matches!(&pieces[..], [Piece::Paste(text), q] if text.len() == PASTE && *q == letter('q')));
    }
}
