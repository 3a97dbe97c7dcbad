//! One page over many runs, complete in itself. Pure.
//!
//! This module does not know where the page is served: it links only to `leaderboard.json` beside it and loads nothing.
//!
//! Decisions:
//! - Everything is in the page before any script runs; the script only sorts and hides rows, and
//!   reveals the controls for it, so that no control is shown that does nothing.
//! - Color never says anything alone: a gain has its sign, a warning its words.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use strum::VariantArray as _;

use super::{BoardRow, Entry, Leaderboards, Run};
use crate::page::html::{facts, without_controls};
use crate::score::{RowKind, all_and_levels, level_name};
use crate::statistics::Interval;
use crate::text::terminal::{NOTHING, percent};

const CSS: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page as HTML.
///
/// # Panics
/// If there is no run, which [`super::merge`] refuses.
pub fn page(boards: &Leaderboards) -> String {
    let runs = boards.runs();
    let first = &runs.first().expect("a page of no runs is refused before").leaderboard;
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { "Synergy leaderboard, profile " (first.profile) }
                style { (PreEscaped(CSS)) }
            }
            body {
                (header(runs, first))
                main {
                    (filters(runs))
                    (rows_table(runs))
                    (gains_table(runs))
                    section aria-labelledby="provenance" {
                        h2 #provenance { "Provenance" }
                        @for entry in runs { (provenance(entry)) }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    without_controls(&page.into_string())
}

fn header(runs: &[Entry], first: &Run) -> Markup {
    let cuts = |run: &Run| run.levels.iter().map(|level| level.num_questions).collect::<Vec<_>>();
    let differs = runs.iter().any(|entry| cuts(&entry.leaderboard) != cuts(first));
    html! {
        header {
            h1 { "Synergy leaderboard" }
            p {
                "Post-training of a reasoning vision-language model, by difficulty: " (runs.len())
                @if runs.len() == 1 { " run" } @else { " runs" }
                " of profile " code { (first.profile) } ", recipe " code { (first.recipe_hash) } ", "
                (first.num_questions()) " questions, grader " code { (first.grader) } ", base "
                code { (first.base.hash) } "."
            }
            p.quiet {
                "Accuracy in percent and gain over the base in points, each with its 95 % interval; length in tokens. \
                 Rows of different runs are never averaged. "
                a href="leaderboard.json" { "All figures as JSON" } "."
            }
            @if differs {
                p.warn {
                    "The levels of these runs do not hold the same numbers of questions: compare them level by level \
                     with care."
                }
            }
        }
    }
}

fn filters(runs: &[Entry]) -> Markup {
    html! {
        form #filters hidden {
            label { "Rows that contain " input type="search" name="words" autocomplete="off"; }
            label {
                "Run "
                select name="run" {
                    option value="" { "all" }
                    @for Entry { run, leaderboard } in runs {
                        @let origin = &leaderboard.provenance;
                        option value=(run) { (run) ", " (origin.date) ", " (origin.machine.cpu) }
                    }
                }
            }
            label {
                "Kind "
                select name="kind" {
                    option value="" { "all" }
                    @for kind in RowKind::VARIANTS { option { (kind.name()) } }
                }
            }
        }
        p #count .quiet role="status" {}
    }
}

/// A table with its heading, in a box that scrolls sideways.
fn table(id: &str, heading: &str, caption: &str, columns: &[String], body: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (heading) }
            div.wide role="region" aria-labelledby=(id) tabindex="0" {
                table.board {
                    caption { (caption) }
                    thead {
                        tr {
                            @for (index, column) in columns.iter().enumerate() {
                                th scope="col" class=[(index < 3).then_some("text")] { (column) }
                            }
                        }
                    }
                    tbody { (body) }
                }
            }
        }
    }
}

fn rows_table(runs: &[Entry]) -> Markup {
    let cells = |row: &BoardRow| {
        let cell = row.cell(None);
        let gain = cell.and_then(|cell| cell.gain);
        let outcomes = cell.map(|cell| cell.outcomes);
        let shares = [
            outcomes.map(|shares| shares.truncated),
            outcomes.map(|shares| shares.unparsed),
            cell.map(|cell| cell.formatted),
        ];
        html! {
            td data-value=(row.seeds.len()) { (row.seeds.len()) }
            (interval(cell.map(|cell| cell.accuracy.scaled(100.0)), false, None))
            (interval(gain.map(|gain| gain.scaled(100.0)), true, None))
            (interval(cell.map(|cell| cell.length), false, None))
            @for share in shares {
                @if let Some(share) = share { td data-value=(share) { (percent(share)) } }
                @else { (missing()) }
            }
        }
    };
    let body = html! { @for (entry, row) in rows(runs) { (line(entry, row, &cells(row))) } };
    let columns = [
        "Row",
        "Run",
        "Kind",
        "Seeds",
        "Accuracy",
        "Gain",
        "Length",
        "Truncated",
        "Unparsed",
        "In form",
    ];
    let caption =
        "Over all procedural questions; the last three columns in percent of all answers.";
    table("rows", "Rows", caption, &columns.map(str::to_owned), &body)
}

fn gains_table(runs: &[Entry]) -> Markup {
    let gains = |row: &BoardRow| -> Vec<Option<Interval>> {
        let gain = |level| Some(row.cell(level)?.gain?.scaled(100.0));
        all_and_levels().map(gain).collect()
    };
    let shown: Vec<(&Entry, &BoardRow, Vec<Option<Interval>>)> = rows(runs)
        .map(|(entry, row)| (entry, row, gains(row)))
        .filter(|(_, _, gains)| gains.iter().any(Option::is_some))
        .collect();
    let widest = shown
        .iter()
        .flat_map(|(_, _, gains)| gains.iter().flatten())
        .flat_map(|gain| [gain.low.abs(), gain.high.abs()])
        .fold(1.0_f64, f64::max);
    let body = html! {
        @for (entry, row, gains) in &shown {
            (line(entry, row, &html! { @for gain in gains { (interval(*gain, true, Some(widest))) } }))
        }
    };
    let mut columns = ["Row", "Run", "Kind", "All"].map(str::to_owned).to_vec();
    columns.extend(all_and_levels().skip(1).map(level_name));
    let caption = "In points over the base of the same run, on L1 (easy) to L5 (hard). The line is the 95 % \
                   interval, the dot the mean, the upright stroke no gain; the scale is one for all. Read a gain \
                   beside its controls.";
    table("gains", "Gain by level", caption, &columns, &body)
}

/// A row of a table: its name, its run, and what the filters look at; then its `cells`.
fn line(Entry { run, leaderboard }: &Entry, row: &BoardRow, cells: &Markup) -> Markup {
    let (origin, kind) = (&leaderboard.provenance, row.kind.name());
    let words =
        [&row.name, run, kind, &origin.date, &origin.machine.cpu, &origin.backend].join(" ");
    html! {
        tr data-run=(run) data-kind=(kind) data-words=(words.to_lowercase()) {
            th scope="row" title=(row.note) { (row.name) }
            td.text { a href={ "#run-" (run) } { (run) } }
            td.text { (kind) }
            (cells)
        }
    }
}

fn missing() -> Markup {
    html! { td data-value="" { (NOTHING) } }
}

/// A cell with an interval, and its drawing where the scale of the drawing is given.
fn interval(value: Option<Interval>, signed: bool, widest: Option<f64>) -> Markup {
    let Some(value) = value else { return missing() };
    let class = if signed { direction(value) } else { None };
    html! {
        td data-value=(value.mean) class=[class] {
            (with_interval(value, signed))
            @if let Some(widest) = widest { (bar(value, widest)) }
        }
    }
}

fn with_interval(Interval { mean, low, high }: Interval, signed: bool) -> String {
    // Adding 0 turns -0 into 0.
    let shown = |value: f64| {
        let rounded = format!("{value:.1}").parse::<f64>().unwrap_or(value) + 0.0;
        if signed { format!("{rounded:+.1}") } else { format!("{rounded:.1}") }
    };
    format!("{} [{}, {}]", shown(mean), shown(low), shown(high))
}

/// A class only where the interval leaves no doubt about the sign.
fn direction(Interval { low, high, .. }: Interval) -> Option<&'static str> {
    match (low > 0.0, high < 0.0) {
        (true, _) => Some("up"),
        (_, true) => Some("down"),
        _ => None,
    }
}

/// A drawing of an interval that is also given in figures.
fn bar(Interval { mean, low, high }: Interval, widest: f64) -> Markup {
    let x = |value: f64| 60.0 + 56.0 * value / widest;
    PreEscaped(format!(
        "<svg viewBox='0 0 120 12' aria-hidden='true' focusable='false'>\
         <line class='zero' x1='60' y1='0' x2='60' y2='12'/>\
         <line class='span' x1='{:.1}' y1='6' x2='{:.1}' y2='6'/>\
         <circle class='mean' cx='{:.1}' cy='6' r='3'/></svg>",
        x(low),
        x(high),
        x(mean),
    ))
}

fn provenance(Entry { run, leaderboard }: &Entry) -> Markup {
    let (origin, base) = (&leaderboard.provenance, &leaderboard.base);
    let level = |level: &super::LevelShare| format!("{} {}", level.level, level.num_questions);
    let levels: Vec<String> = leaderboard.levels.iter().map(level).collect();
    let lines = [
        ("Date", origin.date.clone()),
        ("Command", origin.command.clone()),
        ("Commit", origin.commit.clone()),
        ("Machine", format!("{}, {} cores", origin.machine.cpu, origin.machine.cores)),
        ("Backend", origin.backend.clone()),
        ("Compiler", origin.rustc.clone()),
        ("Wall time", format!("{:.0} s", origin.wall_time_s)),
        ("Base", base.hash.clone()),
        ("Questions by level", levels.join(", ")),
    ];
    html! {
        article id={ "run-" (run) } {
            h3 { "Run " code { (run) } }
            @if origin.dirty {
                p.warn { "The tree had changes that its commit does not have." }
            }
            @if base.provisional {
                p.warn { "Provisional, the base has not passed its gate: " (base.note) }
            }
            (facts(None, &lines))
        }
    }
}

fn rows(runs: &[Entry]) -> impl Iterator<Item = (&Entry, &BoardRow)> {
    runs.iter().flat_map(|entry| entry.leaderboard.rows.iter().map(move |row| (entry, row)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{board, sourced};
    use super::super::{Sourced, merge};
    use super::*;

    fn of(runs: Vec<Sourced>) -> String {
        page(&merge(runs).unwrap())
    }

    fn two() -> String {
        of(vec![sourced(&board("one"), "a"), sourced(&board("two"), "b")])
    }

    #[test]
    fn every_row_of_every_run_is_there_without_a_script() {
        let html = two();
        let (body, script) = html.split_once("<script>").unwrap();
        assert_eq!(body.matches("<th scope=\"row\" title=").count(), 2 * (11 + 10));
        assert_eq!(body.matches("<article id=\"run-").count(), 2);
        assert!(!body.contains("<button") && body.contains("<form id=\"filters\" hidden>"));
        assert!(script.contains("aria-sort") && script.contains("form.hidden = false"));
        let run = sourced(&board("one"), "a").run;
        let rl = run.rows.iter().find(|row| row.name == "rl").unwrap();
        let gain = rl.cell(None).unwrap().gain.unwrap().scaled(100.0);
        let (_, after) = body.split_once(">rl</th>").unwrap();
        let row = after.split("</tr>").next().unwrap();
        assert!(row.contains(&with_interval(gain, true)), "{row}");
    }

    #[test]
    fn nothing_external_is_loaded_or_linked() {
        let html = two();
        for word in ["http:", "https:", "//cdn", "src=", "@import", "url("] {
            assert!(!html.contains(word), "{word}");
        }
        let links = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for link in links {
            let id = link.strip_prefix('#');
            let known = id.is_none_or(|id| html.contains(&format!("id=\"{id}\"")));
            assert!(known && (id.is_some() || link == "leaderboard.json"), "{link}");
        }
    }

    #[test]
    fn a_page_is_balanced_and_cannot_be_broken_out_of() {
        let mut run = sourced(&board("</td><script>alert(1)</script>"), "a");
        run.run.rows[0].name = "\"><em>&'".to_owned();
        run.run.base.note = "<u>".to_owned();
        let html = of(vec![run]);
        for broken in ["<script>alert", "<em", "<u>"] {
            assert!(!html.contains(broken), "{broken}");
        }
        assert!(html.contains(">&quot;&gt;&lt;em&gt;&amp;'</th>"));
        for tag in ["table", "tr", "td", "section", "article", "svg", "select", "dl", "script"] {
            let open = html.matches(&format!("<{tag}>")).count()
                + html.matches(&format!("<{tag} ")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn what_a_reader_must_know_of_a_run_is_said() {
        let mut run = sourced(&board("one"), "a");
        let html = of(vec![run.clone()]);
        assert!(html.contains("Provisional, the base has not passed its gate"));
        assert!(
            !html.contains("The tree had changes")
                && !html.contains("do not hold the same numbers")
        );
        run.run.provenance.dirty = true;
        run.run.levels[0].num_questions += 1;
        run.run.levels[1].num_questions -= 1;
        let html = of(vec![run, sourced(&board("two"), "b")]);
        assert!(
            html.contains("The tree had changes") && html.contains("do not hold the same numbers")
        );
    }

    #[test]
    fn a_missing_cell_is_a_dash_and_a_doubtful_gain_has_no_color() {
        let mut run = sourced(&board("one"), "a");
        run.run.rows[0].cells.clear();
        assert!(of(vec![run]).contains("<td data-value=\"\">–</td>"));
        let gain = |low, high| Interval { mean: 1.0, low, high };
        assert_eq!(direction(gain(0.5, 2.0)), Some("up"));
        assert_eq!(direction(gain(-2.0, -0.5)), Some("down"));
        assert_eq!(direction(gain(-0.5, 2.0)), None);
        assert_eq!(with_interval(gain(-0.04, 2.0), true), "+1.0 [+0.0, +2.0]");
    }

    #[test]
    fn every_color_can_be_read_on_both_grounds() {
        let colors = |part: &str| -> Vec<(String, [f64; 3])> {
            part.split("--")
                .skip(1)
                .filter_map(|rest| {
                    let (name, rest) = rest.split_once(": #")?;
                    let number = u32::from_str_radix(&rest[..6], 16).ok()?;
                    let channels = [16, 8, 0].map(|shift| f64::from(number >> shift & 255) / 255.0);
                    Some((name.to_owned(), channels))
                })
                .collect()
        };
        // WCAG 2.2, relative luminance and contrast ratio.
        let luminance = |channels: [f64; 3]| -> f64 {
            let linear = channels
                .map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (light, dark) = CSS.split_once("@media (prefers-color-scheme: dark)").unwrap();
        for part in [light, dark] {
            let colors = colors(part);
            assert_eq!(colors.len(), 9);
            let of = |name: &str| luminance(colors.iter().find(|(n, _)| n == name).unwrap().1);
            for ground in ["ground", "stripe"] {
                for text in ["ink", "quiet", "link", "up", "down", "warn"] {
                    let (a, b) = (of(text), of(ground));
                    let ratio = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
                }
            }
        }
    }
}
