//! How much each part of a prompt counts: `(text:1.2)`, as the AUTOMATIC1111 web UI applies it. The hidden state of each token
//! is multiplied with its weight, then all of them with what gives back their mean.
//!
//! Only parentheses that end in a colon and a number are weights; they may be nested, and their weights multiply. All others
//! stand for themselves, as do `\(` and `\)`.

use std::collections::HashMap;

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

/// A pair of parentheses that is a weight.
struct Weighted {
    weight: f32,
    /// Byte position of its colon.
    colon: usize,
}

/// The parts of `prompt` without the syntax of weights. A prompt without weights is one part.
pub fn pieces(prompt: &str) -> Result<Vec<Piece>> {
    let (opened, mut closed) = (weighted(prompt), HashMap::new());
    for pair in opened.values() {
        let close = prompt[pair.colon..].find(')').map_or(prompt.len(), |length| pair.colon + length);
        closed.insert(pair.colon, close);
    }
    let mut pieces = vec![Piece { text: String::new(), weight: 1.0 }];
    let mut weights = vec![1.0];
    let mut rest = prompt.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if let Some(pair) = opened.get(&at) {
            let weight = weights.last().copied().unwrap_or(1.0) * pair.weight;
            if !(-LARGEST..=LARGEST).contains(&weight) {
                let cause = format!("weighs a part with {weight}: weights must be in -{LARGEST}..={LARGEST}");
                return Err(Error::Prompt { prompt: prompt.into(), cause });
            }
            weights.push(weight);
        } else if let Some(&close) = closed.get(&at) {
            while rest.next_if(|(at, _)| *at <= close).is_some() {}
            weights.pop();
        } else {
            let escaped = (c == '\\').then(|| rest.next_if(|(_, next)| matches!(next, '(' | ')'))).flatten();
            let (weight, c) = (weights.last().copied().unwrap_or(1.0), escaped.map_or(c, |(_, c)| c));
            match pieces.last_mut() {
                Some(last) if last.weight.to_bits() == weight.to_bits() => last.text.push(c),
                _ => pieces.push(Piece { text: c.into(), weight }),
            }
        }
    }
    pieces.retain(|piece| !piece.text.is_empty());
    Ok(pieces)
}

/// The pairs of parentheses that are weights, by the byte position of their opening ones.
fn weighted(prompt: &str) -> HashMap<usize, Weighted> {
    let (mut found, mut open) = (HashMap::new(), Vec::new());
    // Where the text began that stands directly before the parenthesis to come.
    let mut began = 0;
    let mut escaped = false;
    for (at, c) in prompt.char_indices() {
        match c {
            '(' if !escaped => open.push(at),
            ')' if !escaped => {
                let inner = &prompt[began..at];
                let weight = inner.rfind(':').and_then(|colon| Some((began + colon, number(&inner[colon + 1..])?)));
                if let (Some(start), Some((colon, weight))) = (open.pop(), weight) {
                    found.insert(start, Weighted { weight, colon });
                }
            }
            _ => {
                escaped = c == '\\' && !escaped;
                continue;
            }
        }
        (began, escaped) = (at + 1, false);
    }
    found
}

fn number(text: &str) -> Option<f32> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| text.parse().ok())?
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

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(prompt in r"[a(): .1\\é]{0,40}") {
            if let Ok(pieces) = pieces(&prompt) {
                let text: String = pieces.into_iter().map(|piece| piece.text).collect();
                prop_assert!(text.len() <= prompt.len());
            }
        }
    }
}
