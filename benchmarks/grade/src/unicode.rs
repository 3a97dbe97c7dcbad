//! One spelling of characters that Unicode has in several: wide, raised, composed, in a square.
//!
//! This module does not know answers. Text becomes its form NFKC (Unicode Standard Annex 15), but for what that form
//! loses: a raised digit is a power and not the next digit, `2½` is no 21/2, `㎡` has a power, and the narrow space in
//! `1 234` joins digits. Punctuation that only East Asian texts have becomes what Latin ones write there.
//! Takes linear time.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

/// Units in one character whose form NFKC loses the power.
const SQUARE_UNITS: [(char, &str); 8] = [
    ('㎟', "mm^{2}"),
    ('㎠', "cm^{2}"),
    ('㎡', "m^{2}"),
    ('㎢', "km^{2}"),
    ('㎣', "mm^{3}"),
    ('㎤', "cm^{3}"),
    ('㎥', "m^{3}"),
    ('㎦', "km^{3}"),
];

/// Returns whether a sign stands for a word, so that it needs no space beside it.
pub(super) fn is_chinese(sign: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&sign)
}

/// Returns the text in one spelling; the same for every spelling of it.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let kept = keep_meaning(text);
    let mut plain = String::with_capacity(kept.len());
    for symbol in kept.nfkc() {
        match symbol {
            '。' => plain.push_str(". "),
            '【' | '〔' | '〖' => plain.push('['),
            '】' | '〕' | '〗' => plain.push(']'),
            '∶' => plain.push(':'),
            '‐' | '〜' => plain.push('-'),
            '⋯' => plain.push_str("\\dots "),
            '⁄' => plain.push('/'),
            '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {}
            _ => plain.push(symbol),
        }
    }
    Cow::Owned(plain)
}

/// Spells out as LaTeX what NFKC would lose.
fn keep_meaning(text: &str) -> String {
    let mut kept = String::with_capacity(text.len() + 16);
    // What closes the power or index that is open.
    let mut raised: Option<Shift> = None;
    let mut symbols = text.chars().peekable();
    while let Some(symbol) = symbols.next() {
        let shift = Shift::of(symbol);
        if shift != raised {
            if raised.is_some() {
                kept.push('}');
            }
            match shift {
                Some(Shift::Up) => kept.push_str("^{"),
                Some(Shift::Down) => kept.push_str("_{"),
                None => {}
            }
            raised = shift;
        }
        match symbol {
            '\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}'
                if kept.ends_with(|c: char| c.is_ascii_digit())
                    && symbols.peek().is_some_and(char::is_ascii_digit) =>
            {
                kept.push_str("\\,");
            }
            'º' | '˚' => kept.push('°'),
            '～' => kept.push('-'),
            _ if is_vulgar(symbol) => {
                let spelled: String = symbol.nfkc().collect();
                let (above, below) = spelled.split_once('⁄').unwrap_or((&spelled, "1"));
                kept.push_str(&format!("\\frac{{{above}}}{{{below}}}"));
            }
            _ => match SQUARE_UNITS.iter().find(|(unit, _)| *unit == symbol) {
                Some((_, spelled)) => kept.push_str(spelled),
                None if shift.is_some() => kept.extend(symbol.nfkc()),
                None => kept.push(symbol),
            },
        }
    }
    if raised.is_some() {
        kept.push('}');
    }
    kept
}

/// A fraction in one character, such as `½`.
fn is_vulgar(symbol: char) -> bool {
    matches!(symbol, '¼'..='¾' | '\u{2150}'..='\u{215e}' | '\u{2189}')
}

/// Where a small character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shift {
    Up,
    Down,
}

impl Shift {
    fn of(symbol: char) -> Option<Shift> {
        match symbol {
            '²' | '³' | '¹' | '\u{2070}'..='\u{207f}' => Some(Shift::Up),
            '\u{2080}'..='\u{209c}' => Some(Shift::Down),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_become_one() {
        for (text, expected) in [
            ("（B）", "(B)"),
            ("５．２５", "5.25"),
            ("x²⁺ⁿ+1", "x^{2+n}+1"),
            ("H₂O", "H_{2}O"),
            ("25℃", "25°C"),
            ("25 ºC", "25 °C"),
            ("2½", "2\\frac{1}{2}"),
            ("⅔", "\\frac{2}{3}"),
            ("12㎡", "12m^{2}"),
            ("12㎝", "12cm"),
            ("1\u{202f}234", "1\\,234"),
            ("1\u{a0}a", "1 a"),
            ("cafe\u{301}", "café"),
            ("𝟓𝑥", "5x"),
            ("【答案】Ｃ。", "[答案]C. "),
            ("1，2，…", "1,2,..."),
            ("5～6", "5-6"),
            ("1∶2", "1:2"),
            ("\u{feff}5\u{200b}", "5"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_stays(text in ".{0,30}") {
            let once = plain(&text).into_owned();
            prop_assert_eq!(plain(&once), once.as_str());
        }

        #[test]
        fn every_normal_form_is_the_same(text in "[a-z0-9 é가-힣Ａ-Ｚａ-ｚ０-９（），：％ｱ-ﾝ㎝㎏℃αﬁ①]{0,20}") {
            let expected = plain(&text);
            let forms: [String; 4] = [
                text.nfc().collect(), text.nfd().collect(), text.nfkc().collect(), text.nfkd().collect(),
            ];
            for form in &forms {
                prop_assert_eq!(plain(form), expected.as_ref());
            }
        }
    }
}
