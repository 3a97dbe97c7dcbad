//! Bad input never panics: recipes with mistakes in them are read or refused.
//!
//! Does not know which: the recipe's own tests say what is a mistake.

use proptest::prelude::*;
use synergy_suite::recipe::Recipe;
use synergy_tests::TINY;

/// What a person or an editor does to a line.
#[derive(Debug, Clone)]
enum Mistake {
    Deleted,
    Twice,
    /// Another value after the equals sign.
    Value(&'static str),
    /// Cut after so many characters.
    Cut(usize),
}

const VALUES: [&str; 14] = [
    "0",
    "1",
    "-1",
    "0.5",
    "-0.0",
    "nan",
    "inf",
    "1e308",
    "9223372036854775807",
    "[]",
    "[3, 1]",
    "\"\"",
    "\"nano\"",
    "{}",
];

fn mistakes() -> impl Strategy<Value = Vec<(usize, Mistake)>> {
    let mistake = prop_oneof![
        Just(Mistake::Deleted),
        Just(Mistake::Twice),
        proptest::sample::select(&VALUES[..]).prop_map(Mistake::Value),
        (0_usize..30).prop_map(Mistake::Cut),
    ];
    proptest::collection::vec((0..TINY.lines().count(), mistake), 1..4)
}

fn with(mistakes: &[(usize, Mistake)]) -> String {
    let mut lines: Vec<String> = TINY.lines().map(str::to_owned).collect();
    for (number, mistake) in mistakes {
        let line = &mut lines[*number];
        *line = match mistake {
            Mistake::Deleted => String::new(),
            Mistake::Twice => format!("{line}\n{line}"),
            Mistake::Value(value) => match line.split_once(" = ") {
                Some((name, _)) => format!("{name} = {value}"),
                None => line.clone(),
            },
            Mistake::Cut(length) => line.chars().take(*length).collect(),
        };
    }
    lines.join("\n")
}

proptest! {
    // Each case takes a fraction of a millisecond.
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_recipe_with_mistakes_is_read_or_refused_with_a_line_of_text(mistakes in mistakes()) {
        let text = with(&mistakes);
        match Recipe::parse(&text) {
            // What was read can be planned: nobody asks later.
            Ok(recipe) => prop_assert!(
                recipe.regimes.iter().all(|r| recipe.order(&r.stage).len() <= recipe.stages.len())
            ),
            Err(error) => {
                let said = format!("{error:#}");
                prop_assert!(!said.is_empty());
            }
        }
    }
}

#[test]
fn every_number_set_to_every_odd_value_is_read_or_refused() {
    let mut refused = 0;
    for number in 0..TINY.lines().count() {
        for value in VALUES {
            refused +=
                usize::from(Recipe::parse(&with(&[(number, Mistake::Value(value))])).is_err());
        }
    }
    assert!(refused > 500, "only {refused} refused");
}

#[test]
fn the_recipe_without_mistakes_is_read() {
    Recipe::parse(TINY).unwrap();
}
