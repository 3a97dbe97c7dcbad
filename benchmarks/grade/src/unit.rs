//! The units that may follow a number, and what makes two of them the same.
//!
//! This module does not know numbers and converts nothing: 1 m is not 100 cm, since a benchmark that asks for one
//! of them asks for that one.

use crate::token::{Kind, Token};

/// More words than this after a number are a sentence, not a unit.
const WORDS_MAX: usize = 4;

/// Spellings of units, the first of each group being the name; singular, without a power.
const UNITS: &str = "mm millimeter millimetre 毫米|cm centimeter centimetre 厘米 公分 釐米|\
    dm decimeter decimetre 分米|m meter metre 米 公尺|km kilometer kilometre 千米 公里|\
    in inch inche 英寸|ft foot feet 英尺|yd yard 码|mi mile 英里|mg milligram 毫克|g gram 克|\
    kg kilogram 千克 公斤|t ton tonne 吨|lb pound 磅|oz ounce|ms millisecond 毫秒|s sec second 秒|\
    min minute 分钟|h hr hour 小时 时|day 天 日|week 周 星期|month 月 个月|year yr 年|\
    ° degree deg 度|rad radian 弧度|% percent|l liter litre 升|ml milliliter millilitre 毫升|\
    n newton 牛 牛顿|j joule 焦 焦耳|kj kilojoule 千焦|w watt 瓦 瓦特|kw kilowatt 千瓦|\
    v volt 伏 伏特|a amp ampere 安 安培|ω ohm 欧 欧姆|hz hertz 赫兹|pa pascal 帕|kpa 千帕|\
    k kelvin|c celsius 摄氏度|f fahrenheit 华氏度|mol mole 摩尔|nm 纳米|μm 微米|ma|mph|kph|ev|\
    $ dollar usd 美元|cent 美分|€ euro 欧元|¥ 元 块 圆 yuan rmb cny 人民币|unit 单位";

/// Chinese signs that make of what they stand in something else than a unit: "or", "to", "at least".
const CHINESE_STOPS: [&str; 14] =
    ["或", "和", "到", "至", "与", "及", "且", "以上", "以下", "以内", "不", "多", "余", "超"];

/// Words that say nothing about the unit.
const FILLERS: &str = "long wide tall high deep old each total apart away altogether only";

/// Words after which a number is not the answer but a part of it.
const STOPS: [&str; 22] = [
    "or", "and", "to", "than", "not", "but", "if", "is", "are", "was", "per", "of", "in", "with",
    "for", "million", "billion", "thousand", "hundred", "trillion", "times", "more",
];

/// Letters that stand for a unit although they are one letter outside `\text`.
const LETTERS: [&str; 14] = ["m", "s", "g", "h", "L", "l", "N", "J", "W", "V", "A", "K", "C", "F"];

/// The unit that follows a number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Unit {
    words: Vec<String>,
    /// True if every word is in the list of units.
    known: bool,
}

impl Unit {
    /// Returns the unit of a sign before a number.
    pub(super) fn currency(sign: &str) -> Unit {
        let sign = match sign {
            "\\$" | "\\textdollar" => "$",
            "\\euro" => "€",
            "\\pounds" => "£",
            sign => sign,
        };
        Unit { words: vec![sign.to_owned()], known: true }
    }

    pub(super) fn is_none(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn is_percent(&self) -> bool {
        matches!(self.words.as_slice(), [word] if word == "%")
    }

    /// Returns whether the two do not contradict each other: one says nothing, or they have the same words, or
    /// share one where a word is not in the list.
    pub(super) fn agrees(&self, other: &Unit) -> bool {
        self.words.is_empty()
            || other.words.is_empty()
            || self.words == other.words
            || (!(self.known && other.known)
                && self.words.iter().any(|word| other.words.contains(word)))
    }
}

/// Returns where the unit at the end of `tokens` starts, and the unit; `None` if there is none.
pub(super) fn trailing(text: &str, tokens: &[Token]) -> Option<(usize, Unit)> {
    let mut start = tokens.len();
    let mut words = 0;
    while start > 0 {
        let token = &tokens[start - 1];
        let word = &text[token.start..token.end];
        let is_unit = match token.kind {
            Kind::Word => {
                words += 1;
                let stops = STOPS.contains(&word.to_ascii_lowercase().as_str()) && word != "in";
                !stops && !is_chinese_stop(word)
            }
            Kind::Letter => {
                words += 1;
                LETTERS.contains(&word)
                    || word == "Ω"
                    || word == "\\Omega"
                    || word == "μ"
                    || (is_chinese(word) && !is_chinese_stop(word))
            }
            Kind::Degree | Kind::Percent | Kind::Currency => true,
            Kind::Divide | Kind::Power | Kind::Times => start < tokens.len(),
            // The power of a unit.
            Kind::Number { value, .. } => {
                value.as_integer().is_some_and(|power| (-3..=3).contains(&power))
                    && (start >= 2 && matches!(tokens[start - 2].kind, Kind::Power)
                        || start >= 3
                            && matches!(tokens[start - 2].kind, Kind::Open(b'{'))
                            && matches!(tokens[start - 3].kind, Kind::Power))
            }
            Kind::Open(b'{') => start >= 2 && matches!(tokens[start - 2].kind, Kind::Power),
            Kind::Close(b'{') => {
                start >= 4
                    && matches!(tokens[start - 2].kind, Kind::Number { .. })
                    && matches!(tokens[start - 4].kind, Kind::Power)
            }
            _ => false,
        };
        if !is_unit || words > WORDS_MAX {
            break;
        }
        start -= 1;
    }
    // A unit starts with a word or a sign, after something that ends a number.
    while start < tokens.len() {
        let starts = matches!(
            tokens[start].kind,
            Kind::Word | Kind::Letter | Kind::Degree | Kind::Percent | Kind::Currency
        );
        let follows = start > 0
            && matches!(
                tokens[start - 1].kind,
                Kind::Number { .. } | Kind::Close(_) | Kind::Pi | Kind::Euler
            );
        if starts && follows {
            return Some((start, unit(text, &tokens[start..])));
        }
        start += 1;
    }
    None
}

/// Returns the names of the words; a power counts as a word, `square` and `cubic` are powers.
fn unit(text: &str, tokens: &[Token]) -> Unit {
    let mut unit = Unit { words: Vec::new(), known: true };
    let mut squared = None;
    for token in tokens {
        let word = text[token.start..token.end].to_lowercase();
        let word = word.trim_start_matches('\\');
        match word {
            "square" | "sq" | "squared" => squared = Some("2"),
            "cubic" | "cubed" => squared = Some("3"),
            _ if FILLERS.split(' ').any(|filler| filler == word) => {}
            _ => match token.kind {
                Kind::Number { .. } => match text[token.start..token.end].trim() {
                    "²" => unit.words.push("2".to_owned()),
                    "³" => unit.words.push("3".to_owned()),
                    power => unit.words.push(power.to_owned()),
                },
                Kind::Divide => unit.words.push("/".to_owned()),
                Kind::Degree => unit.words.push("°".to_owned()),
                Kind::Percent => unit.words.push("%".to_owned()),
                Kind::Word | Kind::Letter if is_chinese(word) => chinese(word, &mut unit),
                Kind::Word | Kind::Letter | Kind::Currency => {
                    let (name, known) = name(word);
                    unit.words.push(name);
                    unit.known &= known;
                }
                _ => {}
            },
        }
    }
    unit.words.extend(squared.map(str::to_owned));
    // The degrees of a temperature are no angle.
    if let [degree, scale] = unit.words.as_slice()
        && degree == "°"
        && matches!(scale.as_str(), "c" | "f")
    {
        unit.words.remove(0);
    }
    unit
}

fn is_chinese(word: &str) -> bool {
    word.starts_with(|c: char| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

fn is_chinese_stop(word: &str) -> bool {
    !word.is_ascii() && CHINESE_STOPS.iter().any(|stop| word.contains(stop))
}

/// Appends a unit in Chinese, where the power goes before and "per" stands between: `平方米`, `米每秒`.
fn chinese(word: &str, unit: &mut Unit) {
    for (place, part) in word.split('每').enumerate() {
        if place > 0 {
            unit.words.push("/".to_owned());
        }
        let powers = [("平方", "2"), ("立方", "3")];
        let power =
            powers.iter().find_map(|(name, power)| Some((part.strip_prefix(name)?, *power)));
        let (name, known) = name(power.map_or(part, |(part, _)| part));
        unit.words.push(name);
        unit.known &= known;
        unit.words.extend(power.map(|(_, power)| power.to_owned()));
    }
}

/// Returns the name of a unit and whether it is in the list; the singular of any other word.
fn name(word: &str) -> (String, bool) {
    let word = if word == "omega" { "ω" } else { word };
    let rows = UNITS.split('|').map(|row| row.split(' '));
    let find = |word: &str| rows.clone().find(|names| names.clone().any(|name| name == word));
    let singular = word.strip_suffix('s').filter(|singular| singular.len() > 1).unwrap_or(word);
    match find(word).or_else(|| find(singular)) {
        Some(mut names) => (names.next().unwrap_or(word).to_owned(), true),
        None => (singular.to_owned(), false),
    }
}
