//! Claims, budgets and provenance. Pure.
//!
//! Does not judge: a finding comes with its verdict, and what the study published stands in a column of its own.

use std::fmt::Write as _;

use super::html::{self, escaped, scroller};
use super::{PageData, lines::Line};
use crate::claims::{ClaimVerdict, Finding};
use crate::cost::Cost;
use crate::score::{Metrics, Results};
use crate::statistics::Interval;
use crate::text::terminal::{self as table, Grid, NOTHING};

/// The claims with what our results say of each.
pub(super) fn claims(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "<p>No claim has been judged on these results.</p>\n".to_owned();
    }
    let mut out = tally(findings);
    out.push_str(&scroller("Claims of the study"));
    out.push_str("<table class=\"claims sortable\"><caption>Claims of the study on our numbers</caption><thead><tr>");
    for name in [
        "id",
        "claim",
        "verdict",
        "measured",
        "effect, 95 % interval",
        "smallest effect seen at 80 % power",
        "explained by",
        "published, 7B",
    ] {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for finding in findings {
        let (symbol, word, class) = verdict(finding.verdict);
        let effect = finding.effect.map_or_else(|| NOTHING.to_owned(), interval);
        let note = match finding.note.as_str() {
            "" => String::new(),
            note => format!("<small>{}</small>", escaped(note)),
        };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}{note}</td><td class=\"verdict {class}\">{symbol} {word}</td><td>{}</td>\
             <td{}>{}</td><td>{}</td><td>{}</td><td class=\"published\">{}</td></tr>",
            escaped(finding.id),
            escaped(finding.claim),
            escaped(&finding.measured),
            finding.effect.map_or_else(String::new, |e| format!(" data-v=\"{:.3}\"", e.mean)),
            escaped(&effect),
            finding
                .minimum_detectable_effect
                .map_or_else(|| NOTHING.to_owned(), |e| format!("{e:.1}")),
            escaped(finding.explained_by.as_deref().unwrap_or(NOTHING)),
            escaped(finding.published),
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn interval(effect: Interval) -> String {
    format!("{:+.1} [{:+.1}, {:+.1}]", effect.mean, effect.low, effect.high)
}

fn tally(findings: &[Finding]) -> String {
    use ClaimVerdict::{Fails, Holds, NotTestable, Undecided};
    let count = |wanted: ClaimVerdict| findings.iter().filter(|f| f.verdict == wanted).count();
    let told: Vec<String> = [Holds, Fails, Undecided, NotTestable]
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|wanted| format!("{} {}", count(wanted), verdict(wanted).1))
        .collect();
    format!("<p>{} claims: {}.</p>\n", findings.len(), told.join(", "))
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

/// What each regime has cost, as the mean over its seeds.
pub(super) fn budgets(results: &Results, metrics: &Metrics) -> String {
    let mut names: Vec<&str> = Vec::new();
    for budget in &results.budgets {
        if !names.contains(&budget.regime.as_str()) {
            names.push(&budget.regime);
        }
    }
    if names.is_empty() {
        return "<p>No budget was recorded.</p>\n".to_owned();
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
    let grid =
        Grid { header: header.map(str::to_owned).to_vec(), rows: names.iter().map(row).collect() };
    html::grid_table(&grid, "Cost of a regime with all it stands on, mean over seeds", "sortable")
}

/// What each row of the page is.
pub(super) fn notes(results: &Results) -> String {
    let item = |row: &&crate::score::ResultRow| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escaped(&row.name), escaped(&row.note))
    };
    let items: String = table::ordered_rows(results).iter().map(item).collect();
    html::folded("What the rows are", &format!("<dl class=\"facts\">\n{items}</dl>\n"))
}

/// Where the figures come from.
pub(super) fn provenance(results: &Results, data: &PageData) -> String {
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
    let mut out = String::from("<dl class=\"facts\">\n");
    for (what, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "<dt>{what}</dt><dd>{}</dd>", escaped(value));
    }
    out.push_str("</dl>\n");
    out
}

/// The four numbers to begin with.
pub(super) fn tiles(results: &Results, metrics: &Metrics, lines: &[Line]) -> String {
    use super::lines::Group;
    use synergy_benchmarks::difficulty::Level;
    let regimes: Vec<&Line> = lines.iter().filter(|line| line.group != Group::Reference).collect();
    let best = |level: Option<Level>| {
        let gains = regimes
            .iter()
            .filter_map(|line| Some((line, metrics.cell(&line.name, None, level)?.gain?)));
        gains.max_by(|a, b| a.1.mean.total_cmp(&b.1.mean))
    };
    let mut tiles = Vec::new();
    if let Some(base) = metrics.average(crate::score::BASE) {
        tiles.push((
            "Base, accuracy in %",
            table::plus_minus(base.accuracy.scaled(100.0)),
            String::new(),
        ));
    }
    for (level, what) in [
        (None, "Largest gain, all levels"),
        (Some(Level::L1), "Largest gain on easy L1"),
        (Some(Level::L5), "Largest gain on hard L5"),
    ] {
        if let Some((line, gain)) = best(level) {
            tiles.push((what, table::points(gain), line.name.clone()));
        }
    }
    let mut out = String::from("<dl class=\"tiles\">\n");
    for (what, value, who) in tiles {
        let (number, half) = value.split_once(' ').unwrap_or((&value, ""));
        let _ = writeln!(
            out,
            "<div><dt>{what}</dt><dd><b>{}</b> <span>{}</span> <i>{}</i></dd></div>",
            escaped(number),
            escaped(half),
            escaped(&who)
        );
    }
    out.push_str("</dl>\n");
    if regimes.len() > 1 {
        let _ = writeln!(
            out,
            "<p class=\"fine\">Largest of {} regimes on {} questions, so chance flatters it; ± is half of a 95 % interval.</p>",
            regimes.len(),
            results.questions.iter().filter(|question| question.level.is_some()).count(),
        );
    }
    out
}
