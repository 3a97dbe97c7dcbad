//! Repairs of sloppy LaTeX that several peers share, all from the grader of the MATH data set.
//!
//! This module does not know graders. Source of the rules: Hendrycks et al. 2021, `math_equivalence.py`, as the
//! peers carry it; written independently here.

const FRAC: &str = "\\frac";
const SQRT: &str = "\\sqrt";

/// `\frac12` and `\frac1{2}` with braces; `None` where a `\frac` has nothing after it.
///
/// As the peers do: if something but a brace follows and it is a single character, the whole text stays
/// as it was.
pub(super) fn fix_fractions(text: &str) -> Option<String> {
    let mut parts = text.split(FRAC);
    let mut fixed = parts.next()?.to_owned();
    for part in parts {
        fixed.push_str(FRAC);
        let mut symbols = part.chars();
        match (symbols.next(), symbols.next()) {
            (None, _) => return None,
            (Some('{'), _) => fixed.push_str(part),
            (Some(_), None) => return Some(text.to_owned()),
            (Some(a), Some('{')) => {
                fixed.push_str(&format!("{{{a}}}{{{}", symbols.as_str()));
            }
            (Some(a), Some(b)) => fixed.push_str(&format!("{{{a}}}{{{b}}}{}", symbols.as_str())),
        }
    }
    Some(fixed)
}

/// Returns whether a `\frac` has an argument without braces, which latex2sympy does not read.
pub(super) fn has_bare_fraction(text: &str) -> bool {
    text.split(FRAC).skip(1).any(|part| part.trim_start().starts_with(|c: char| c.is_ascii_digit()))
}

/// `\sqrt3` with braces; `None` where a `\sqrt` has nothing after it.
pub(super) fn fix_roots(text: &str) -> Option<String> {
    let mut parts = text.split(SQRT);
    let mut fixed = parts.next()?.to_owned();
    for part in parts {
        let mut symbols = part.chars();
        match symbols.next() {
            None => return None,
            Some('{') => fixed.push_str(&format!("{SQRT}{part}")),
            Some(a) => fixed.push_str(&format!("{SQRT}{{{a}}}{}", symbols.as_str())),
        }
    }
    Some(fixed)
}

/// `a/b` of two integers as `\frac{a}{b}`.
pub(super) fn fix_slash(text: &str) -> String {
    if let Some((a, b)) = text.split_once('/')
        && let (Ok(numerator), Ok(denominator)) = (a.parse::<i128>(), b.parse::<i128>())
        && text == format!("{numerator}/{denominator}")
    {
        return format!("\\frac{{{a}}}{{{b}}}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sloppy_latex_gets_its_braces() {
        assert_eq!(fix_fractions(r"\frac12").unwrap(), r"\frac{1}{2}");
        assert_eq!(fix_fractions(r"a\frac1{23}b").unwrap(), r"a\frac{1}{23}b");
        assert_eq!(fix_fractions(r"\frac{1}{2}").unwrap(), r"\frac{1}{2}");
        assert_eq!(fix_fractions(r"\frac1").unwrap(), r"\frac1");
        assert_eq!(fix_fractions(r"\frac"), None);
        assert!(has_bare_fraction(r"\frac12") && !has_bare_fraction(r"\frac{1}{2}"));
        assert_eq!(fix_roots(r"2\sqrt3").unwrap(), r"2\sqrt{3}");
        assert_eq!(fix_slash("3/4"), r"\frac{3}{4}");
        assert_eq!(fix_slash("03/4"), "03/4");
    }
}
