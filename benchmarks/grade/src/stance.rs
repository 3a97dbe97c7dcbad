//! Whether a sentence states the answer, or denies it, asks for it, supposes it, or says that others state it.
//!
//! This module does not know options or where a cue such as "the answer is" stands; it reads what is before the cue and
//! what is after it, in English and Chinese.
//!
//! Decisions:
//! - What is doubtful is not stated: a supposition that no comma and no "then" ends, a question mark behind the answer.
//! - "I think" states, "some think" does not; a figure or a formula may say what the answer is, a person other than
//!   the writer may not.
//! - A denial before the answer holds for its clause, one behind it where it speaks of the answer: ", which is wrong"
//!   denies, ", which is not even" does not.

use crate::unicode::is_chinese;
use crate::words::{is_listed, small};

/// So many bytes before a cue and after it are read; longer sentences say nothing about the answer there.
const BYTES_MAX: usize = 320;

/// What a sentence does with the answer that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stance {
    Asserted,
    /// Says that this is not the answer.
    Denied,
    Asked,
    Supposed,
    /// Says what somebody else takes for the answer.
    Reported,
    /// Names what the answer is not, in the answer's place: `not 5`. Such words may themselves be an answer.
    Negative,
}

/// Words that deny or doubt what stands beside them.
const DENIALS: &str = "not neither nor cannot can't isn't aren't wasn't doesn't don't didn't won't never no except unlike \
    incorrect wrong false or either";
/// The same in Chinese, where a sign is a word.
const CHINESE_DENIALS: [&str; 8] = ["不", "没", "非", "或", "除", "错", "误", "排"];

/// Words before a cue that make of it a denial.
const DENIALS_BEFORE: &str = "not cannot can't isn't aren't wasn't doesn't don't didn't won't wouldn't couldn't never neither nor \
    wrong incorrect false untrue mistaken mistakenly wrongly incorrectly falsely doubt doubtful deny denies reject unlikely \
    impossible refute disprove";
const CHINESE_DENIALS_BEFORE: [&str; 5] = ["不", "没", "非", "错", "误"];

/// Phrases with such words that deny nothing.
const NO_DENIALS: [&str; 35] = [
    "不等",
    "不同",
    "不变",
    "不定",
    "非负",
    "no doubt",
    "without doubt",
    "without a doubt",
    "beyond doubt",
    "not hard",
    "not difficult",
    "not surprising",
    "not only",
    "if not",
    "wrong with",
    "不难",
    "毫无疑问",
    "不妨",
    "非常",
    "不仅",
    "不但",
    "没问题",
    "没错",
    "不错",
    "不言而喻",
    "不得不",
    "不禁",
    "不过",
    "不管",
    "不论",
    "不断",
    "不大于",
    "不小于",
    "不超过",
    "不少于",
];

/// What is said of an answer that is not one.
const WRONG: [&str; 31] = [
    "wrong",
    "incorrect",
    "false",
    "untrue",
    "mistaken",
    "a mistake",
    "an error",
    "impossible",
    "nonsense",
    "ruled out",
    "excluded",
    "eliminated",
    "a contradiction",
    "contradictory",
    "absurd",
    "not right",
    "not correct",
    "not true",
    "not possible",
    "not the answer",
    "not the case",
    "n't right",
    "n't correct",
    "n't true",
    "n't possible",
    "n't the answer",
    "cannot be",
    "can't be",
    "cannot be right",
    "can't be right",
    "is not",
];
const CHINESE_WRONG: [&str; 15] = [
    "错",
    "不对",
    "不正确",
    "不成立",
    "不可能",
    "矛盾",
    "有误",
    "误解",
    "误导",
    "不符合",
    "不合",
    "不是答案",
    "不是正确",
    "不是对的",
    "排除",
];

/// Words with which a clause goes on to speak of the answer just named.
const POINTERS: [&str; 14] = [
    "which",
    "that",
    "that's",
    "this",
    "it",
    "it's",
    "but that",
    "but this",
    "but it",
    "but which",
    "but that's",
    "but it's",
    "though that",
    "though this",
];
const CHINESE_POINTERS: [&str; 18] = [
    "这",
    "那",
    "该",
    "此",
    "但这",
    "但那",
    "但是这",
    "不过这",
    "显然",
    "却",
    "是",
    "则",
    "不",
    "错",
    "有误",
    "但不",
    "但错",
    "矛盾",
];

/// What may stand before such a clause.
const INTERJECTIONS: &str = "no wait but however hmm actually oh sorry yet clearly obviously and";

/// Words that suppose what follows.
const CONDITIONS: &str =
    "if suppose supposing assume assuming unless whether imagine imagining pretend hypothetically";
const CHINESE_CONDITIONS: [&str; 14] = [
    "如果", "若", "假如", "假设", "假定", "倘若", "要是", "设", "除非", "万一", "即使", "假使",
    "就算", "是否",
];
/// Chinese words with such a sign that suppose nothing.
const NO_CONDITIONS: [&str; 6] = ["若干", "设备", "设计", "设置", "设立", "建设"];
/// Words between commas that do not end a supposition.
const ADVERBS: &str = "however for example say instance indeed instead then now that in fact on the contrary contrary other hand";

/// Words that ask.
const CHINESE_QUESTIONS: [&str; 8] =
    ["吗", "呢", "是不是", "难道", "会不会", "能不能", "为什么", "为何"];

/// Words with which somebody says or takes something.
const REPORTS: &str = "say says said think thinks thought believe believes believed claim claims claimed argue argues argued \
    guess guesses guessed insist insists insisted assert asserts asserted answered wrote named \
    choose chooses chose select selects selected pick picks picked answers replied replies";
const CHINESE_REPORTS: [&str; 10] =
    ["说", "认为", "以为", "觉得", "猜", "声称", "宣称", "主张", "误认", "选了"];
/// Chinese words with such a sign that report nothing.
const NO_REPORTS: [&str; 10] = [
    "说明",
    "说来",
    "所以说",
    "也就是说",
    "就是说",
    "可以说",
    "来说",
    "换句话说",
    "换言之说",
    "解说",
];

/// The writer, and others.
const FIRST_PERSON: &str = "i we i'd i'll i'm i've we'd we'll let let's me us my our";
const OTHERS: &str = "him her them some many most people student students teacher friend user author textbook book classmate";
const PERSONS: [&str; 17] = [
    "有人", "的人", "人们", "大家", "同学", "小明", "小红", "小华", "小刚", "小丽", "老师", "学生",
    "他", "她", "他们", "别人", "某人",
];
/// What is no subject of a verb that follows.
const CONNECTORS: &str =
    "so therefore thus hence then to now please finally and or we'll must should can";
/// Whose answer it is not the writer's.
const OWNERS: &str = "his her their whose student user somebody someone";
/// What only looks like an owner.
const NO_OWNERS: &str = "today's it's that's what's here's there's let's";
/// What has answers of its own, and what says something without being somebody.
const SOURCES: &str = "question problem puzzle exercise riddle task test equation quiz part step series sequence figure fig table chart \
    graph diagram picture image formula theorem law rule definition data passage text section pythagoras";
/// What may stand between an owner and the answer.
const ADJECTIVES: &str = "the final own first second last best correct right";

/// Returns what a text does with the answer that `after` starts with; `before` stands before the cue, which ends there.
pub(super) fn of(before: &str, after: &str) -> Stance {
    let before = &before[before.ceil_char_boundary(before.len().saturating_sub(BYTES_MAX))..];
    let after = &after[..after.floor_char_boundary(BYTES_MAX)];
    let before = before.trim_end_matches(['(', '[', '*', '_', '$', '`', ' ']);
    let sentence_before = small(last_part(before, &['.', '!', '?', ';', '\n']));
    let clause = clause_of(&sentence_before);
    let (sentence, next) = cut_sentence(after);
    let sentence = small(sentence);
    if supposes(&sentence_before) || is_conditional(&sentence) {
        Stance::Supposed
    } else if asks(clause, &sentence) {
        Stance::Asked
    } else if reports(clause, &sentence_before) || is_quoted(&sentence) {
        Stance::Reported
    } else if denies_before(clause) || denies_after(&sentence, &small(next)) {
        Stance::Denied
    } else if is_negative(&sentence) {
        Stance::Negative
    } else {
        Stance::Asserted
    }
}

/// Returns the clause that a sentence ends with: after "some say," also what says so.
fn clause_of(sentence: &str) -> &str {
    let clause = last_part(sentence, &[',', ':', '(', '—']);
    let before = sentence[..sentence.len() - clause.len()].trim_end_matches([',', ':', ' ']);
    let said =
        words(before).last().is_some_and(|word| before.ends_with(word) && is_listed(word, REPORTS));
    let is_said = said || CHINESE_REPORTS.iter().any(|word| before.ends_with(word));
    let is_bare =
        words(clause).all(|word| is_listed(word, ADJECTIVES)) && !clause.contains(is_chinese);
    if is_said && is_bare {
        let start = last_part(before, &[',', ':', '(', '—']).len();
        return &sentence[before.len() - start..];
    }
    clause
}

/// Returns whether what stands after a box or a tag takes back what that says: a question mark, or that it is wrong.
pub(super) fn takes_back(after: &str) -> bool {
    let after = &after[..after.floor_char_boundary(BYTES_MAX)];
    let closed = after.trim_start_matches(['}', '$', ')', ']', '\\', '*', ' ', '_']);
    let closed = closed.strip_prefix("text{").unwrap_or(closed);
    if closed.len() <= 1 {
        return closed == "?";
    }
    // "The number 5 is not even" takes nothing back.
    let called = cut_sentence(closed).0.split(',').next().unwrap_or("").to_lowercase();
    if closed.starts_with('?') || (calls_wrong(&called) && refutes(&called)) {
        return true;
    }
    // As behind an answer of one sign.
    let (sentence, next) = cut_sentence(closed);
    let [sentence, next] = [sentence, next].map(small);
    let mut clauses = sentence.split([',', ';', '(', '—', '.']);
    let first = clauses.next().unwrap_or("");
    let apart = first.trim().is_empty();
    (apart && clauses.any(refers_and_denies)) || refers_and_denies(cut_sentence(&next).0)
}

/// Returns whether a text denies or doubts something.
pub(super) fn denies(text: &str) -> bool {
    has(&text.to_lowercase(), DENIALS) || denies_in_chinese(text)
}

/// As [`denies`], of a Chinese text.
pub(super) fn denies_in_chinese(text: &str) -> bool {
    CHINESE_DENIALS.iter().any(|word| text.contains(word))
}

/// Returns whether a text that follows the name of something says that it is wrong: `is wrong`, `(wrong)`, `是错的`.
pub(super) fn refutes(text: &str) -> bool {
    let text = text.trim_start();
    if text.is_empty() {
        return false;
    }
    let text = text.to_lowercase();
    if let Some(inner) = text.strip_prefix('(') {
        return says_wrong(inner);
    }
    let verbs =
        "is was isn't wasn't would cannot can't must seems looks does doesn't should ain't turns";
    let first = text.split(|c: char| !c.is_alphanumeric() && c != '\'').next().unwrap_or("");
    if !first.is_ascii() {
        return ["是", "不", "错", "有误", "应", "被", "显然", "也"]
            .iter()
            .any(|verb| text.starts_with(verb))
            && denies_in_chinese(&text);
    }
    is_listed(first, verbs) && (says_wrong(&text) || has(&text, DENIALS))
}

/// Returns the right answer of a text that first names a wrong one: `not 5 but 6`, `不是5,而是6`.
pub(super) fn corrected(after: &str) -> Option<&str> {
    let (sentence, _) = cut_sentence(after);
    let lower = sentence.to_lowercase();
    if !is_negative(&lower) || has(&lower, "anything") {
        return None;
    }
    let turns = [
        "而是",
        "而应是",
        "而应为",
        "应该是",
        "应当是",
        "应为",
        "应是",
        " but rather ",
        " but ",
        ", it is ",
        ", it's ",
    ];
    turns.iter().find_map(|turn| Some(&sentence[sentence.find(turn)? + turn.len()..]))
}

/// Returns whether the words just before the end of a text deny what follows: `cannot be`, `不是`.
pub(super) fn ends_in_denial(text: &str) -> bool {
    let lower = text.trim_end().to_lowercase();
    let mut last = lower.rsplit(' ').take(3);
    let is_denial = |word: &str| is_listed(word, DENIALS) && !matches!(word, "or" | "either");
    let signs: Vec<char> = lower.chars().rev().take(4).collect();
    last.any(is_denial) || signs.iter().any(|sign| matches!(sign, '不' | '非' | '没'))
}

/// Returns what follows the last of some signs.
fn last_part<'a>(text: &'a str, signs: &[char]) -> &'a str {
    // The point of a decimal ends nothing.
    let mut end = text.len();
    while let Some(at) = text[..end].rfind(signs) {
        let sign = text[at..].chars().next().map_or(1, char::len_utf8);
        let rest = &text[at + sign..];
        let inside = text[at..].starts_with(['.', ',', ':'])
            && rest.starts_with(|c: char| c.is_ascii_digit())
            && text[..at].ends_with(|c: char| c.is_ascii_digit());
        if !inside {
            return rest;
        }
        end = at;
    }
    text
}

/// Returns the first sentence with the sign at its end, and what follows it.
fn cut_sentence(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([':', '*', '_', ' ', '\n', '\r', '\t', '>', '#', '=']);
    let mut signs = text.char_indices().peekable();
    while let Some((at, sign)) = signs.next() {
        let next = signs.peek().map(|(_, next)| *next);
        let ends = match sign {
            '\n' | '?' | ';' => true,
            // `2.5` goes on, and `B. red` as long as that says nothing of something else.
            '.' if !next.is_none_or(|next| next.is_whitespace() || next == '*') => false,
            '.' if at == 1 && text.starts_with(|c: char| c.is_ascii_uppercase()) => {
                let rest = text[2..].split(['.', '\n']).next().unwrap_or("").to_lowercase();
                calls_wrong(&rest) && !refutes(&rest)
            }
            '.' => true,
            '!' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        if ends {
            let end = at + sign.len_utf8();
            return (&text[..end], &text[end..]);
        }
    }
    (text, "")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '\'' | '’')))
        .filter(|word| !word.is_empty())
}

/// Returns where a word that was cut from `text` ends in it.
fn end_of(word: &str, text: &str) -> usize {
    word.as_ptr() as usize - text.as_ptr() as usize + word.len()
}

/// Returns whether one of the words of a list stands in a text.
fn has(text: &str, list: &str) -> bool {
    words(text).any(|word| is_listed(word, list))
}

fn supposes(sentence: &str) -> bool {
    let mut cleaned = sentence.to_owned();
    for word in NO_CONDITIONS {
        cleaned = cleaned.replace(word, "");
    }
    let parts: Vec<&str> = cleaned.split(',').collect();
    for (place, part) in parts.iter().enumerate().rev() {
        let english = words(part)
            .filter(|word| is_listed(word, CONDITIONS))
            .map(|word| end_of(word, part))
            .max();
        let chinese =
            CHINESE_CONDITIONS.iter().filter_map(|word| Some(part.rfind(word)? + word.len())).max();
        let were = ["were ", "had "].iter().any(|word| part.trim_start().starts_with(word));
        let english = english.or(were.then_some(0));
        let said = part.rfind("let's say").or_else(|| part.rfind("let us say")).map(|at| at + 9);
        let Some(end) = english.max(chinese).max(said) else { continue };
        let rest = &part[end..];
        let goes_on = [
            "then",
            "so",
            "therefore",
            "thus",
            "hence",
            "那么",
            "则",
            "那",
            "所以",
            "因此",
            "故",
            "可得",
            "得到",
        ]
        .iter()
        .any(|word| if word.is_ascii() { has(rest, word) } else { rest.contains(word) });
        let empty = |part: &str| {
            words(part).all(|word| is_listed(word, ADVERBS)) && !part.contains(is_chinese)
        };
        // `if x = 5,` is over, `if, however,` is not.
        let over = goes_on || (place + 1 < parts.len() && !empty(rest));
        return !over;
    }
    false
}

/// Returns whether the answer holds only where something else does.
fn is_conditional(sentence: &str) -> bool {
    let clause = sentence.split(',').next().unwrap_or("");
    ["only if", " if ", " unless ", " provided that ", " otherwise"]
        .iter()
        .any(|word| clause.contains(word))
        || ["如果", "除非", "否则"].iter().any(|word| clause.contains(word))
}

fn asks(clause: &str, sentence: &str) -> bool {
    let end = sentence.trim_end_matches(['*', '_', ' ', '"', '”', ')']);
    end.ends_with('?')
        || sentence.split([',', '.']).next().is_some_and(|first| {
            first.trim_end_matches(['*', '_', ' ', '?', '\n']).ends_with(['吗', '呢'])
        })
        || CHINESE_QUESTIONS.iter().any(|word| clause.contains(word))
}

fn reports(clause: &str, sentence: &str) -> bool {
    // "According to him, …"; a figure or a law has no opinion.
    if let Some(at) = sentence.rfind("according to ") {
        let whose = &sentence[at + "according to ".len()..];
        let whose = &whose[..whose.find(',').unwrap_or(whose.len())];
        let one = words(whose).count() == 1 && !has(whose, SOURCES);
        if one || has(whose, OTHERS) {
            return true;
        }
    }
    if let Some(place) = words(clause).position(|word| is_listed(word, REPORTS)) {
        let before = || words(clause).take(place);
        let own = before().any(|word| is_listed(word, FIRST_PERSON));
        // "Choose the correct answer: B" tells nobody's choice.
        let subject = before().any(|word| !is_listed(word, CONNECTORS));
        if subject && !own {
            return true;
        }
    }
    let owner = words(clause).filter(|word| !is_listed(word, ADJECTIVES)).last().unwrap_or("");
    let owns = owner.len() > 2 && owner.ends_with("'s")
        || owner.ends_with("s'")
        || is_listed(owner, OWNERS);
    let thing = owner.trim_end_matches("'s");
    if owns && !has(thing, SOURCES) && !is_listed(owner, NO_OWNERS) {
        return true;
    }
    let mut chinese = clause.to_owned();
    for word in NO_REPORTS {
        chinese = chinese.replace(word, "");
    }
    let report = CHINESE_REPORTS.iter().filter_map(|word| chinese.find(word)).min();
    if let Some(at) = report {
        let own = chinese[..at].contains('我') || chinese[..at].contains("咱");
        if !own || chinese[at..].starts_with("以为") {
            return true;
        }
    }
    let owner = chinese.trim_end().trim_end_matches([
        '的', '正', '确', '最', '终', '选', '择', '了', '都', '会', '也', '就', '想',
    ]);
    PERSONS.iter().any(|person| owner.ends_with(person))
}

/// Returns whether a later clause names who says so: "…, he said".
fn is_quoted(sentence: &str) -> bool {
    sentence.split(',').skip(1).any(|clause| {
        let clause = clause.trim().trim_end_matches(['.', '"', '”', ' ']);
        let english =
            words(clause).count() == 2 && has(clause, REPORTS) && !has(clause, FIRST_PERSON);
        english || (clause.ends_with('说') && !clause.contains('我'))
    })
}

fn denies_before(clause: &str) -> bool {
    let mut clause = clause.to_owned();
    for phrase in NO_DENIALS {
        clause = clause.replace(phrase, "");
    }
    let cut = ["so", "therefore", "thus", "hence", "but", "then", "and", "because"];
    let start = words(&clause)
        .filter(|word| cut.contains(word))
        .map(|word| end_of(word, &clause))
        .max()
        .unwrap_or(0);
    let chinese = ["所以", "因此", "故", "但", "而", "可知", "可得", "得"]
        .iter()
        .filter_map(|word| Some(clause.rfind(word)? + word.len()))
        .max()
        .unwrap_or(0);
    has(&clause[start..], DENIALS_BEFORE)
        || CHINESE_DENIALS_BEFORE.iter().any(|word| clause[chinese..].contains(word))
}

/// Returns whether a text calls something wrong, with nothing behind that turns it into something else.
fn says_wrong(text: &str) -> bool {
    WRONG.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let rest = &text[at + word.len()..];
            let whole = !rest.starts_with(|c: char| c.is_alphanumeric());
            let ends = words(rest).next().is_none_or(|next| {
                has(next, "because since as here either too at and so though but by")
            }) || rest.starts_with(['.', ',', ';', ')', '!', ':']);
            let doubled = text[..at].trim_end().ends_with("not");
            whole && ends && !doubled
        })
    })
}

/// Returns whether a text in small letters calls something wrong, in either language.
fn calls_wrong(text: &str) -> bool {
    says_wrong(text) || calls_wrong_in_chinese(text)
}

fn calls_wrong_in_chinese(text: &str) -> bool {
    CHINESE_WRONG.iter().any(|word| text.contains(word))
}

/// Returns whether what follows an answer says that it is wrong.
fn denies_after(sentence: &str, next: &str) -> bool {
    let mut clauses = sentence.split([',', ';', '(', '—', '-']);
    let first = clauses.next().unwrap_or("");
    let reasons =
        [" because", " since ", " as ", " so ", " while ", " whereas ", "因为", "由于", "所以"];
    let reason = reasons.iter().filter_map(|reason| first.find(reason)).min();
    let first = &first[..reason.unwrap_or(first.len())];
    // `B is wrong`, `5是错的`.
    let content = first.char_indices().nth(1).map_or("", |(at, _)| &first[at..]);
    let verb = [
        " is ",
        " isn't",
        " was ",
        " wasn't",
        " would be ",
        " must be ",
        " cannot be",
        " can't be",
        " seems ",
        " turns out ",
    ];
    let english = verb
        .iter()
        .filter_map(|verb| content.find(verb))
        .min()
        .is_some_and(|at| says_wrong(&content[at..]) || content[at..].contains("not right"));
    let chinese = [
        "是错",
        "错误",
        "错了",
        "不对",
        "不正确",
        "不成立",
        "有误",
        "是不对",
        "是误",
        "不可能",
        "被排除",
        "不符合",
    ]
    .iter()
    .any(|word| content.contains(word));
    // "The statement is false" may be the answer.
    let described = has(words(first).next().unwrap_or(""), "the that this a an it there")
        || ["这", "该", "此", "那", "题", "原", "命题", "说法"]
            .iter()
            .any(|word| first.starts_with(word));
    if (english || chinese) && !described {
        return true;
    }
    clauses.any(refers_and_denies) || refers_and_denies(cut_sentence(next).0)
}

/// Returns whether a clause speaks of what was named just before, and calls it wrong.
fn refers_and_denies(clause: &str) -> bool {
    let mut clause = clause.trim_start_matches(['*', '_', ' ', '\n', ',', '"']);
    let (mut interjected, mut refused) = (false, false);
    while let Some(word) = words(clause).next()
        && clause.starts_with(word)
        && is_listed(word, INTERJECTIONS)
    {
        let rest = &clause[word.len()..];
        refused |=
            word == "no" && rest.trim_end().is_empty() | rest.starts_with([',', '.', '!', ';']);
        clause = rest.trim_start_matches([' ', ',', '.', '!', '—', '-']);
        interjected = true;
    }
    if clause.starts_with(is_chinese) {
        return clause.starts_with("不,")
            || CHINESE_POINTERS.iter().any(|pointer| clause.starts_with(pointer))
                && calls_wrong_in_chinese(clause);
    }
    // "It is impossible" may say why; "it is wrong" does not.
    let plain = [
        "wrong",
        "incorrect",
        "mistaken",
        "not right",
        "not correct",
        "n't right",
        "n't correct",
        "not the answer",
    ];
    let pointer = POINTERS.iter().find(|pointer| {
        clause.starts_with(**pointer)
            && !clause[pointer.len()..].starts_with(|c: char| c.is_alphanumeric())
    });
    let points = pointer.is_some_and(|pointer| {
        let contrasts = pointer.starts_with("but") || *pointer == "which";
        says_wrong(clause)
            && (contrasts || plain.iter().any(|word| clause.contains(word)) || interjected)
    });
    let bare = ["wrong", "incorrect", "false", "not right", "not correct"]
        .iter()
        .any(|word| clause.starts_with(word));
    refused || points || (bare && says_wrong(clause))
}

/// Returns whether the place of the answer has a denial.
fn is_negative(sentence: &str) -> bool {
    let mut starts = words(sentence);
    let first = starts.next().unwrap_or("");
    let second = starts.next().unwrap_or("");
    let stressed =
        ["definitely", "certainly", "clearly", "obviously", "probably", "surely", "really", "also"];
    let word = if stressed.contains(&first) { second } else { first };
    let begins = sentence.trim_start_matches(['*', '_', ' ', '$', '"', '“']);
    let english = matches!(word, "not" | "never" | "neither" | "cannot" | "anything" | "n't")
        && begins.starts_with(first);
    english
        || ["不", "并不", "并非", "非", "绝不", "没", "肯定不", "一定不", "绝对不", "显然不"]
            .iter()
            .any(|word| begins.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_stance_has_its_words() {
        for (before, after, expected) in [
            ("So the ", " 5.", Stance::Asserted),
            ("If x = 2, the ", " 5.", Stance::Asserted),
            ("If the ", " 5 then 1=2.", Stance::Supposed),
            ("If, however, the ", " 5, stop.", Stance::Supposed),
            ("如果", "5,则矛盾", Stance::Supposed),
            ("", "5吗?", Stance::Asked),
            ("The ", " 5?", Stance::Asked),
            ("Some say the ", " 5.", Stance::Reported),
            ("I say the ", " 5.", Stance::Asserted),
            ("Tom's ", " 5.", Stance::Reported),
            ("The puzzle's ", " 5.", Stance::Asserted),
            ("小明的", "5", Stance::Reported),
            ("The ", " 5, he said.", Stance::Reported),
            ("The ", " 5, which is wrong.", Stance::Denied),
            ("The ", " 5, which is not even.", Stance::Asserted),
            ("The wrong ", " 5.", Stance::Denied),
            ("No doubt the ", " 5.", Stance::Asserted),
            ("不难看出", "5", Stance::Asserted),
            ("", "5是错的", Stance::Denied),
            ("The ", " not 5.", Stance::Negative),
            ("", "不是5", Stance::Negative),
        ] {
            assert_eq!(of(before, after), expected, "{before}|{after}");
        }
        assert_eq!(corrected(" not 5 but 6").map(str::trim), Some("6"));
        assert_eq!(corrected("不是5,而是6"), Some("6"));
        assert_eq!(corrected(" anything but 6"), None);
    }

    #[test]
    fn a_box_may_be_taken_back() {
        for text in
            ["}$, which is wrong.", "}$?", "} is incorrect.", "}. 不对", "}. Wait, that is wrong."]
        {
            assert!(takes_back(text), "{text}");
        }
        for text in ["}$.", "}$ is not even.", "}$, which is odd.", "}. (A) is wrong.", "} (not 4)"]
        {
            assert!(!takes_back(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(before in "([a-z ,.:'不若说。（]|if |says |\\n){0,30}", after in "([A-D0-9 ,.:?'不吗而是错]|not |but |wrong|\\n){0,30}") {
            of(&before, &after);
            takes_back(&after);
            corrected(&after);
            refutes(&after);
        }
    }
}
