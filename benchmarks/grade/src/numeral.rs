//! Numbers as Chinese writes them: digits, scales, and what they come to.
//!
//! This module does not know tokens.

/// Chinese units before which 千 is a part of the unit.
const PREFIXED: &str = "米克瓦卡焦赫帕伏欧牛安升字比电";

/// Returns what a Chinese sign multiplies the number before it by.
pub(super) fn scale(symbol: char) -> Option<i128> {
    Some(match symbol {
        '十' => 10,
        '百' => 100,
        '千' => 1000,
        '万' | '萬' => 10_000,
        '亿' | '億' => 100_000_000,
        _ => return None,
    })
}

/// Returns the whole number that is written in Chinese; `None` where that is not the whole word.
pub(super) fn chinese_number(word: &str) -> Option<i128> {
    // The sum of the parts below the next 万 or 亿, and the digit that waits for its scale.
    let (mut total, mut part, mut digit) = (0i128, 0i128, None);
    // `一万五` may be 15 000, `一万零五` is 10 005.
    let mut last = 1;
    for symbol in word.chars() {
        let value = match symbol {
            '〇' => Some(0),
            '两' => Some(2),
            _ => "零一二三四五六七八九".chars().position(|c| c == symbol),
        };
        if let Some(value) = value {
            if digit.is_some_and(|digit| digit > 0) {
                return None;
            }
            digit = Some(value as i128);
            last = if value == 0 { 1 } else { last };
            continue;
        }
        let factor = scale(symbol)?;
        if factor < 10_000 {
            // The larger scale stands first.
            if part > 0 && last > 1 && last <= factor {
                return None;
            }
            part += digit.take().filter(|digit| *digit > 0).unwrap_or(1) * factor;
        } else {
            part += digit.take().unwrap_or(0);
            if part == 0 {
                return None;
            }
            total = match factor {
                10_000 => total + part * factor,
                _ => (total + part).checked_mul(factor)?,
            };
            part = 0;
        }
        last = factor;
    }
    let digit = digit.unwrap_or(0);
    (digit == 0 || last <= 10).then_some(total + part + digit)
}

/// Returns whether 千 or 百 at the start of a text is a part of a unit: a thousand metres are one.
pub(super) fn prefixes(text: &str) -> bool {
    let mut signs = text.chars();
    let (prefix, base) = (signs.next(), signs.next().unwrap_or(' '));
    prefix == Some('千') && PREFIXED.contains(base) || prefix == Some('百') && base == '帕'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_chinese_have_their_value() {
        for (word, expected) in [
            ("五十", 50),
            ("十五", 15),
            ("一百二十三", 123),
            ("一万零五", 10_005),
            ("两千万", 20_000_000),
            ("一亿二千万", 120_000_000),
        ] {
            assert_eq!(chinese_number(word), Some(expected), "{word}");
        }
        // `一万五` may be 15 000.
        for word in ["一万五", "万一", "三五", "二〇", "十百", "三角", "十分"] {
            assert_eq!(chinese_number(word), None, "{word}");
        }
        assert!(prefixes("千米") && prefixes("百帕") && !prefixes("千元") && !prefixes("百米"));
    }
}
