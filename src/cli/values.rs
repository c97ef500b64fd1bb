//! How values of options are read, for all verbs.

/// A count of at least one.
pub fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "a whole number above 0".into())
}
