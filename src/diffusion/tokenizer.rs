//! CLIP's tokenizer, from `tokenizer.json`, from `vocab.json` and `merges.txt`, or built in, by the `tokenizers` crate.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, NormalizerWrapper, SplitDelimiterBehavior};

use super::clip_merges;
use super::error::{Error, Result};
use super::prompt_weights::Piece;
use super::weights::{bytes_of, read_json};
use crate::protocol::MAX_PROMPT;

const BOS: &str = "<|startoftext|>";
const EOS: &str = "<|endoftext|>";
/// How CLIP splits a text before its byte pairs are merged (Radford et al. 2021, released code).
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Text to token ids.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    max_length: usize,
    bos: u32,
    eos: u32,
    pad: u32,
    /// Words that embeddings have added: the id of each here, and the ids of its vectors in the text encoder.
    added: HashMap<u32, Range<u32>>,
}

/// One text, before it is cut: ids, and where in the text each comes from.
#[derive(Default)]
struct Encoded {
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
}

/// A part of a text that is read as these token ids, whatever is written there: a learned word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Where, in bytes.
    pub range: Range<usize>,
    /// As what.
    pub ids: Range<u32>,
}

/// A tokenized prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Start, words, end, padding: always the model's full length.
    pub ids: Vec<u32>,
    /// What did not fit, as written; empty when all did.
    pub cut: String,
}

/// The most bytes of a text that is cut into tokens: a prompt with class words for names, wherever it is from.
const MAX_TEXT: usize = 16 * MAX_PROMPT;

impl Tokenizer {
    /// Read the tokenizer in `folder` for a text encoder of `max_length` tokens.
    pub fn load(folder: &Path, max_length: usize) -> Result<Self> {
        let json = folder.join("tokenizer.json");
        let (path, inner) = if json.is_file() {
            let inner =
                tokenizers::Tokenizer::from_bytes(bytes_of(&json)?).map_err(|e| format_error(&json, &e.to_string()))?;
            (json, inner)
        } else {
            (folder.join("vocab.json"), from_vocab_and_merges(folder)?)
        };
        let pad_token = pad_token(folder)?.unwrap_or_else(|| EOS.into());
        Self::new(inner, &path, pad_token, max_length)
    }

    /// CLIP's own tokenizer, which pads with `pad`, for files that carry none.
    pub fn built_in(pad: &str, max_length: usize) -> Result<Self> {
        let path = Path::new("the built-in tokenizer");
        let (vocab, merges) = clip_merges::vocab_and_merges().map_err(|e| format_error(path, &e.to_string()))?;
        let bpe = BPE::builder().vocab_and_merges(vocab, merges);
        Self::new(from_bpe(bpe, path)?, path, pad.to_owned(), max_length)
    }

    fn new(mut inner: tokenizers::Tokenizer, path: &Path, pad_token: String, max_length: usize) -> Result<Self> {
        // Cutting and padding are done here, where what is cut can be told.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| format_error(path, &e.to_string()))?;
        let id =
            |token: &str| inner.token_to_id(token).ok_or_else(|| format_error(path, &format!("has no token {token}")));
        let (bos, eos) = (id(BOS)?, id(EOS)?);
        let pad = id(&pad_token)?;
        // As in transformers, the padding token means itself wherever a prompt has it: the "!" of SD 2.x.
        inner
            .add_special_tokens([AddedToken::from(pad_token, true)])
            .map_err(|e| format_error(path, &e.to_string()))?;
        if max_length < 3 {
            return Err(Error::Setting(format!("a text encoder of {max_length} tokens has no room for a word")));
        }
        Ok(Self { inner, max_length, bos, eos, pad, added: HashMap::new() })
    }

    /// Read `word` as the token `ids` from now on, whatever its case. `path`: the file it is from.
    pub fn add_word(&mut self, word: &str, ids: Range<usize>, path: &Path) -> Result<()> {
        let word = word.to_lowercase();
        if self.inner.token_to_id(&word).is_some() {
            let cause = format!("its word {word:?} is one the tokenizer has already: name another with FILE=WORD");
            return Err(format_error(path, &cause));
        }
        // A plain word must not be found within longer ones.
        let plain = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let single = plain(word.chars().next()) && plain(word.chars().next_back());
        let token = AddedToken::from(word.clone(), false).single_word(single);
        self.inner.add_tokens([token]).map_err(|e| format_error(path, &e.to_string()))?;
        let id = self.inner.token_to_id(&word).ok_or_else(|| format_error(path, "its word cannot be a token"))?;
        self.added.insert(id, ids.start as u32..ids.end as u32);
        Ok(())
    }

    /// One more than the highest id it gives.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// `prompt` with start and end, `spans` in it read as they say.
    fn encode(&self, prompt: &str, spans: &[Span]) -> Result<Encoded> {
        if spans.is_empty() {
            return self.encode_words(prompt, true);
        }
        let mut all = Encoded { ids: vec![self.bos], offsets: vec![(0, 0)] };
        let mut from = 0;
        let rest = Span { range: prompt.len()..prompt.len(), ids: 0..0 };
        for Span { range, ids } in spans.iter().chain([&rest]) {
            let words = self.encode_words(prompt.get(from..range.start).unwrap_or_default(), false)?;
            all.ids.extend(words.ids);
            all.offsets.extend(words.offsets.iter().map(|(start, end)| (from + start, from + end)));
            all.ids.extend(ids.clone());
            all.offsets.resize(all.ids.len(), (range.start, range.end));
            from = range.end;
        }
        all.ids.push(self.eos);
        all.offsets.push((0, 0));
        Ok(all)
    }

    fn encode_words(&self, prompt: &str, ends: bool) -> Result<Encoded> {
        if prompt.len() > MAX_TEXT {
            let begin = prompt.chars().take(40).chain(['…']).collect();
            let cause = format!("it is longer than {MAX_TEXT} bytes, which no text encoder reads: cut it");
            return Err(Error::Prompt { prompt: begin, cause });
        }
        let encoding = self.inner.encode(prompt, ends);
        let encoding = encoding.map_err(|e| Error::Prompt { prompt: prompt.into(), cause: e.to_string() })?;
        let mut encoded = Encoded::default();
        for (&id, &offsets) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            match self.added.get(&id) {
                Some(vectors) => encoded.ids.extend(vectors.clone()),
                None => encoded.ids.push(id),
            }
            encoded.offsets.resize(encoded.ids.len(), offsets);
        }
        Ok(encoded)
    }

    /// Tokens of `prompt` with start and end, before anything is cut.
    pub fn count(&self, prompt: &str) -> Result<usize> {
        Ok(self.encode(prompt, &[])?.ids.len())
    }

    /// Ids of `prompt`, cut or padded to the model's length.
    pub fn tokens(&self, prompt: &str) -> Result<Tokens> {
        self.tokens_with(prompt, &[])
    }

    /// The same with `spans` in it, in their order, read as they say.
    pub fn tokens_with(&self, prompt: &str, spans: &[Span]) -> Result<Tokens> {
        let Encoded { mut ids, offsets } = self.encode(prompt, spans)?;
        let mut cut = String::new();
        if ids.len() > self.max_length {
            let first_cut = offsets[self.max_length - 1].0;
            prompt.get(first_cut..).unwrap_or("").trim().clone_into(&mut cut);
            ids.truncate(self.max_length - 1);
            ids.push(self.eos);
        }
        ids.resize(self.max_length, self.pad);
        Ok(Tokens { ids, cut })
    }

    /// Positions of the tokens of the first `word` in `prompt` that stands by itself; none where it does not occur or was
    /// cut.
    pub fn positions_of(&self, prompt: &str, word: &str) -> Result<Vec<usize>> {
        let (haystack, needle) = (prompt.to_lowercase(), word.to_lowercase());
        let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        let found = haystack.match_indices(&needle).find(|(at, _)| {
            boundary(haystack[..*at].chars().next_back()) && boundary(haystack[at + needle.len()..].chars().next())
        });
        let Some((start, _)) = found.filter(|_| !needle.is_empty()) else { return Ok(Vec::new()) };
        self.positions_at(&haystack, start..start + needle.len())
    }

    /// Positions of the tokens of the bytes `range` of `prompt`; none where they were cut.
    pub fn positions_at(&self, prompt: &str, range: Range<usize>) -> Result<Vec<usize>> {
        let offsets = self.encode(prompt, &[])?.offsets.into_iter().enumerate().take(self.max_length - 1);
        let within = |&(_, (from, to)): &(usize, (usize, usize))| from < to && from < range.end && to > range.start;
        Ok(offsets.filter(within).map(|(i, _)| i).collect())
    }

    /// The weight of each token of the text that `pieces` are side by side: of the piece it begins in, 1 for start, end and
    /// padding. As many as the model's length.
    pub fn weights(&self, pieces: &[Piece], spans: &[Span]) -> Result<Vec<f32>> {
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let mut weights = vec![1.0; self.max_length];
        let (mut piece, mut end) = (0, pieces.first().map_or(0, |piece| piece.text.len()));
        let tokens = weights.iter_mut().take(self.max_length - 1).zip(self.encode(&text, spans)?.offsets);
        for (weight, (from, _)) in tokens.filter(|(_, (from, to))| from < to) {
            while end <= from && piece + 1 < pieces.len() {
                piece += 1;
                end += pieces[piece].text.len();
            }
            *weight = pieces[piece].weight;
        }
        Ok(weights)
    }
}

fn format_error(path: &Path, cause: &str) -> Error {
    Error::Format { path: path.to_owned(), cause: cause.into() }
}

/// What of `text` transformers' older CLIP tokenizer reads otherwise, because ftfy rewrites it first: curly quotes, ligatures,
/// HTML entities. Each once.
pub fn odd_text(text: &str) -> Vec<String> {
    let mut odd: Vec<String> = text.chars().filter(|&c| is_rewritten(c)).map(String::from).collect();
    let mut rest = text;
    // With a tag in it, a text is taken for HTML that is meant as it is.
    while let Some(start) = rest.find('&').filter(|_| !text.contains('<')) {
        rest = &rest[start..];
        let length = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '#').map_or(rest.len(), |end| end + 1);
        if length > 2 && rest[length..].starts_with(';') {
            odd.push(rest[..=length].to_owned());
        }
        rest = &rest[length..];
    }
    let mut seen = HashSet::new();
    odd.retain(|found| seen.insert(found.clone()));
    odd
}

/// Whether ftfy writes a letter or quote as other ones.
fn is_rewritten(c: char) -> bool {
    let quote = matches!(c, '\u{02bc}' | '\u{2018}'..='\u{201f}');
    let ligature = matches!(
        c,
        '\u{0132}' | '\u{0133}' | '\u{0149}' | '\u{01c4}'..='\u{01cc}' | '\u{01f1}'..='\u{01f3}' | '\u{fb00}'..='\u{fb06}'
    );
    quote || ligature
}

/// The padding token that the tokenizer's config names; SD 2.x pads with "!", SD 1.x with the end token.
fn pad_token(folder: &Path) -> Result<Option<String>> {
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        let config: Value = read_json(&path)?;
        let token = &config["pad_token"];
        if let Some(token) = token.as_str().or_else(|| token["content"].as_str()) {
            return Ok(Some(token.to_owned()));
        }
    }
    Ok(None)
}

fn from_vocab_and_merges(folder: &Path) -> Result<tokenizers::Tokenizer> {
    let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    let ids: HashMap<String, u32> = read_json(&vocab)?;
    let text = String::from_utf8(bytes_of(&merges)?).map_err(|_| format_error(&merges, "it is no text (UTF-8)"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version"));
    let pairs = lines.map(|(i, line)| {
        let pair = line.split_once(' ').filter(|(_, second)| !second.contains(' '));
        let (first, second) = pair.ok_or_else(|| format_error(&merges, &format!("line {} is no pair", i + 1)))?;
        Ok((first.to_owned(), second.to_owned()))
    });
    let pairs: Vec<(String, String)> = pairs.collect::<Result<_>>()?;
    from_bpe(BPE::builder().vocab_and_merges(ids.into_iter().collect::<Vocab>(), pairs), &vocab)
}

/// CLIP's tokenizer with this vocabulary and these merges; `path` is where they are from.
fn from_bpe(bpe: BpeBuilder, path: &Path) -> Result<tokenizers::Tokenizer> {
    let failed = |e: tokenizers::Error| format_error(path, &e.to_string());
    let bpe = bpe.unk_token(EOS.into()).end_of_word_suffix("</w>".into()).build().map_err(failed)?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(failed)?;
    let normalizers = Normalizers::new(vec![
        NormalizerWrapper::NFC(NFC),
        NormalizerWrapper::Replace(spaces),
        NormalizerWrapper::Lowercase(Lowercase),
    ]);
    tokenizer.with_normalizer(Some(normalizers)).map_err(failed)?;
    let words = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Removed, true).map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![
        PreTokenizerWrapper::Split(words),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true)),
    ])));
    let id =
        |token: &str| tokenizer.token_to_id(token).ok_or_else(|| format_error(path, &format!("has no token {token}")));
    let ends = RobertaProcessing::new((EOS.into(), id(EOS)?), (BOS.into(), id(BOS)?)).trim_offsets(false);
    tokenizer.with_post_processor(Some(ends.add_prefix_space(false)));
    let special = [BOS, EOS].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).map_err(|e| format_error(path, &e.to_string()))?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::odd_text;

    #[test]
    fn what_ftfy_rewrites_is_found_each_once_and_nothing_else() {
        assert_eq!(odd_text("a “red” “pot’s” ﬁn &amp; &#38; &amp;"), ["“", "”", "’", "ﬁ", "&amp;", "&#38;"]);
        for plain in ["", "a \"red\" pot's fin", "salt & pepper; &", "&;", "R&D; l'été", "<b>&amp;</b>", "&é;"] {
            assert!(odd_text(plain).is_empty(), "{plain}: {:?}", odd_text(plain));
        }
    }
}
