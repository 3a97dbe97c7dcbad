//! How long functions are, and how many arguments they have.
//!
//! Does not know what they do.

use proc_macro2::Delimiter;

use super::source::{File, Kind, Piece, pieces};

/// Longer functions are two functions.
const MAX_LINES: usize = 80;

/// More arguments are a struct.
const MAX_ARGUMENTS: usize = 7;

/// Functions that may be longer, each as `path: name`; at most two.
const LONG: [&str; 0] = [];

/// Finds functions of a product that are too long or take too many arguments.
pub(super) fn check(file: &File, found: &mut Vec<String>) {
    if file.product().is_none() {
        return;
    }
    let pieces: Vec<_> = pieces(&file.text)
        .into_iter()
        .filter(|piece| !matches!(piece.kind, Kind::Comment { .. } | Kind::Test))
        .collect();
    for at in 0..pieces.len() {
        let Some((name, num_arguments, num_lines)) = function(&pieces[at..]) else { continue };
        let place = format!("{}:{}", file.path, pieces[at].line);
        let is_long = LONG.contains(&format!("{}: {name}", file.path).as_str());
        if num_lines > MAX_LINES && !is_long {
            found.push(format!("{place}: `{name}` has {num_lines} lines, more than {MAX_LINES}"));
        }
        if num_arguments > MAX_ARGUMENTS {
            found.push(format!(
                "{place}: `{name}` has {num_arguments} arguments, more than {MAX_ARGUMENTS}"
            ));
        }
    }
}

/// Reads the function at the start, if there is one: its name, and the number of its arguments and lines.
fn function(pieces: &[Piece]) -> Option<(&str, usize, usize)> {
    let (first, rest) = pieces.split_first()?;
    if first.word() != Some("fn") {
        return None;
    }
    let name = rest.first()?.word()?;
    let (mut num_arguments, mut is_empty, mut depth, mut angles) = (0, true, 0, 0);
    let mut has_arguments = false;
    for (at, piece) in rest.iter().enumerate().skip(1) {
        let is_arrow = at > 0 && rest[at - 1].is('-');
        match &piece.kind {
            Kind::Sign('<') => angles += 1,
            Kind::Sign('>') if !is_arrow => angles -= 1,
            Kind::Open(Delimiter::Brace) if depth == 0 && has_arguments => {
                let end = rest.get(at + length(&rest[at..])?)?;
                return Some((name, num_arguments, end.line - first.line + 1));
            }
            Kind::Sign(';') if depth == 0 => return Some((name, num_arguments, 1)),
            Kind::Sign(',') if depth == 1 && angles == 0 && !has_arguments => {
                num_arguments += usize::from(!is_empty);
                is_empty = true;
                continue;
            }
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => {
                depth -= 1;
                if depth == 0 && angles == 0 && !has_arguments {
                    num_arguments += usize::from(!is_empty);
                    has_arguments = true;
                }
                continue;
            }
            _ => {}
        }
        if depth > 1 || depth == 1 && !matches!(piece.kind, Kind::Open(_)) {
            is_empty = false;
        }
    }
    None
}

/// Returns where the group at the start ends.
fn length(pieces: &[Piece]) -> Option<usize> {
    let mut depth = 0;
    pieces.iter().position(|piece| {
        match piece.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, want: &[&str]) {
        let mut found = Vec::new();
        check(&File { path: "m/src/a.rs".to_owned(), text: text.to_owned() }, &mut found);
        assert_eq!(found, want);
    }

    #[test]
    fn a_function_has_at_most_80_lines() {
        let text = |lines: usize| {
            format!("fn f<T: Fn(u8) -> u8>() -> T {{\n{}}}\n", "x();\n".repeat(lines - 2))
        };
        check_text(&text(80), &[]);
        check_text(&text(81), &["m/src/a.rs:1: `f` has 81 lines, more than 80"]);
        check_text(&format!("#[cfg(test)]\nmod tests {{\n{}}}\n", text(99)), &[]);
        check_text(
            &format!("impl A {{\n{}}}\n", text(99)),
            &["m/src/a.rs:2: `f` has 99 lines, more than 80"],
        );
        assert!(LONG.len() <= 2);
    }

    #[test]
    fn a_function_has_at_most_seven_arguments() {
        let seven =
            "&self, a: (u8, u8), b: B<C, D>, c: impl Fn(u8, u8) -> u8, d: [u8; 4], e: E, f: F";
        check_text(&format!("fn f<A, B>({seven},) {{}} trait T {{ fn g({seven}); }}"), &[]);
        let want = ["m/src/a.rs:1: `f` has 8 arguments, more than 7"];
        check_text(&format!("fn f({seven}, g: G) -> u8 {{}}"), &want);
        check_text(&format!("trait T {{ fn f({seven}, g: G); }}"), &want);
    }
}
