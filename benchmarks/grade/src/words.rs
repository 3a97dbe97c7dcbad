//! Words, and lists of them that are written as one text.
//!
//! This module does not know what any word means.

/// Returns whether a word is in a list whose words stand between spaces.
pub(super) fn is_listed(word: &str, list: &str) -> bool {
    list.split_whitespace().any(|listed| listed == word)
}

/// Returns a text in small letters, with the apostrophe of typewriters.
pub(super) fn small(text: &str) -> String {
    text.to_lowercase().replace('’', "'")
}
