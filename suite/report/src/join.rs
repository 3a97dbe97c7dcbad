//! Results of several runs of one recipe as one: rows and seeds that were made in parts, on other days or machines. Pure.
//!
//! This module does not know where parts come from. They belong together if recipe, base, questions, levels and the code
//! that decides bits are the same; what two of them have both must be the same to the last answer. So joining never chooses
//! between figures. The levels are cut on the base's own answers: parts whose machines round differently do not join, since
//! each would then cut other levels.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use synergy_hint::hint;

use crate::score::{Missing, Provenance, Question, ResultRow, Results, SeedOutcomes};

/// Joins `parts`, each with a name for messages, such as that of its file. Rows keep the order of the first part that has
/// them; seeds are sorted.
///
/// # Errors
/// If there are fewer than two parts, two of them are not of the same recipe, base, questions and code, or what both have
/// differs.
pub fn join(parts: &[(String, Results)]) -> Result<Results> {
    let [(first, whole), others @ ..] = parts else {
        bail!(hint!("there is no part", "name two or more results.json"));
    };
    ensure!(
        !others.is_empty(),
        hint!("one part is no more than it is", "name two or more results.json")
    );
    let mut joined = whole.clone();
    for (name, part) in others {
        add(&mut joined, part).with_context(|| format!("`{name}` does not join `{first}`"))?;
    }
    let provenances: Vec<Provenance> =
        parts.iter().map(|(_, part)| part.provenance.clone()).collect();
    joined.provenance = provenance(&provenances);
    for row in &mut joined.rows {
        row.seeds.sort_by_key(|seed| seed.seed);
    }
    joined.validate()?;
    Ok(joined)
}

/// Adds a part to what is joined already.
fn add(joined: &mut Results, part: &Results) -> Result<()> {
    comparable(joined, part)?;
    let both: Vec<Vec<String>> =
        joined.questions.iter().zip(&part.questions).map(answers).collect();
    let place_of = |said: &[String], to: &[String]| -> Vec<u32> {
        let place = |text: &String| to.binary_search(text).map_or(0, |at| at as u32 + 1);
        [0].into_iter().chain(said.iter().map(place)).collect()
    };
    let moved = |questions: &[Question]| -> Vec<Vec<u32>> {
        questions.iter().zip(&both).map(|(question, to)| place_of(&question.answers, to)).collect()
    };
    let (of_joined, of_part) = (moved(&joined.questions), moved(&part.questions));
    for (question, answers) in joined.questions.iter_mut().zip(both) {
        question.answers = answers;
    }
    for seed in joined.rows.iter_mut().flat_map(|row| &mut row.seeds) {
        move_answers(seed, &of_joined);
    }
    let mut last = None;
    for row in &part.rows {
        let mut row = row.clone();
        row.seeds.iter_mut().for_each(|seed| move_answers(seed, &of_part));
        last = Some(add_row(&mut joined.rows, row, last)?);
    }
    joined.missing = still_missing(joined, part);
    let extra: BTreeSet<u64> =
        joined.extra_seeds.iter().chain(&part.extra_seeds).copied().collect();
    joined.extra_seeds = extra.into_iter().collect();
    add_new(&mut joined.training, &part.training, |stage| (stage.stage.as_str(), stage.seed));
    add_new(&mut joined.budgets, &part.budgets, |budget| (budget.regime.as_str(), budget.seed));
    add_new(&mut joined.spreads, &part.spreads, |spread| (spread.row.as_str(), spread.seed));
    Ok(())
}

/// Adds to `known` what it has nothing of the same name and seed of.
fn add_new<T: Clone>(known: &mut Vec<T>, more: &[T], of: impl Fn(&T) -> (&str, u64)) {
    for new in more {
        if !known.iter().any(|known| of(known) == of(new)) {
            known.push(new.clone());
        }
    }
}

/// Checks that two parts are of the same recipe, base, questions and code.
fn comparable(joined: &Results, part: &Results) -> Result<()> {
    let (a, b) = (&joined.provenance, &part.provenance);
    let same = |what: &str, one: &str, other: &str| -> Result<()> {
        ensure!(
            one == other,
            hint!(
                ("they have another {what}: `{one}` and `{other}`"),
                "parts of one run have the same recipe, base and code"
            )
        );
        Ok(())
    };
    same("recipe", &joined.profile, &part.profile)?;
    same("recipe hash", &joined.recipe_hash, &part.recipe_hash)?;
    same("base", &a.base_hash, &b.base_hash)?;
    same("grader", &joined.grader, &part.grader)?;
    same("backend", &a.backend, &b.backend)?;
    match (&a.code_hash, &b.code_hash) {
        (Some(one), Some(other)) => same("code", one, other)?,
        // Before it was recorded only the commit can say it.
        _ => same("commit", &a.commit, &b.commit)?,
    }
    ensure!(
        joined.split == part.split && joined.asked == part.asked,
        hint!("they were asked otherwise", "parts of one run are asked the same questions alike")
    );
    let bare = |questions: &[Question]| -> Vec<Question> {
        questions.iter().map(|q| Question { answers: Vec::new(), ..q.clone() }).collect()
    };
    let (one, other) = (bare(&joined.questions), bare(&part.questions));
    ensure!(one.len() == other.len(), "they have {} and {} questions", one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        ensure!(
            one == other,
            hint!(
                ("question `{}` is not the same in both, or has another level", one.id),
                "the base's answers cut the levels: parts join where machines round alike"
            )
        );
    }
    Ok(())
}

/// The answers that any row of two parts gave to a question, sorted.
fn answers((one, other): (&Question, &Question)) -> Vec<String> {
    let all: BTreeSet<&String> = one.answers.iter().chain(&other.answers).collect();
    all.into_iter().cloned().collect()
}

/// Writes the new places of answers; `moved[question]` has the new place of every old one.
fn move_answers(seed: &mut SeedOutcomes, moved: &[Vec<u32>]) {
    for (places, moved) in seed.answers.iter_mut().zip(moved) {
        for place in places {
            *place = moved[*place as usize];
        }
    }
}

/// Adds a part's row behind the place `after`, where no row has its name yet. Returns the row's place.
fn add_row(rows: &mut Vec<ResultRow>, row: ResultRow, after: Option<usize>) -> Result<usize> {
    let Some(place) = rows.iter().position(|known| known.name == row.name) else {
        let place = after.map_or(0, |place| place + 1);
        rows.insert(place, row);
        return Ok(place);
    };
    let known = &mut rows[place];
    ensure!(known.kind == row.kind, "row `{}` is of another kind", row.name);
    for seed in row.seeds {
        match known.seeds.iter().find(|there| there.seed == seed.seed) {
            None => known.seeds.push(seed),
            Some(there) => ensure!(
                *there == seed,
                hint!(
                    ("row `{}` has other answers to seed {}", known.name, seed.seed),
                    "parts join where machines round alike"
                )
            ),
        }
    }
    Ok(place)
}

/// What neither of two parts has; rows keep the order of the first.
fn still_missing(joined: &Results, part: &Results) -> Vec<Missing> {
    let also: BTreeSet<(&str, u64)> = pairs(&part.missing).collect();
    Missing::of(pairs(&joined.missing).filter(|row| also.contains(row)))
}

fn pairs(missing: &[Missing]) -> impl Iterator<Item = (&str, u64)> {
    missing.iter().flat_map(|m| m.seeds.iter().map(|seed| (m.row.as_str(), *seed)))
}

/// The last part's day, commit and command; every machine; the time of all parts together.
fn provenance(parts: &[Provenance]) -> Provenance {
    let last = parts.iter().max_by_key(|part| part.date.as_str()).expect("there are two");
    let mut cpus: BTreeMap<&str, u32> = BTreeMap::new();
    for part in parts {
        let cores = cpus.entry(&part.machine.cpu).or_default();
        *cores = (*cores).max(part.machine.cores);
    }
    let mut joined = last.clone();
    joined.machine.cpu = cpus.keys().copied().collect::<Vec<_>>().join(" and ");
    joined.machine.cores = cpus.values().copied().max().unwrap_or(joined.machine.cores);
    joined.dirty = parts.iter().any(|part| part.dirty);
    joined.wall_time_s = parts.iter().map(|part| part.wall_time_s).sum();
    let mut commands: Vec<&str> = Vec::new();
    for part in parts {
        let new = part.command.split("; ").filter(|command| !commands.contains(command));
        commands.extend(new.collect::<Vec<_>>());
    }
    joined.command = commands.join("; ");
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fixture::{part_of, study};

    /// Sorted where the order says nothing: parts do not know the order of the recipe's stages.
    fn sorted(mut results: Results) -> Results {
        results.training.sort_by_key(|stage| (stage.stage.clone(), stage.seed));
        results.budgets.sort_by_key(|budget| (budget.regime.clone(), budget.seed));
        results.spreads.sort_by_key(|spread| (spread.row.clone(), spread.seed));
        results.rows.sort_by_key(|row| row.name.clone());
        results
    }

    fn named(parts: Vec<Results>) -> Vec<(String, Results)> {
        parts.into_iter().enumerate().map(|(at, part)| (format!("{at}.json"), part)).collect()
    }

    fn wholes() -> [Results; 2] {
        let smoke = include_str!("../../../golden/results/smoke.json");
        [Results::from_json(smoke, "smoke").unwrap(), study(20, &[1, 2, 3])]
    }

    #[test]
    fn parts_by_seed_and_by_regime_join_to_the_whole() {
        for whole in wholes() {
            let by_seed: Vec<Results> =
                [2, 1, 3].map(|seed| part_of(&whole, |_, s| s == seed)).into();
            let by_regime = vec![
                part_of(&whole, |name, seed| seed != 2 || name.starts_with("sft")),
                part_of(&whole, |name, seed| seed == 2 && !name.starts_with("sft_")),
            ];
            for parts in [by_seed, by_regime] {
                assert!(parts.iter().all(|part| !part.is_whole()));
                let time: f64 = parts.iter().map(|part| part.provenance.wall_time_s).sum();
                let mut joined = join(&named(parts)).unwrap();
                assert!((joined.provenance.wall_time_s - time).abs() < 1e-9);
                joined.provenance = whole.provenance.clone();
                assert_eq!(sorted(joined), sorted(whole.clone()));
            }
        }
    }

    #[test]
    fn what_no_part_has_stays_missing_and_rows_keep_their_places() {
        let [smoke, _] = wholes();
        let without = |gone: &[&str], seed: u64| {
            part_of(&smoke, |name, s| s == seed && !gone.contains(&name))
        };
        let joined =
            join(&named(vec![without(&["rl", "two_stage"], 1), without(&["rl"], 2)])).unwrap();
        let missing =
            |name: &str| joined.missing.iter().find(|m| m.row == name).map(|m| m.seeds.clone());
        assert_eq!(missing("rl"), Some(vec![1, 2, 3]));
        assert_eq!(missing("two_stage"), Some(vec![1, 3]));
        assert_eq!(missing("sft"), Some(vec![3]));
        let names = |results: &Results| -> Vec<String> {
            let names = results.rows.iter().map(|row| row.name.clone());
            names.filter(|name| !name.starts_with("rl") || name.starts_with("rl_")).collect()
        };
        assert_eq!(names(&joined), names(&smoke));
    }

    #[test]
    fn what_does_not_belong_together_is_refused_with_its_cause() {
        let [smoke, _] = wholes();
        let first = part_of(&smoke, |_, seed| seed == 1);
        let refused = |change: &dyn Fn(&mut Results), cause: &str| {
            let mut second = part_of(&smoke, |_, seed| seed < 3);
            change(&mut second);
            let error = join(&named(vec![first.clone(), second])).unwrap_err();
            let message = synergy_hint::text(&error);
            assert!(message.contains(cause), "{message}");
            assert!(message.contains("`1.json` does not join `0.json`"), "{message}");
        };
        refused(&|r| r.profile = "small".into(), "another recipe: `smoke` and `small`");
        refused(&|r| r.recipe_hash = "1".into(), "another recipe hash");
        refused(&|r| r.provenance.base_hash = "1".into(), "another base");
        refused(&|r| r.provenance.backend = "libtorch".into(), "another backend");
        refused(&|r| r.provenance.commit = "1".into(), "another commit");
        refused(&|r| r.asked = None, "asked otherwise");
        refused(&|r| r.questions[3].level_passes = Some([0, 16]), "or has another level");
        let length = |r: &mut Results, name: &str| {
            let row = r.rows.iter_mut().find(|row| row.name == name).unwrap();
            row.seeds[0].num_tokens[0][0] += 1;
        };
        refused(&|r| length(r, "base"), "row `base` has other answers to seed 0");
        refused(&|r| length(r, "sft"), "row `sft` has other answers to seed 1");
        // Code that is the same is the same under another commit, and other code is not.
        let with = |code: &str, commit: &str, seed: u64| {
            let mut part = part_of(&smoke, |_, s| s == seed);
            part.provenance.code_hash = Some(code.into());
            part.provenance.commit = commit.into();
            part
        };
        join(&named(vec![with("a", "1", 1), with("a", "2", 2)])).unwrap();
        let error = join(&named(vec![with("a", "1", 1), with("b", "1", 2)])).unwrap_err();
        assert!(synergy_hint::text(&error).contains("another code: `a` and `b`"));
        let error = synergy_hint::text(&join(&named(vec![first])).unwrap_err());
        assert!(error.contains("two or more"), "{error}");
    }
}
