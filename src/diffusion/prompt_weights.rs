//! How much each part of a prompt counts: `(text:1.2)`, as the AUTOMATIC1111 web UI applies it. The hidden state of each token
//! is multiplied with its weight, then all of them with what gives back their mean.
//!
//! Only parentheses that end in a colon and a number are weights; they may be nested, and their weights multiply. All others
//! stand for themselves, as do square brackets. A backslash makes `(`, `)`, `[`, `]` and itself plain text; before anything
//! else it stands for itself. `tests/parity/prompt_weights.py` says in what the web UI differs.

use candle_core::{DType, Tensor};

use super::error::{Error, Result};

/// Weights beyond this, either way, are refused: nothing recognizable is left.
const LARGEST: f32 = 10.0;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// As the tokenizer reads it, side by side with the others.
    pub text: String,
    /// 1 where none is given.
    pub weight: f32,
}

/// What a prompt is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mark<'a> {
    /// Plain text, what is behind a backslash too.
    Text(&'a str),
    /// `(` of a weight, with it.
    Begin(f32),
    /// `:1.2)`, which ends the part of a weight.
    End,
    /// A parenthesis or bracket without a meaning here.
    Plain(char),
}

/// The marks of `prompt`, each with its byte position. Both [`pieces`] and what is told of a prompt go by these.
pub(super) fn marks(prompt: &str) -> Vec<(usize, Mark<'_>)> {
    let (mut marks, mut open) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(c) = prompt[at..].chars().next() {
        let rest = &prompt[at + c.len_utf8()..];
        let mut length = c.len_utf8();
        let mark = match c {
            '\\' => {
                let more = rest.len() - rest.trim_start_matches('\\').len();
                if rest[more..].starts_with('{') {
                    // Those before a brace are for who reads names.
                    length += more;
                    Mark::Text(&prompt[at..at + length])
                } else if rest.starts_with(['(', ')', '[', ']', '\\']) {
                    length = 2;
                    Mark::Text(&rest[..1])
                } else {
                    Mark::Text("\\")
                }
            }
            '(' => {
                open.push(marks.len());
                Mark::Plain(c)
            }
            ')' => {
                open.pop();
                Mark::Plain(c)
            }
            ':' => match weight(rest).filter(|_| !open.is_empty()) {
                Some((weight, more)) => {
                    length += more;
                    if let Some(begun) = open.pop() {
                        let (_, mark): &mut (usize, Mark<'_>) = &mut marks[begun];
                        *mark = Mark::Begin(weight);
                    }
                    Mark::End
                }
                None => Mark::Text(&prompt[at..=at]),
            },
            '[' | ']' => Mark::Plain(c),
            _ => Mark::Text(&prompt[at..at + length]),
        };
        marks.push((at, mark));
        at += length;
    }
    marks
}

/// The weight that stands between a colon and the `)` behind it, and how many bytes that is.
fn weight(rest: &str) -> Option<(f32, usize)> {
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c.is_whitespace() || "+-.".contains(c)))?;
    let text = rest[..end].trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| text.parse().ok())?;
    number.filter(|_| rest[end..].starts_with(')')).map(|weight| (weight, end + 1))
}

/// The parts of `prompt` without the syntax of weights. A prompt without weights is one part.
pub fn pieces(prompt: &str) -> Result<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut weights = vec![1.0];
    for (_, mark) in marks(prompt) {
        let weight = weights.last().copied().unwrap_or(1.0);
        let mut plain = [0; 4];
        let text = match mark {
            Mark::Begin(own) => {
                let weight = weight * own;
                if !(-LARGEST..=LARGEST).contains(&weight) {
                    let cause = format!("weighs a part with {weight}: weights must be in -{LARGEST}..={LARGEST}");
                    return Err(Error::Prompt { prompt: prompt.into(), cause });
                }
                weights.push(weight);
                continue;
            }
            Mark::End => {
                weights.pop();
                continue;
            }
            Mark::Text(text) => text,
            Mark::Plain(c) => c.encode_utf8(&mut plain),
        };
        match pieces.last_mut() {
            Some(last) if last.weight.to_bits() == weight.to_bits() => last.text.push_str(text),
            _ => pieces.push(Piece { text: text.into(), weight }),
        }
    }
    Ok(pieces)
}

/// `hidden` [1, T, D] with the weight of each token, its mean as before. Without weights it stays as it is, bit for bit.
pub fn emphasize(hidden: &Tensor, weights: &[f32]) -> Result<Tensor> {
    if weights.iter().all(|weight| weight.to_bits() == 1f32.to_bits()) {
        return Ok(hidden.clone());
    }
    let column = Tensor::from_slice(weights, (1, weights.len(), 1), hidden.device())?.to_dtype(hidden.dtype())?;
    let weighted = hidden.broadcast_mul(&column)?;
    let mean = |x: &Tensor| x.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>();
    let back = mean(hidden)? / mean(&weighted)?;
    // Where all weights are 0 there is no mean to give back.
    Ok(if back.is_finite() { weighted.affine(f64::from(back), 0.0)? } else { weighted })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;

    fn parts(prompt: &str) -> Vec<(String, f32)> {
        pieces(prompt).unwrap().into_iter().map(|piece| (piece.text, piece.weight)).collect()
    }

    fn part(text: &str, weight: f32) -> (String, f32) {
        (text.into(), weight)
    }

    #[test]
    fn parentheses_with_a_number_are_weights_and_others_are_text() {
        assert_eq!(parts("a (red:1.5) cat"), [part("a ", 1.0), part("red", 1.5), part(" cat", 1.0)]);
        assert_eq!(parts("(a (red:2) cat: 0.5)"), [part("a ", 0.5), part("red", 1.0), part(" cat", 0.5)]);
        assert_eq!(parts("(:1.2)"), []);
        for plain in
            ["", "a cat (on a mat)", "((masterpiece))", "(style: oil)", "(a:1.2.3)", "(a:", "a:1.2)", "(a:1e3)", ":)"]
        {
            assert_eq!(parts(plain), if plain.is_empty() { vec![] } else { vec![part(plain, 1.0)] });
        }
    }

    #[test]
    fn escaped_parentheses_are_text() {
        assert_eq!(parts(r"a \(red:1.5\) cat"), [part("a (red:1.5) cat", 1.0)]);
        assert_eq!(parts(r"(a \(b\):1.5) \o/"), [part("a (b)", 1.5), part(r" \o/", 1.0)]);
    }

    #[test]
    fn a_weight_that_leaves_nothing_is_refused() {
        for prompt in ["(a:11)", "(a:-11)", "((a:9):9)", "(a:99999999999999999999999999999999999999999999999)"] {
            assert!(pieces(prompt).unwrap_err().to_string().contains("-10..=10"), "{prompt}");
        }
    }

    #[test]
    fn the_mean_comes_back() {
        let hidden = Tensor::new(&[[[1f32, 2.0], [3.0, -1.0], [0.5, 0.5]]], &Device::Cpu).unwrap();
        let numbers = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(emphasize(&hidden, &[1.0; 3]).unwrap()), numbers(hidden.clone()));
        // Weighted: 1, 2, 6, -2, 0.5, 0.5 with the mean 8/6; it was 1.
        let got = numbers(emphasize(&hidden, &[1.0, 2.0, 1.0]).unwrap());
        let want = [1.0, 2.0, 6.0, -2.0, 0.5, 0.5].map(|x: f32| x * 6.0 / 8.0);
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        assert_eq!(numbers(emphasize(&hidden, &[0.0; 3]).unwrap()), [0.0; 6]);
    }

    #[test]
    fn a_backslash_that_is_escaped_escapes_nothing() {
        assert_eq!(parts(r"\\(red:1.5) cat"), [part("\\", 1.0), part("red", 1.5), part(" cat", 1.0)]);
        let nested = parts(r"(big \\(red:1.2) cat:1.5)");
        assert_eq!(nested, [part("big \\", 1.5), part("red", 1.5 * 1.2), part(" cat", 1.5)]);
        assert_eq!(parts(r"\\\(a:2) \[b\] [c]"), [part(r"\(a:2) [b] [c]", 1.0)]);
        assert_eq!(parts(r"\{concept} \\{concept} \\x"), [part(r"\{concept} \\{concept} \x", 1.0)], "names come later");
    }

    #[test]
    fn prompts_are_read_as_by_the_web_ui() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/prompt_weights.json");
        let cases: Vec<(String, Vec<(String, f64)>)> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.len() >= 400, "{}", cases.len());
        for (prompt, expected) in cases {
            let found = parts(&prompt);
            let texts = |parts: &mut dyn Iterator<Item = &str>| parts.map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(
                texts(&mut found.iter().map(|(text, _)| text.as_str())),
                texts(&mut expected.iter().map(|(text, _)| text.as_str())),
                "{prompt}"
            );
            for ((text, weight), (_, wanted)) in found.iter().zip(&expected) {
                assert!((f64::from(*weight) - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{text:?} of {prompt}");
            }
        }
    }

    /// A prompt that is read as these pieces.
    fn printed(pieces: &[Piece]) -> String {
        let mut printed = String::new();
        for piece in pieces {
            let plain = piece.text.chars().flat_map(|c| r"()[]\".contains(c).then_some('\\').into_iter().chain([c]));
            printed.extend(['(']);
            printed.extend(plain);
            printed.extend([":", &piece.weight.to_string(), ")"]);
        }
        printed
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(prompt in r"[a(): .1\\é\[\]{+-]{0,40}") {
            if let Ok(pieces) = pieces(&prompt) {
                let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
                prop_assert!(text.len() <= prompt.len());
                prop_assert!(pieces.iter().all(|piece| !piece.text.is_empty() && piece.weight.abs() <= LARGEST));
                prop_assert!(pieces.windows(2).all(|two| two[0].weight.to_bits() != two[1].weight.to_bits()));
            }
        }

        #[test]
        fn pieces_that_are_printed_are_read_again(prompt in r"[ab(): .12\\\[\]-]{0,30}|(\([a-c ]{0,4}){0,4}(:1\.5\)[a ]{0,2}){0,4}") {
            if let Ok(read) = pieces(&prompt) {
                prop_assert_eq!(pieces(&printed(&read)).unwrap(), read);
            }
        }

        #[test]
        fn text_without_marks_is_one_piece(text in r"[a-z é,.:0-9|<>_-]{1,40}") {
            prop_assert_eq!(pieces(&text).unwrap(), [Piece { text, weight: 1.0 }]);
        }
    }
}
