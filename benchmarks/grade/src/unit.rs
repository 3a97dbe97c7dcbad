//! The units that may follow a number, and what makes two of them the same.
//!
//! This module does not know numbers and converts nothing: 1 m is not 100 cm, since a benchmark that asks for one
//! of them asks for that one.
//!
//! Decisions:
//! - A symbol counts in its case, since `mA` is no `MA`; a symbol in another case is the only one that it can be. Names
//!   count in any case.
//! - In English any noun may be a unit, but for words that make another number of the one before them; in Chinese only
//!   what is in the list, and what a measure word counts.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::token::{Kind, Token};
use crate::words::is_listed;

/// More words than this after a number are a sentence, not a unit.
const WORDS_MAX: usize = 4;

/// Units that take prefixes: symbol, the symbols of these prefixes, names.
const BASES: [(&str, &str, &str); 36] = [
    ("m", "fpnμcmdk", "meter metre 米"),
    ("g", "nμmkM", "gram gramme 克"),
    ("t", "kM", "ton tonne 吨"),
    ("s", "fpnμm", "second 秒"),
    ("A", "nμmkM", "ampere amp 安培 安"),
    ("K", "mμ", "kelvin 开尔文 开"),
    ("mol", "nμmk", "mole 摩尔"),
    ("Hz", "mkMGT", "hertz 赫兹 赫"),
    ("N", "μmkM", "newton 牛顿 牛"),
    ("Pa", "mhkMG", "pascal 帕斯卡 帕"),
    ("J", "μmkMG", "joule 焦耳 焦"),
    ("W", "nμmkMGT", "watt 瓦特 瓦"),
    ("C", "pnμm", "coulomb celsius 库仑 库 摄氏度"),
    ("V", "nμmkM", "volt 伏特 伏"),
    ("F", "pnμm", "farad fahrenheit 法拉 华氏度"),
    ("Ω", "mkMG", "ohm 欧姆 欧"),
    ("S", "μm", "siemens 西门子"),
    ("Wb", "μm", "weber 韦伯"),
    ("T", "nμm", "tesla 特斯拉"),
    ("H", "nμm", "henry 亨利"),
    ("G", "mk", "gauss 高斯"),
    ("lm", "k", "lumen 流明"),
    ("lx", "k", "lux 勒克斯"),
    ("Bq", "kMG", "becquerel 贝克勒尔"),
    ("Gy", "μm", "gray 戈瑞"),
    ("Sv", "μm", "sievert 希沃特"),
    ("eV", "mkMGT", "electronvolt 电子伏特 电子伏"),
    ("L", "nμcmdk", "liter litre 升"),
    ("cal", "kM", "calorie 卡路里 卡"),
    ("b", "kKMGT", "bit 比特"),
    ("B", "kKMGT", "byte 字节"),
    ("Wh", "mkMGT", "watthour 瓦时"),
    ("Ah", "mk", "amperehour 安时"),
    ("bar", "mk", "巴"),
    ("rad", "mμ", "radian 弧度"),
    ("M", "nμm", "molar"),
];

/// Symbol, name and Chinese name of the prefixes.
const PREFIXES: [(&str, &str, &str); 14] = [
    ("f", "femto", "飞"),
    ("p", "pico", "皮"),
    ("n", "nano", "纳"),
    ("μ", "micro", "微"),
    ("m", "milli", "毫"),
    ("c", "centi", "厘"),
    ("d", "deci", "分"),
    ("h", "hecto", "百"),
    ("k", "kilo", "千"),
    ("K", "kilo", "千"),
    ("M", "mega", "兆"),
    ("G", "giga", "吉"),
    ("T", "tera", "太"),
    ("", "", ""),
];

/// Spellings of other units, the first of each group being what it is the same as.
const NAMES: &str = "cm 公分 釐米|m 公尺|km 公里|kg 公斤|in inch inche 英寸|ft foot feet 英尺|yd yard 码|mi mile 英里|\
    lb pound 磅|oz ounce 盎司|min minute 分钟|h hr hour 小时 时|s sec|day 天 日|week wk 周 星期|month 月 个月|year yr 年|\
    ha hectare 公顷|acre 英亩|mu 亩|° degree deg 度|% percent|dB decibel 分贝|mL cc|gal gallon 加仑|\
    $ dollar usd 美元 美金|cent 美分|€ euro eur 欧元|¥ 元 块 圆 yuan rmb cny 人民币|£ gbp 英镑|₹ rupee inr 卢比|jpy yen 日元|\
    角 毛|unit 单位";

/// Units that are made of others.
const COMPOUNDS: [(&str, &str); 9] = [
    ("Nm", "N m"),
    ("kNm", "kN m"),
    ("mph", "mi / h"),
    ("kph", "km / h"),
    ("kmh", "km / h"),
    ("kmph", "km / h"),
    ("mps", "m / s"),
    ("fps", "ft / s"),
    ("bps", "b / s"),
];

/// Chinese words that count what follows them, which is a noun or nothing.
const MEASURES: &str = "个只条张本支枝件名位人头匹辆台座棵朵颗粒块片根把杯瓶盒箱包袋套组队排行列层级次回遍场种类门项题道页章节课\
    岁点票步圈站户家间栋幢艘架枚发束串碗盘桶罐壶滴份篇首幅面顶扇笔封集部册所句字词号倍度艘株尾匙顿趟笼团批例篮筐堆捆卷段根边角枝锅勺盏";

/// Chinese words that make of what they stand in something else than a unit: "or", "to", "at least", "square of".
const CHINESE_STOPS: [&str; 33] = [
    "或",
    "和",
    "到",
    "至",
    "与",
    "及",
    "且",
    "以上",
    "以下",
    "以内",
    "以外",
    "不",
    "多",
    "余",
    "超",
    "次方",
    "次幂",
    "阶乘",
    "倍数",
    "约数",
    "因数",
    "方根",
    "开方",
    "根号",
    "分之",
    "半",
    "倒数",
    "反数",
    "绝对值",
    "减",
    "加",
    "乘",
    "的平方",
];

/// Words that say nothing about the unit.
const FILLERS: &str = "long wide tall high deep old each total apart away altogether only";

/// Words after which a number is not the answer but a part of it.
const STOPS: &str = "or and to than not but if is are was per of in with for million billion thousand hundred trillion times more \
    pair couple trio dozen gross score lakh crore quadrillion bn half halve third quarter fourth fifth sixth seventh eighth \
    ninth tenth twelfth sixteenth twentieth hundredth thousandth millionth billionth factorial reciprocal inverse root negative minus plus \
    mod modulo base choose fold doubled tripled quadrupled halved less fewer least most greater percentile remainder";

/// Words that are a power behind a unit and an operation behind a number.
const POWERS: [&str; 2] = ["squared", "cubed"];

/// Letters that stand for a unit although they are one letter outside `\text`.
const LETTERS: [&str; 14] = ["m", "s", "g", "h", "L", "l", "N", "J", "W", "V", "A", "K", "C", "F"];

/// Every spelling of a unit: symbols in their case, and symbols and names in small letters.
struct Spellings {
    symbols: HashMap<String, String>,
    /// None where two symbols differ only in case.
    loose: HashMap<String, Option<String>>,
    names: HashMap<String, String>,
}

static SPELLINGS: LazyLock<Spellings> = LazyLock::new(|| {
    let mut symbols = HashMap::new();
    let mut names = HashMap::new();
    for (symbol, prefixes, base_names) in BASES {
        for (prefix, name, chinese) in PREFIXES {
            if !(prefix.is_empty() || prefixes.contains(prefix)) {
                continue;
            }
            // A kilobyte is written with either letter.
            let shown = if prefix == "K" { "k" } else { prefix };
            let unit = format!("{shown}{symbol}");
            symbols.insert(format!("{prefix}{symbol}"), unit.clone());
            for base in base_names.split(' ') {
                let spelled = if base.is_ascii() { name } else { chinese };
                names.insert(format!("{spelled}{base}"), unit.clone());
            }
            if prefix == "μ" {
                symbols.insert(format!("u{symbol}"), unit);
            }
        }
    }
    for row in NAMES.split('|') {
        let unit = row.split(' ').next().unwrap_or("");
        for name in row.split(' ') {
            names.insert(name.to_lowercase(), unit.to_owned());
        }
        if unit.is_ascii() && unit.len() <= 2 {
            symbols.insert(unit.to_owned(), unit.to_owned());
        }
    }
    // A thousand, and no kelvin.
    symbols.insert("k".to_owned(), "k".to_owned());
    for (compound, units) in COMPOUNDS {
        symbols.insert(compound.to_owned(), units.to_owned());
    }
    let mut loose: HashMap<String, Option<String>> = HashMap::new();
    for (symbol, unit) in &symbols {
        loose
            .entry(symbol.to_lowercase())
            .and_modify(|other| {
                if other.as_ref() != Some(unit) {
                    *other = None;
                }
            })
            .or_insert_with(|| Some(unit.clone()));
    }
    Spellings { symbols, loose, names }
});

/// No symbol has more bytes.
const SYMBOL_MAX: usize = 5;

/// Returns whether a word is the symbol of a unit in which the case of a letter counts.
pub(super) fn is_cased(word: &str) -> bool {
    word.len() <= SYMBOL_MAX
        && SPELLINGS.symbols.contains_key(word)
        && matches!(SPELLINGS.loose.get(&word.to_lowercase()), Some(None))
}

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

    /// Returns whether the two do not contradict each other: one says nothing, or they have the same words, or all
    /// words of one are among the other's and one is not in the list.
    pub(super) fn agrees(&self, other: &Unit) -> bool {
        let within = |a: &Unit, b: &Unit| a.words.iter().all(|word| b.words.contains(word));
        self.words == other.words
            || within(self, other) && (self.is_none() || !(self.known && other.known))
            || within(other, self) && (other.is_none() || !(self.known && other.known))
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
                if is_chinese(word) {
                    is_chinese_unit(word)
                } else {
                    !is_stop(word) || word == "in"
                }
            }
            Kind::Letter => {
                words += 1;
                LETTERS.contains(&word)
                    || word == "Ω"
                    || word == "\\Omega"
                    || word == "μ"
                    || (is_chinese(word) && is_chinese_unit(word))
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
        let word = &text[tokens[start].start..tokens[start].end];
        if starts && follows && !POWERS.iter().any(|power| power.eq_ignore_ascii_case(word)) {
            return Some((start, unit(text, &tokens[start..])));
        }
        start += 1;
    }
    None
}

fn is_stop(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    is_listed(&word, STOPS)
        || word
            .strip_suffix('s')
            .is_some_and(|singular| is_listed(singular, STOPS) && singular != "i" && word != "is")
}

/// Returns the names of the words; a power counts as a word, `square` and `cubic` are powers.
fn unit(text: &str, tokens: &[Token]) -> Unit {
    let mut unit = Unit { words: Vec::new(), known: true };
    let mut squared = None;
    for token in tokens {
        let word = text[token.start..token.end].trim_start_matches('\\');
        match word.to_lowercase().as_str() {
            "square" | "sq" | "squared" => squared = Some("2"),
            "cubic" | "cubed" => squared = Some("3"),
            lower if is_listed(lower, FILLERS) => {}
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
                Kind::Word | Kind::Letter | Kind::Currency => unit.push(word),
                _ => {}
            },
        }
    }
    unit.words.extend(squared.map(str::to_owned));
    // The degrees of a temperature are no angle.
    if let [degree, scale] = unit.words.as_slice()
        && degree == "°"
        && matches!(scale.as_str(), "C" | "F")
    {
        unit.words.remove(0);
    }
    unit
}

impl Unit {
    fn push(&mut self, word: &str) {
        let (name, known) = name(word);
        self.words.extend(name.split(' ').map(str::to_owned));
        self.known &= known;
    }
}

fn is_chinese(word: &str) -> bool {
    word.starts_with(crate::unicode::is_chinese)
}

/// Returns whether a Chinese word is in the list of units, or counts something.
fn is_chinese_unit(word: &str) -> bool {
    let bare = |part: &str| {
        let part = part.strip_prefix("平方").or_else(|| part.strip_prefix("立方")).unwrap_or(part);
        SPELLINGS.names.contains_key(part)
    };
    // `分米` has no half of anything in it, `个对手` has no pair.
    if word.split('每').all(bare) {
        return true;
    }
    !CHINESE_STOPS.iter().any(|stop| word.contains(stop))
        && word.starts_with(|c: char| MEASURES.contains(c))
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
        unit.push(power.map_or(part, |(part, _)| part));
        unit.words.extend(power.map(|(_, power)| power.to_owned()));
    }
}

/// Returns the name of a unit and whether it is in the list; the singular of any other word in small letters.
fn name(word: &str) -> (String, bool) {
    let word = match word {
        "Omega" => "Ω",
        word => word,
    };
    let lower = word.to_lowercase();
    let singular = lower.strip_suffix('s').filter(|singular| singular.len() > 1).unwrap_or(&lower);
    let Spellings { symbols, loose, names } = &*SPELLINGS;
    let found = symbols
        .get(word)
        .or_else(|| names.get(&lower))
        .or_else(|| names.get(singular))
        .or_else(|| symbols.get(word.strip_suffix('s').filter(|word| word.len() > 1)?))
        .or_else(|| loose.get(&lower)?.as_ref());
    match found {
        Some(name) => (name.clone(), true),
        None if matches!(loose.get(&lower), Some(None)) => (word.to_owned(), true),
        None => (singular.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_count_in_their_case() {
        for (word, expected) in [
            ("mA", "mA"),
            ("MA", "MA"),
            ("mPa", "mPa"),
            ("MPa", "MPa"),
            ("megapascals", "MPa"),
            ("Milliamps", "mA"),
            ("毫安", "mA"),
            ("CM", "cm"),
            ("KG", "kg"),
            ("ml", "mL"),
            ("cc", "mL"),
            ("hrs", "h"),
            ("Nm", "N m"),
            ("nm", "nm"),
            ("KB", "kB"),
            ("Gb", "Gb"),
            ("公里", "km"),
            ("Dollars", "$"),
        ] {
            assert_eq!(name(word), (expected.to_owned(), true), "{word}");
        }
        assert_eq!(name("NM"), ("NM".to_owned(), true), "either of two");
        assert_eq!(name("Apples"), ("apple".to_owned(), false));
    }

    #[test]
    fn chinese_units_are_listed_or_counted() {
        for word in ["厘米", "平方分米", "米每秒", "个", "个苹果", "只", "倍", "千瓦", "元", "分钟"]
        {
            assert!(is_chinese_unit(word), "{word}");
        }
        for word in [
            "的平方",
            "个的倍数",
            "次方",
            "倍数",
            "折",
            "成",
            "对",
            "开方",
            "阶乘",
            "分之一",
            "平方",
        ] {
            assert!(!is_chinese_unit(word), "{word}");
        }
    }
}
