//! Claims, budgets and provenance. Pure.
//!
//! This module does not judge: a finding comes with its verdict, and what the study published has a column of its own.

use maud::{Markup, html};
use synergy_benchmarks::difficulty::Level;

use super::html::{self, scroller};
use super::lines::Group;
use super::{PageData, lines::Line};
use crate::claims::{ClaimVerdict, Finding};
use crate::cost::Cost;
use crate::evidence::{Compared, Shown};
use crate::score::{BASE, Lineage, Metrics, Results};
use crate::statistics::Interval;
use crate::text::report::not_known;
use crate::text::terminal::{self as table, Grid, NOTHING};

/// The claims with the verdict of our results on each.
pub(super) fn claims(findings: &[Finding]) -> Markup {
    const COLUMNS: [&str; 9] = [
        "id",
        "claim",
        "verdict",
        "decided by",
        "effect, 95 % interval",
        "p after Holm",
        "smallest effect seen at 80 % power",
        "explained by",
        "published, 7B",
    ];
    if findings.is_empty() {
        return html! { p { "No claim has been judged on these results." } };
    }
    let table = html! {
        table .claims .sortable {
            caption { "Claims of the study on our numbers" }
            thead { tr { @for name in COLUMNS { th scope="col" { (name) } } } }
            tbody { @for finding in findings { (claim(finding)) } }
        }
    };
    let caption = "Every comparison that a claim implies, and every condition that asks for one; effects in points of \
                   accuracy unless the comparison says otherwise, p-values after the correction";
    html! {
        (tally(findings))
        (scroller("Claims of the study", &table))
        (html::numbers("Every comparison", caption, &comparisons(findings)))
    }
}

/// Every comparison of every claim.
fn comparisons(findings: &[Finding]) -> Grid {
    let line = |id: &str, kind: &str, compared: &Compared| {
        let shown = match compared.verdict {
            Shown::Holds => "holds",
            Shown::Fails => "fails",
            Shown::Undecided => "undecided",
        };
        vec![
            format!("{id}\n{kind}"),
            compared.describe(),
            interval(compared.effect),
            table::probability(compared.p_holm),
            format!("{:.1}", compared.detectable),
            shown.to_owned(),
        ]
    };
    let mut rows = Vec::new();
    for Finding { id, conditions, comparisons, controls, .. } in findings {
        let asked = conditions.iter().filter_map(|condition| condition.comparison.as_ref());
        rows.extend(asked.map(|compared| line(id, "condition", compared)));
        rows.extend(comparisons.iter().map(|compared| line(id, "", compared)));
        rows.extend(controls.iter().map(|compared| line(id, "control", compared)));
    }
    Grid::new(["claim", "comparison", "effect", "p", "detectable", "verdict"], rows)
}

fn claim(finding: &Finding) -> Markup {
    let (symbol, word, class) = verdict(finding.verdict);
    let decided = finding.decided();
    let dash = || NOTHING.to_owned();
    html! {
        tr {
            th scope="row" { (finding.id) }
            td { (finding.claim) @if !finding.note.is_empty() { small { (finding.note) } } }
            td .verdict .(class) { (symbol) " " (word) }
            td { (decided.map_or_else(String::new, Compared::describe)) }
            td data-v=[decided.map(|decided| format!("{:.3}", decided.effect.mean))] {
                (decided.map_or_else(dash, |decided| interval(decided.effect)))
            }
            td { (finding.p_holm.map_or_else(dash, table::probability)) }
            td { (decided.map_or_else(dash, |decided| format!("{:.1}", decided.detectable))) }
            td { (finding.explained_by.as_deref().unwrap_or(NOTHING)) }
            td.published { (finding.published) }
        }
    }
}

fn interval(effect: Interval) -> String {
    format!("{:+.1} [{:+.1}, {:+.1}]", effect.mean, effect.low, effect.high)
}

fn tally(findings: &[Finding]) -> Markup {
    use ClaimVerdict::{Fails, Holds, NotTestable, Undecided};
    let count = |wanted: ClaimVerdict| findings.iter().filter(|f| f.verdict == wanted).count();
    let counts: Vec<String> = [Holds, Fails, Undecided, NotTestable]
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|wanted| format!("{} {}", count(wanted), verdict(wanted).1))
        .collect();
    html! { p { (findings.len()) " claims: " (counts.join(", ")) "." } }
}

/// Symbol, words and class of a verdict.
fn verdict(verdict: ClaimVerdict) -> (&'static str, &'static str, &'static str) {
    match verdict {
        ClaimVerdict::Holds => ("✓", "holds", "holds"),
        ClaimVerdict::Fails => ("✗", "fails", "fails"),
        ClaimVerdict::Undecided => ("≈", "undecided", "undecided"),
        ClaimVerdict::NotTestable => ("–", "not testable", "untested"),
    }
}

/// The cost of each regime, as the mean over its seeds.
pub(super) fn budgets(results: &Results, metrics: &Metrics) -> Markup {
    let mut names: Vec<&str> = Vec::new();
    for budget in &results.budgets {
        if !names.contains(&budget.regime.as_str()) {
            names.push(&budget.regime);
        }
    }
    let by_others = Lineage::of(results).by_others(results);
    let unknown = html! { @if let Some(line) = not_known(&by_others) { p { (line) } } };
    if names.is_empty() && !by_others.is_empty() {
        return unknown;
    }
    if names.is_empty() {
        return html! { p { "No budget was recorded." } };
    }
    let row = |name: &&str| {
        let costs: Vec<Cost> =
            results.budgets.iter().filter(|b| b.regime == **name).map(|b| b.cost).collect();
        let seeds = costs.len();
        let sum = costs.into_iter().fold(Cost::default(), Cost::plus);
        let mean = |value: f64| value / seeds as f64;
        vec![
            (*name).to_owned(),
            seeds.to_string(),
            format!("{:.2}", mean(sum.tokens_generated as f64) / 1e6),
            format!("{:.2}", mean(sum.tokens_trained as f64) / 1e6),
            format!("{:.0}", mean(sum.optimizer_steps as f64)),
            format!("{:.1}", mean(sum.flops) / 1e12),
            format!("{:.0}", mean(sum.wall_time_s)),
            table::shown(metrics.average(name), |cell| {
                cell.gain.map_or_else(|| NOTHING.to_owned(), table::points)
            }),
        ]
    };
    let header = [
        "regime",
        "seeds",
        "generated\nM tokens",
        "trained\nM tokens",
        "updates",
        "TFLOP",
        "seconds",
        "gain\npoints",
    ];
    let grid = Grid::new(header, names.iter().map(row));
    let title = "Cost of a regime with every stage it builds on, mean over seeds";
    html! { (html::grid_table(&grid, title)) (unknown) }
}

/// A note on each row of the page.
pub(super) fn notes(results: &Results) -> Markup {
    let rows = table::ordered_rows(results).into_iter();
    let notes: Vec<(&str, String)> =
        rows.map(|row| (row.name.as_str(), row.note.clone())).collect();
    html::folded("What the rows are", &html::facts(Some("facts"), &notes))
}

/// Where the figures come from.
pub(super) fn provenance(results: &Results, data: &PageData) -> Markup {
    let p = &results.provenance;
    let dirty = if p.dirty { ", with changes that it does not have" } else { "" };
    let seeds: Vec<String> = results
        .rows
        .iter()
        .max_by_key(|row| row.seeds.len())
        .map(|row| row.seeds.iter().map(|seed| seed.seed.to_string()).collect())
        .unwrap_or_default();
    let facts = [
        ("Command", p.command.clone()),
        ("Date", p.date.clone()),
        ("Commit", format!("{}{dirty}", p.commit)),
        ("Recipe", format!("{}, hash {}", results.profile, results.recipe_hash)),
        ("Code hash", data.code_hash.clone()),
        ("Base weights", p.base_hash.clone()),
        ("Base", p.base_note.clone()),
        ("Grader", results.grader.clone()),
        ("Backend", p.backend.clone()),
        ("Compiler", p.rustc.clone()),
        ("Machine", format!("{}, {} cores", p.machine.cpu, p.machine.cores)),
        ("Wall time", format!("{:.0} s", p.wall_time_s)),
        ("Seeds", seeds.join(", ")),
        ("Questions", results.questions.len().to_string()),
    ];
    let known: Vec<_> = facts.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    html::facts(Some("facts"), &known)
}

/// The four numbers to begin with.
pub(super) fn tiles(results: &Results, metrics: &Metrics, lines: &[Line]) -> Markup {
    let regimes: Vec<&Line> = lines.iter().filter(|line| line.group != Group::Reference).collect();
    let best = |level: Option<Level>| {
        let gains = regimes
            .iter()
            .filter_map(|line| Some((line, metrics.cell(&line.name, None, level)?.gain?)));
        gains.max_by(|a, b| a.1.mean.total_cmp(&b.1.mean))
    };
    let mut tiles = Vec::new();
    if let Some(base) = metrics.average(BASE) {
        tiles.push(("Base, accuracy in %", table::plus_minus(base.accuracy.scaled(100.0)), ""));
    }
    for (level, what) in [
        (None, "Largest gain, all levels"),
        (Some(Level::L1), "Largest gain on easy L1"),
        (Some(Level::L5), "Largest gain on hard L5"),
    ] {
        if let Some((line, gain)) = best(level) {
            tiles.push((what, table::points(gain), &line.name));
        }
    }
    let tile = |(what, value, who): &(&str, String, &str)| {
        let (number, half) = value.split_once(' ').unwrap_or((value, ""));
        html! { div { dt { (what) } dd { b { (number) } " " span { (half) } " " i { (who) } } } }
    };
    let num_questions =
        results.questions.iter().filter(|question| question.level.is_some()).count();
    html! {
        dl.tiles { @for one in &tiles { (tile(one)) } }
        @if regimes.len() > 1 {
            p.fine {
                "Largest of " (regimes.len()) " regimes on " (num_questions) " questions, so chance flatters it; \
                 ± is half of a 95 % interval."
            }
        }
    }
}
