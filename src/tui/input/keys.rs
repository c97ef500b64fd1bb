//! What a piece of what the terminal sends means: a key, the mouse, a paste, an answer. The keys are those that crossterm
//! knows, and the keys of kitty's keyboard protocol.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::bytes::Piece;

/// What the terminal tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// A key, a paste, a click.
    Event(Event),
    /// A key whose layout has other letters than Latin ones, and the Latin key at its place.
    Foreign(KeyEvent, KeyEvent),
    /// What it was asked.
    Answer(Answer),
}

/// An answer of the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is well: it has drawn all that came before.
    Status,
    /// Its attributes, as in `64;4`: the last answer to several questions.
    Attributes(String),
    /// Its name and version.
    Version(String),
    /// The colour of its background, as in `rgb:1212/1212/1212`.
    Background(String),
    /// Whether it knows kitty's graphics.
    Graphics(bool),
    /// It knows kitty's keyboard protocol.
    Keyboard,
    /// The column of the cursor, from 1.
    Column(u16),
}

/// What `piece` tells; nothing where it means nothing here.
pub fn told(piece: Piece) -> Vec<Sent> {
    let one = |event: Option<Event>| event.map(Sent::Event).into_iter().collect();
    match piece {
        Piece::Escape => one(Some(Event::Key(KeyCode::Esc.into()))),
        Piece::Letter(letter, alt) => {
            let key = letter_key(letter);
            one(Some(Event::Key(if alt {
                KeyEvent { modifiers: key.modifiers | KeyModifiers::ALT, ..key }
            } else {
                key
            })))
        }
        Piece::Ss3(last) => one(plain(last).map(|code| Event::Key(code.into()))),
        Piece::Console(last @ b'A'..=b'E') => one(Some(Event::Key(KeyCode::F(1 + last - b'A').into()))),
        Piece::Console(_) => Vec::new(),
        Piece::Mouse([button, x, y]) => {
            let place = |byte: u8| u16::from(byte.saturating_sub(33));
            one(button.checked_sub(32).and_then(|button| mouse(button, place(x), place(y), false)))
        }
        Piece::Paste(text) => one(Some(Event::Paste(text))),
        Piece::Text(kind, text) => {
            answer(kind, &String::from_utf8_lossy(&text)).map(Sent::Answer).into_iter().collect()
        }
        Piece::Csi(body, last) => csi(&String::from_utf8_lossy(&body), last),
    }
}

/// An answer that is text.
fn answer(kind: u8, text: &str) -> Option<Answer> {
    match kind {
        b']' => text.strip_prefix("11;").map(|colour| Answer::Background(colour.into())),
        b'P' => text.strip_prefix(">|").map(|version| Answer::Version(version.into())),
        _ => Some(Answer::Graphics(text.ends_with(";OK"))),
    }
}

/// A key of one character. Control characters are letters with Ctrl, as terminals send them.
fn letter_key(letter: char) -> KeyEvent {
    let control = |first: char, from: u8| {
        let code = char::from((letter as u8) - from + first as u8);
        KeyEvent::new(KeyCode::Char(code), KeyModifiers::CONTROL)
    };
    match letter {
        '\r' => KeyCode::Enter.into(),
        '\t' => KeyCode::Tab.into(),
        '\x7f' => KeyCode::Backspace.into(),
        '\0' => KeyEvent::new(KeyCode::Char(' '), KeyModifiers::CONTROL),
        '\x01'..='\x1a' => control('a', 1),
        '\x1c'..='\x1f' => control('4', 0x1c),
        _ if letter.is_uppercase() => KeyEvent::new(KeyCode::Char(letter), KeyModifiers::SHIFT),
        _ => KeyCode::Char(letter).into(),
    }
}

/// The key that a last byte alone stands for.
fn plain(last: u8) -> Option<KeyCode> {
    Some(match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'E' => KeyCode::KeypadBegin,
        b'F' => KeyCode::End,
        b'H' => KeyCode::Home,
        b'M' => KeyCode::Enter,
        b'P'..=b'S' => KeyCode::F(1 + last - b'P'),
        _ => return None,
    })
}

/// What `ESC [`, `body` and `last` tell.
fn csi(body: &str, last: u8) -> Vec<Sent> {
    let fields: Vec<&str> = body.split(';').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.split(':').next()?.parse::<u32>().ok());
    let (modifiers, kind) = held(fields.get(1).copied().unwrap_or_default());
    let key = |code| Sent::Event(Event::Key(KeyEvent::new_with_kind(code, modifiers, kind)));
    let told = match last {
        b'n' if body == "0" => Some(Sent::Answer(Answer::Status)),
        b'c' => body.strip_prefix('?').map(|attributes| Sent::Answer(Answer::Attributes(attributes.into()))),
        b'u' if body.starts_with('?') => Some(Sent::Answer(Answer::Keyboard)),
        b'u' => return kitty_key(&fields, modifiers, kind),
        // F3 with a modifier looks alike on the first line; but it is not asked for there.
        b'R' if fields.len() == 2 && number(0).is_some() => {
            number(1).map(|column| Sent::Answer(Answer::Column(u16::try_from(column).unwrap_or(u16::MAX))))
        }
        b'M' | b'm' => mouse_of(body, last),
        b'I' if body.is_empty() => Some(Sent::Event(Event::FocusGained)),
        b'O' if body.is_empty() => Some(Sent::Event(Event::FocusLost)),
        b'Z' => Some(Sent::Event(Event::Key(KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT)))),
        b'~' => number(0).and_then(numbered).map(key),
        b'A'..=b'F' | b'H' | b'P'..=b'S' if body.is_empty() || number(0).is_some() => plain(last).map(key),
        _ => None,
    };
    told.into_iter().collect()
}

/// Modifiers and what was done with the key, as in `5:3`.
fn held(field: &str) -> (KeyModifiers, KeyEventKind) {
    let mut parts = field.split(':').map(|part| part.parse::<u16>().ok());
    let bits = parts.next().flatten().map_or(0, |mask| mask.saturating_sub(1));
    let all = [
        KeyModifiers::SHIFT,
        KeyModifiers::ALT,
        KeyModifiers::CONTROL,
        KeyModifiers::SUPER,
        KeyModifiers::HYPER,
        KeyModifiers::META,
    ];
    let modifiers = all.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, modifier)| modifier);
    let kind = match parts.next().flatten() {
        Some(2) => KeyEventKind::Repeat,
        Some(3) => KeyEventKind::Release,
        _ => KeyEventKind::Press,
    };
    (modifiers.collect(), kind)
}

/// The key of this number, as in `ESC [ 5 ~`.
fn numbered(number: u32) -> Option<KeyCode> {
    Some(match number {
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => KeyCode::F(number as u8 - 10),
        17..=21 => KeyCode::F(number as u8 - 11),
        23..=26 => KeyCode::F(number as u8 - 12),
        28..=29 => KeyCode::F(number as u8 - 15),
        31..=34 => KeyCode::F(number as u8 - 17),
        57427 => KeyCode::KeypadBegin,
        _ => return None,
    })
}

/// A key of kitty's protocol: its code, with Shift, and at its place on a Latin keyboard; the modifiers; the text it types.
fn kitty_key(fields: &[&str], modifiers: KeyModifiers, kind: KeyEventKind) -> Vec<Sent> {
    let letter = |number: Option<&str>| number?.parse::<u32>().ok().and_then(char::from_u32);
    let mut codes = fields.first().copied().unwrap_or_default().split(':');
    let (code, shifted, latin) = (letter(codes.next()), letter(codes.next()), letter(codes.next()));
    let text: Vec<char> =
        fields.get(2).into_iter().flat_map(|text| text.split(':')).filter_map(|c| letter(Some(c))).collect();
    let key = |code, modifiers| KeyEvent::new_with_kind(code, modifiers, kind);
    let event = |code, modifiers| Sent::Event(Event::Key(key(code, modifiers)));
    let shift = modifiers.contains(KeyModifiers::SHIFT);
    let plain = match code {
        Some('\x1b') => Some(KeyCode::Esc),
        Some('\r') => Some(KeyCode::Enter),
        Some('\t') => Some(if shift { KeyCode::BackTab } else { KeyCode::Tab }),
        Some('\x7f') => Some(KeyCode::Backspace),
        Some(code @ '\u{e000}'..='\u{f8ff}') if text.is_empty() => match functional(code as u32) {
            Some(code) => Some(code),
            // Modifiers alone, and keys for music.
            None => return Vec::new(),
        },
        _ => None,
    };
    if let Some(code) = plain {
        return vec![event(code, modifiers)];
    }
    let commands = modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SUPER);
    let latin = latin.filter(char::is_ascii_graphic);
    let at_latin = latin.map(|latin| if shift { us_shifted(latin) } else { latin });
    if text.len() > 1 {
        return text.into_iter().map(|letter| event(KeyCode::Char(letter), modifiers)).collect();
    }
    let upper = |letter: char| if shift { letter.to_uppercase().next().unwrap_or(letter) } else { letter };
    let typed = text.first().copied().or(shifted.filter(|_| shift)).or(code.filter(|code| *code != '\0').map(upper));
    let Some(typed) = typed.filter(|typed| !typed.is_control()) else { return Vec::new() };
    match at_latin.filter(|_| !typed.is_ascii()) {
        Some(latin) if commands => vec![event(KeyCode::Char(latin), modifiers)],
        Some(latin) => vec![Sent::Foreign(key(KeyCode::Char(typed), modifiers), key(KeyCode::Char(latin), modifiers))],
        None => vec![event(KeyCode::Char(typed), modifiers)],
    }
}

/// What Shift makes of a key of a US keyboard.
fn us_shifted(key: char) -> char {
    const PAIRS: &str = "`~1!2@3#4$5%6^7&8*9(0)-_=+[{]}\\|;:'\",<.>/?";
    let pairs: Vec<char> = PAIRS.chars().collect();
    pairs.chunks_exact(2).find(|pair| pair[0] == key).map_or(key.to_ascii_uppercase(), |pair| pair[1])
}

/// The keys that kitty's protocol gives numbers of their own, as far as they do something here.
fn functional(number: u32) -> Option<KeyCode> {
    const KEYPAD: &[u8] = b"0123456789./*-+";
    Some(match number {
        57376..=57398 => KeyCode::F((number - 57376) as u8 + 13),
        57399..=57413 => KeyCode::Char(char::from(KEYPAD[(number - 57399) as usize])),
        57414 => KeyCode::Enter,
        57415 => KeyCode::Char('='),
        57416 => KeyCode::Char(','),
        57417 => KeyCode::Left,
        57418 => KeyCode::Right,
        57419 => KeyCode::Up,
        57420 => KeyCode::Down,
        57421 => KeyCode::PageUp,
        57422 => KeyCode::PageDown,
        57423 => KeyCode::Home,
        57424 => KeyCode::End,
        57425 => KeyCode::Insert,
        57426 => KeyCode::Delete,
        57427 => KeyCode::KeypadBegin,
        _ => return None,
    })
}

/// The mouse as in `<0;3;4`, or with the numbers alone.
fn mouse_of(body: &str, last: u8) -> Option<Sent> {
    let (numbers, offset) = match body.strip_prefix('<') {
        Some(numbers) => (numbers, 0),
        None => (body, 32),
    };
    let mut numbers = numbers.split(';').map(|number| number.parse::<u16>().ok());
    let (button, x, y) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let button = u8::try_from(button).ok()?.checked_sub(offset)?;
    mouse(button, x.saturating_sub(1), y.saturating_sub(1), last == b'm').map(Sent::Event)
}

/// What the mouse did: the buttons and modifiers are bits of `button`.
fn mouse(button: u8, column: u16, row: u16, up: bool) -> Option<Event> {
    let which = |number| match number {
        0 => MouseButton::Left,
        1 => MouseButton::Middle,
        _ => MouseButton::Right,
    };
    let kind = match (button & 0b11 | (button & 0b1100_0000) >> 4, button & 0b10_0000 != 0) {
        (number @ 0..=2, false) if up => MouseEventKind::Up(which(number)),
        (number @ 0..=2, false) => MouseEventKind::Down(which(number)),
        (number @ 0..=2, true) => MouseEventKind::Drag(which(number)),
        (3, false) => MouseEventKind::Up(MouseButton::Left),
        (3..=5, true) => MouseEventKind::Moved,
        (4, false) => MouseEventKind::ScrollUp,
        (5, false) => MouseEventKind::ScrollDown,
        (6, false) => MouseEventKind::ScrollLeft,
        (7, false) => MouseEventKind::ScrollRight,
        _ => return None,
    };
    let bits = [(0b100, KeyModifiers::SHIFT), (0b1000, KeyModifiers::ALT), (0b1_0000, KeyModifiers::CONTROL)];
    let modifiers = bits.into_iter().filter(|(bit, _)| button & bit != 0).map(|(_, modifier)| modifier).collect();
    Some(Event::Mouse(MouseEvent { kind, column, row, modifiers }))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::bytes::Bytes;
    use super::*;

    /// What `sent` tells.
    fn all(sent: &str) -> Vec<Sent> {
        let now = Instant::now();
        let (mut bytes, mut pieces) = (Bytes::new(now), Vec::new());
        sent.bytes().for_each(|byte| bytes.take(byte, now, &mut pieces));
        bytes.expire(&mut pieces);
        pieces.into_iter().flat_map(told).collect()
    }

    fn keys(sent: &str) -> Vec<(KeyCode, KeyModifiers)> {
        let key = |told| match told {
            Sent::Event(Event::Key(key)) => (key.code, key.modifiers),
            other => panic!("{other:?} of {sent:?}"),
        };
        all(sent).into_iter().map(key).collect()
    }

    const NONE: KeyModifiers = KeyModifiers::NONE;
    const SHIFT: KeyModifiers = KeyModifiers::SHIFT;
    const CONTROL: KeyModifiers = KeyModifiers::CONTROL;
    const ALT: KeyModifiers = KeyModifiers::ALT;

    #[test]
    fn every_key_is_known_in_its_old_form_and_in_kittys() {
        use KeyCode::*;
        let cases: &[(&str, KeyCode, KeyModifiers)] = &[
            ("a", Char('a'), NONE),
            ("A", Char('A'), SHIFT),
            ("é", Char('é'), NONE),
            ("\r", Enter, NONE),
            ("\t", Tab, NONE),
            ("\x7f", Backspace, NONE),
            ("\x03", Char('c'), CONTROL),
            ("\n", Char('j'), CONTROL),
            ("\x1f", Char('7'), CONTROL),
            ("\0", Char(' '), CONTROL),
            ("\x1b", Esc, NONE),
            ("\x1bx", Char('x'), ALT),
            ("\x1b[A", Up, NONE),
            ("\x1bOB", Down, NONE),
            ("\x1b[1;5C", Right, CONTROL),
            ("\x1b[1;2D", Left, SHIFT),
            ("\x1b[H", Home, NONE),
            ("\x1b[4~", End, NONE),
            ("\x1b[3;5~", Delete, CONTROL),
            ("\x1b[5~", PageUp, NONE),
            ("\x1b[Z", BackTab, SHIFT),
            ("\x1bOP", F(1), NONE),
            ("\x1b[[A", F(1), NONE),
            ("\x1b[15~", F(5), NONE),
            ("\x1b[24~", F(12), NONE),
            ("\x1b[27u", Esc, NONE),
            ("\x1b[13u", Enter, NONE),
            ("\x1b[9;2u", BackTab, SHIFT),
            ("\x1b[127u", Backspace, NONE),
            ("\x1b[97;;97u", Char('a'), NONE),
            ("\x1b[97:65;2;65u", Char('A'), SHIFT),
            ("\x1b[97:65;2u", Char('A'), SHIFT),
            ("\x1b[97;2u", Char('A'), SHIFT),
            ("\x1b[97;65;65u", Char('A'), NONE),
            ("\x1b[99;5u", Char('c'), CONTROL),
            ("\x1b[1089::99;5u", Char('c'), CONTROL),
            ("\x1b[47:63;2;63u", Char('?'), SHIFT),
            ("\x1b[57399;129;48u", Char('0'), NONE),
            ("\x1b[57417u", Left, NONE),
            ("\x1b[1;1:2A", Up, NONE),
        ];
        for (sent, code, modifiers) in cases {
            assert_eq!(keys(sent), [(*code, *modifiers)], "{sent:?}");
        }
        assert_eq!(keys("\x1b[0;;97:98u"), [(Char('a'), NONE), (Char('b'), NONE)], "typed with an input method");
        assert_eq!(all("\x1b[57441;2u"), [], "Shift alone");
    }

    #[test]
    fn a_letter_of_another_layout_brings_the_latin_one_at_its_place() {
        for (sent, typed, latin) in [
            ("\x1b[1081::113;;1081u", 'й', 'q'),
            ("\x1b[1081:1049:113;2;1049u", 'Й', 'Q'),
            ("\x1b[1078:1046:59;2;1046u", 'Ж', ':'),
        ] {
            let told = all(sent);
            let [Sent::Foreign(key, at)] = &told[..] else { panic!("{told:?}") };
            assert_eq!((key.code, at.code), (KeyCode::Char(typed), KeyCode::Char(latin)));
        }
    }

    #[test]
    fn answers_are_no_keys_and_what_is_unknown_is_nothing() {
        let answer = |sent| match &all(sent)[..] {
            [Sent::Answer(answer)] => answer.clone(),
            other => panic!("{other:?} of {sent:?}"),
        };
        assert_eq!(answer("\x1b[0n"), Answer::Status);
        assert_eq!(answer("\x1b[?64;1;4c"), Answer::Attributes("64;1;4".into()));
        assert_eq!(answer("\x1bP>|WezTerm 2024\x1b\\"), Answer::Version("WezTerm 2024".into()));
        assert_eq!(answer("\x1b]11;rgb:12/12/12\x07"), Answer::Background("rgb:12/12/12".into()));
        assert_eq!(answer("\x1b_Gi=31;OK\x1b\\"), Answer::Graphics(true));
        assert_eq!(answer("\x1b_Gi=31;ENOTSUP:no\x1b\\"), Answer::Graphics(false));
        assert_eq!(answer("\x1b[?0u"), Answer::Keyboard);
        assert_eq!(answer("\x1b[1;3R"), Answer::Column(3));
        for odd in
            ["\x1b[>1;2c", "\x1b[3n", "\x1b]52;c;aGk=\x07", "\x1b[?2026;2$y", "\x1b[z", "\x1b[<1M", "\x1b[99999999999~"]
        {
            assert_eq!(all(odd), [], "{odd:?}");
        }
    }

    #[test]
    fn the_mouse_is_known_in_each_of_its_forms() {
        let mouse = |sent| match &all(sent)[..] {
            [Sent::Event(Event::Mouse(mouse))] => (mouse.kind, mouse.column, mouse.row),
            other => panic!("{other:?} of {sent:?}"),
        };
        let left = MouseButton::Left;
        assert_eq!(mouse("\x1b[<0;36;10M"), (MouseEventKind::Down(left), 35, 9));
        assert_eq!(mouse("\x1b[<0;36;10m"), (MouseEventKind::Up(left), 35, 9));
        assert_eq!(mouse("\x1b[<32;300;10M"), (MouseEventKind::Drag(left), 299, 9));
        assert_eq!(mouse("\x1b[<65;1;1M"), (MouseEventKind::ScrollDown, 0, 0));
        assert_eq!(mouse("\x1b[32;3;4M"), (MouseEventKind::Down(left), 2, 3));
        assert_eq!(mouse("\x1b[M #$"), (MouseEventKind::Down(left), 2, 3));
    }
}
