//! Plain English: phrases that a reader would stumble over, and first lines of documentation that are no sentences.
//!
//! Does not know grammar: a short list of phrases and first words.
//!
//! Phrases are put together from parts where they would otherwise be found here.

use super::source::{File, Kind, numbered, pieces};

/// Phrases that are not idiomatic, and what to write.
const PHRASES: [(&str, &str); 12] = [
    (concat!("han", "gs on"), "depends on"),
    (concat!("han", "g on"), "depend on"),
    (concat!("an", "ew"), "again"),
    (concat!("is no", "ne"), "is missing, or is not valid"),
    (concat!("are no", "ne"), "are missing, or are not valid"),
    (concat!("to", "ld"), "reported, or described"),
    (concat!("be h", "ad"), "be obtained"),
    (concat!("taken u", "p again"), "resumed"),
    (concat!("stays o", "ut"), "is missing"),
    (concat!("stayed o", "ut"), "was missing"),
    (concat!("is no nu", "mber"), "is not a number"),
    (concat!("is no sh", "are"), "is not a share"),
];

/// First words of documentation that leans on the name above it.
const FRAGMENTS: [&str; 4] = ["Of", "With", "Whether", "Which"];

/// Texts for people beside the documentation of code.
const PAGES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Finds banned phrases in the comments and strings of a product's source, and in the pages for people; and first lines
/// of documentation that are fragments.
pub(super) fn check(file: &File, found: &mut Vec<String>) {
    let path = &file.path;
    if file.product().is_some() {
        let (mut lines, mut last_doc) = (Vec::new(), 0);
        for piece in pieces(&file.text) {
            match piece.kind {
                Kind::Comment { text, is_doc } => {
                    if is_doc && last_doc + 1 != piece.line && is_fragment(&text) {
                        found.push(format!("{path}:{}: not a sentence: `{text}`", piece.line));
                    }
                    if is_doc {
                        last_doc = piece.line;
                    }
                    lines.push((piece.line, text));
                }
                Kind::Literal(text) if text.ends_with(['"', '#']) => {
                    lines.extend(
                        numbered(&text)
                            .map(|(at, text)| (piece.line + at - 1, text.trim().to_owned())),
                    );
                }
                _ => {}
            }
        }
        phrases(path, &lines, found);
    } else if PAGES.contains(&path.as_str()) || path.starts_with("docs/") && path.ends_with(".md") {
        let mut is_code = false;
        let mut lines = Vec::new();
        for (number, line) in numbered(&file.text) {
            is_code ^= line.trim_start().starts_with("```");
            if !is_code {
                lines.push((number, line.trim().to_owned()));
            }
        }
        phrases(path, &lines, found);
    }
}

/// Returns whether the first line of a documentation is a fragment; a clause that begins with "With" may be followed by
/// the sentence, behind a comma.
fn is_fragment(line: &str) -> bool {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    FRAGMENTS.contains(&first) && !(first == "With" && rest.contains(", "))
}

/// Finds phrases in lines, also such that are broken over two lines that follow each other.
fn phrases(path: &str, lines: &[(usize, String)], found: &mut Vec<String>) {
    for (at, (number, line)) in lines.iter().enumerate() {
        let next = lines.get(at + 1).filter(|(next, _)| *next == number + 1);
        for (phrase, instead) in PHRASES {
            let is_broken = || {
                next.is_some_and(|(_, next)| {
                    !has(next, phrase)
                        && has(
                            &format!("{} {next}", line.trim_end_matches('\\').trim_end()),
                            phrase,
                        )
                })
            };
            if has(line, phrase) || is_broken() {
                found.push(format!("{path}:{number}: `{phrase}` is not plain English: {instead}"));
            }
        }
    }
}

/// Returns whether `line` holds `phrase`, bounded by what is not part of a word. Behind "there" the phrases that end with
/// "none" are good English.
fn has(line: &str, phrase: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "_-`".contains(letter);
    line.match_indices(phrase).any(|(at, _)| {
        let is_good = phrase.ends_with("none") && line[..at].to_lowercase().ends_with("there ");
        !is_good
            && !line[..at].ends_with(is_part)
            && !line[at + phrase.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(&File { path: path.to_owned(), text: text.to_owned() }, &mut found);
        found
    }

    #[test]
    fn phrases_are_found_in_comments_strings_and_pages() {
        let (phrase, instead) = PHRASES[0];
        let [one, two] = [phrase.split_once(' ').unwrap().0, phrase.split_once(' ').unwrap().1];
        for text in [
            format!("//! A.\n/// It {phrase} B.\nfn a() {{}}"),
            format!("//! A.\n// It {phrase} B.\n"),
            format!("//! A.\nconst A: &str = \"it {phrase} b\";"),
            format!("//! A.\n// It {one}\n// {two} it.\n"),
            format!("//! A.\nconst A: &str = \"it {one} \\\n    {two} b\";"),
        ] {
            let want = [format!("m/src/a.rs:2: `{phrase}` is not plain English: {instead}")];
            assert_eq!(findings("m/src/a.rs", &text), want, "{text}");
            assert_eq!(findings("m/src/tests.rs", &text), [""; 0]);
        }
        for text in [
            format!("//! A.\nfn f() {{ {one}(); un{phrase}() }}"),
            format!("//! A.\n// {one}, {two} and `{phrase}` and re{phrase}\n"),
            format!("//! A.\n#[cfg(test)]\nmod tests {{ // it {phrase}\n}}"),
        ] {
            assert_eq!(findings("m/src/a.rs", &text), [""; 0], "{text}");
        }
        let page = format!("It {phrase}\n```\nit {phrase}\n```\n");
        assert_eq!(findings("docs/a.md", &page).len(), 1);
        assert_eq!(findings("golden/a.md", &page), [""; 0]);
    }

    #[test]
    fn a_first_line_of_documentation_is_a_sentence() {
        for word in FRAGMENTS {
            let text = format!("//! A.\n\n/// {word} a stage.\n/// {word} more.\nstruct A;");
            let want = [format!("m/src/a.rs:3: not a sentence: `{word} a stage.`")];
            assert_eq!(findings("m/src/a.rs", &text), want);
        }
        let text = "//! A.\n\n/// Returns whether it fits.\n/// Returns whether not.\nfn a() {}\n/// With b, it fits.\nfn b() {}";
        assert_eq!(findings("m/src/a.rs", text), [""; 0]);
    }
}
