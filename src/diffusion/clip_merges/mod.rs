//! CLIP's vocabulary (Radford et al. 2021, arXiv 2103.00020), built from the pairs its tokenizer merges.
//!
//! `merges.txt.gz` has the first 48,894 pairs of `bpe_simple_vocab_16e6.txt.gz`, the ones CLIP uses, taken from
//! open_clip_torch 3.3.0 (MIT, see `LICENSE` beside it).

use std::io::{self, Read as _};

use tokenizers::models::bpe::{Merges, Vocab};

const MERGES: &[u8] = include_bytes!("merges.txt.gz");

/// The vocabulary in CLIP's order (bytes, bytes that end a word, merged pairs, the two ends of a text), and the merges.
pub(super) fn vocab_and_merges() -> io::Result<(Vocab, Merges)> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(MERGES).read_to_string(&mut text)?;
    let merges: Merges =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let bytes = byte_symbols().map(String::from);
    let ends = bytes.iter().map(|symbol| format!("{symbol}</w>"));
    let pairs = merges.iter().map(|(a, b)| format!("{a}{b}"));
    let specials = ["<|startoftext|>", "<|endoftext|>"].map(String::from);
    let names = bytes.iter().cloned().chain(ends).chain(pairs).chain(specials);
    Ok((names.zip(0..).collect(), merges))
}

/// The characters that stand for the 256 bytes: those that can be printed for themselves, then others for the rest.
fn byte_symbols() -> [char; 256] {
    let printable = (0x21..=0x7e).chain(0xa1..=0xac).chain(0xae..=0xff_u32);
    let rest = 256 - printable.clone().count();
    let mut symbols = printable.chain((256..).take(rest)).filter_map(char::from_u32);
    std::array::from_fn(|_| symbols.next().unwrap_or_default())
}
