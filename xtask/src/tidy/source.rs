//! Text files, and the Rust in them as a flat list of pieces without the tests.
//!
//! Does not know any rule.

use std::ops::Range;
use std::str::FromStr as _;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// A text file of the repository.
#[derive(Debug)]
pub(super) struct File {
    /// The path from the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// Returns the crate's folder of a source file of a product: `suite` of `suite/src/plan.rs`.
    pub(super) fn product(&self) -> Option<&str> {
        let (folder, file) = self.path.split_once("/src/")?;
        let is_test = self.path.starts_with("tests/")
            || file.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches"));
        (file.ends_with(".rs") && !is_test).then_some(folder)
    }
}

/// Returns lines with their numbers, from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// What a piece of source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Word(String),
    Sign(char),
    Open(Delimiter),
    Close(Delimiter),
    /// A string, a number or a character, as it is written.
    Literal(String),
    /// A line or block of documentation, or of comments.
    Comment {
        text: String,
        is_doc: bool,
    },
    /// An item under `#[cfg(test)]`.
    Test,
}

/// A piece of source.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    /// The number of its first line, from 1.
    pub(super) line: usize,
    /// Its bytes in the text.
    range: Range<usize>,
}

impl Piece {
    /// Returns the word, if it is one.
    pub(super) fn word(&self) -> Option<&str> {
        if let Kind::Word(word) = &self.kind { Some(word) } else { None }
    }

    /// Returns whether the piece is the sign `sign`.
    pub(super) fn is(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }
}

/// Splits Rust into pieces, comments included. Text that is not Rust has none.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let Ok(stream) = TokenStream::from_str(text) else { return Vec::new() };
    let mut tokens = Vec::new();
    flatten(text, stream, &mut tokens);
    // Comments that are not documentation stand between tokens.
    let mut pieces = Vec::new();
    let (mut end, mut line) = (0, 1);
    for token in tokens {
        comments(text, end..token.range.start, line, &mut pieces);
        (end, line) = (token.range.end.max(end), last_line(text, &token));
        pieces.push(token);
    }
    comments(text, end..text.len(), line, &mut pieces);
    pieces
}

fn last_line(text: &str, token: &Piece) -> usize {
    token.line + text.get(token.range.clone()).map_or(0, |text| text.matches('\n').count())
}

/// Adds a piece for each line of the comments in `gap`, which begins in the line `line`.
fn comments(text: &str, gap: Range<usize>, line: usize, pieces: &mut Vec<Piece>) {
    let mut start = gap.start;
    for (index, part) in text.get(gap).unwrap_or_default().split_inclusive('\n').enumerate() {
        let words = part.trim().trim_start_matches(['/', '*', ' ']);
        let range = start..start + part.len();
        start += part.len();
        if !words.is_empty() {
            let kind = Kind::Comment { text: words.to_owned(), is_doc: false };
            pieces.push(Piece { kind, line: line + index, range });
        }
    }
}

fn flatten(text: &str, stream: TokenStream, pieces: &mut Vec<Piece>) {
    let place =
        |kind, span: Span| Piece { kind, line: span.start().line, range: span.byte_range() };
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while at < trees.len() {
        if let Some(length) = attribute(&trees[at..], is_doc) {
            let piece = place(Kind::Test, trees[at].span());
            let written = text.get(piece.range.clone()).unwrap_or_default();
            // An attribute that is written out has a span of its own for each part.
            if written.len() > 1 {
                let words = written.trim_start_matches(['/', '!', '*']).trim();
                let kind = Kind::Comment { text: words.to_owned(), is_doc: true };
                pieces.push(Piece { kind, ..piece });
            }
            at += length;
            continue;
        }
        if attribute(&trees[at..], is_test).is_some() {
            let length = item(&trees[at..]);
            let (first, last) = (trees[at].span(), trees[at + length - 1].span());
            let range = first.byte_range().start..last.byte_range().end;
            pieces.push(Piece { range, ..place(Kind::Test, first) });
            at += length;
            continue;
        }
        match trees[at].clone() {
            TokenTree::Ident(ident) => {
                pieces.push(place(Kind::Word(ident.to_string()), ident.span()));
            }
            TokenTree::Punct(sign) => pieces.push(place(Kind::Sign(sign.as_char()), sign.span())),
            TokenTree::Literal(value) => {
                pieces.push(place(Kind::Literal(value.to_string()), value.span()));
            }
            TokenTree::Group(group) => {
                pieces.push(place(Kind::Open(group.delimiter()), group.span_open()));
                flatten(text, group.stream(), pieces);
                pieces.push(place(Kind::Close(group.delimiter()), group.span_close()));
            }
        }
        at += 1;
    }
}

/// Returns how many trees an attribute at the start takes, if there is one whose words fit.
fn attribute(trees: &[TokenTree], fits: fn(&str) -> bool) -> Option<usize> {
    let is =
        |at: usize, sign| matches!(trees.get(at), Some(TokenTree::Punct(p)) if p.as_char() == sign);
    if !is(0, '#') {
        return None;
    }
    let length = if is(1, '!') { 3 } else { 2 };
    let Some(TokenTree::Group(group)) = trees.get(length - 1) else { return None };
    (group.delimiter() == Delimiter::Bracket && fits(&group.stream().to_string())).then_some(length)
}

fn is_doc(words: &str) -> bool {
    words.starts_with("doc =")
}

fn is_test(words: &str) -> bool {
    words.replace(' ', "") == "cfg(test)"
}

/// Returns how many trees the item at the start takes, attributes included.
fn item(trees: &[TokenTree]) -> usize {
    let is_end = |tree: &TokenTree| match tree {
        TokenTree::Punct(sign) => sign.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    trees.iter().position(is_end).map_or(trees.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_left_out_and_comments_kept() {
        let text = "//! Head.\n// plain /* a */\n/// Doc.\nfn é() { \"text\"; /* in\n two */ }\n\
                    #[cfg(test)]\nmod tests { // hidden\n}\n#[cfg(any(test, unix))]\nfn shown() {}\n";
        let pieces = pieces(text);
        let comments: Vec<_> = pieces
            .iter()
            .filter_map(|piece| match &piece.kind {
                Kind::Comment { text, is_doc } => Some((piece.line, text.as_str(), *is_doc)),
                _ => None,
            })
            .collect();
        let want = [
            (1, "Head.", true),
            (2, "plain /* a */", false),
            (3, "Doc.", true),
            (4, "in", false),
            (5, "two */", false),
        ];
        assert_eq!(comments, want);
        let words: Vec<_> = pieces.iter().filter_map(Piece::word).collect();
        assert_eq!(words, ["fn", "é", "cfg", "any", "test", "unix", "fn", "shown"]);
        assert_eq!(super::pieces("{ not Rust").len(), 0);
    }
}
