//! One page over many runs, complete in itself. Pure.
//!
//! Does not know where it is served: it links only to `leaderboard.json` beside it and loads nothing.
//!
//! Decisions:
//! - Everything is in the page before any script runs; the script only sorts and hides rows, and
//!   makes the controls for it, so that no control is there that does nothing.
//! - Color never says anything alone: a gain has its sign, a warning its words.

use std::fmt::Write as _;

use synergy_benchmarks::difficulty::Level;

use super::{BoardRow, Entry, Leaderboards, Run};
use crate::page::html::escaped;
use crate::score::RowKind;
use crate::statistics::Interval;

const CSS: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page as HTML.
///
/// # Panics
/// If there is no run, which [`super::merge`] refuses.
pub fn page(boards: &Leaderboards) -> String {
    let runs = boards.runs();
    let first = &runs.first().expect("a page of no runs is refused before").leaderboard;
    let mut html = String::new();
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>Synergy leaderboard, profile {}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n",
        escaped(&first.profile)
    );
    head(&mut html, runs, first);
    filters(&mut html, runs);
    rows_table(&mut html, runs);
    gains_table(&mut html, runs);
    provenance(&mut html, runs);
    let _ = write!(html, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    html
}

fn head(html: &mut String, runs: &[Entry], first: &Run) {
    let plural = if runs.len() == 1 { "run" } else { "runs" };
    let _ = write!(
        html,
        "<header>\n<h1>Synergy leaderboard</h1>\n\
         <p>Post-training of a reasoning vision-language model, by difficulty: {} {plural} of profile \
         <code>{}</code>, recipe <code>{}</code>, {} questions, grader <code>{}</code>, base \
         <code>{}</code>.</p>\n\
         <p class=\"quiet\">Accuracy in percent and gain over the base in points, each with its 95 % \
         interval; length in tokens. Rows of different runs are never averaged. \
         <a href=\"leaderboard.json\">All figures as JSON</a>.</p>\n",
        runs.len(),
        escaped(&first.profile),
        escaped(&first.recipe_hash),
        first.num_questions(),
        escaped(&first.grader),
        escaped(&first.base.hash),
    );
    let cuts = |run: &Run| run.levels.iter().map(|level| level.num_questions).collect::<Vec<_>>();
    if runs.iter().any(|entry| cuts(&entry.leaderboard) != cuts(first)) {
        html.push_str(
            "<p class=\"warn\">The levels of these runs do not hold the same numbers of questions: \
             compare them level by level with care.</p>\n",
        );
    }
    html.push_str("</header>\n<main>\n");
}

fn filters(html: &mut String, runs: &[Entry]) {
    html.push_str(
        "<form id=\"filters\" hidden>\n\
         <label>Rows that contain <input type=\"search\" name=\"words\" autocomplete=\"off\"></label>\n\
         <label>Run <select name=\"run\">\n<option value=\"\">all</option>\n",
    );
    for entry in runs {
        let Entry { run, leaderboard } = entry;
        let origin = &leaderboard.provenance;
        let (date, cpu) = (escaped(&origin.date), escaped(&origin.machine.cpu));
        let _ = writeln!(html, "<option value=\"{run}\">{run}, {date}, {cpu}</option>");
    }
    html.push_str(
        "</select></label>\n<label>Kind <select name=\"kind\">\n<option value=\"\">all</option>\n",
    );
    for kind in [RowKind::Baseline, RowKind::Control, RowKind::Regime] {
        let _ = writeln!(html, "<option>{}</option>", kind_name(kind));
    }
    html.push_str(
        "</select></label>\n</form>\n<p id=\"count\" role=\"status\" class=\"quiet\"></p>\n",
    );
}

/// A table with its heading; `label` names the part of the page that scrolls sideways.
fn table(html: &mut String, id: &str, heading: &str, caption: &str, columns: &[&str], body: &str) {
    let _ = write!(
        html,
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{heading}</h2>\n\
         <div class=\"wide\" role=\"region\" aria-labelledby=\"{id}\" tabindex=\"0\">\n\
         <table class=\"board\">\n<caption>{caption}</caption>\n<thead>\n<tr>"
    );
    for (index, column) in columns.iter().enumerate() {
        let class = if index < 3 { " class=\"text\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{column}</th>");
    }
    let _ =
        write!(html, "</tr>\n</thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n</section>\n");
}

fn rows_table(html: &mut String, runs: &[Entry]) {
    let mut body = String::new();
    for (entry, row) in rows(runs) {
        row_head(&mut body, entry, row);
        number(&mut body, Some(row.seeds.len() as f64), &row.seeds.len().to_string());
        let cell = row.cell(None);
        interval(&mut body, cell.map(|cell| cell.accuracy.scaled(100.0)), 1, false);
        interval(
            &mut body,
            cell.and_then(|cell| cell.gain).map(|gain| gain.scaled(100.0)),
            1,
            true,
        );
        interval(&mut body, cell.map(|cell| cell.length), 1, false);
        for share in [
            cell.map(|cell| cell.outcomes.truncated),
            cell.map(|cell| cell.outcomes.unparsed),
            cell.map(|cell| cell.formatted),
        ] {
            let text =
                share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}", 100.0 * share));
            number(&mut body, share, &text);
        }
        body.push_str("</tr>\n");
    }
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
    table(html, "rows", "Rows", caption, &columns, &body);
}

fn gains_table(html: &mut String, runs: &[Entry]) {
    let levels = || std::iter::once(None).chain(Level::ALL.map(Some));
    let gains = |row: &BoardRow| -> Vec<Option<Interval>> {
        let gain = |level| row.cell(level).and_then(|cell| cell.gain);
        levels().map(|level| gain(level).map(|gain| gain.scaled(100.0))).collect()
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
    let mut body = String::new();
    for (entry, row, gains) in &shown {
        row_head(&mut body, entry, row);
        for gain in gains {
            let Some(gain) = gain else {
                number(&mut body, None, "–");
                continue;
            };
            let text = format!("{}{}", with_interval(*gain, 1, true), bar(*gain, widest));
            let class = direction(*gain);
            let _ = write!(body, "<td data-value=\"{}\"{class}>{text}</td>", gain.mean);
        }
        body.push_str("</tr>\n");
    }
    let mut columns = vec!["Row", "Run", "Kind", "All"];
    let names = Level::ALL.map(|level| level.to_string());
    columns.extend(names.iter().map(String::as_str));
    let caption = "In points over the base of the same run, on L1 (easy) to L5 (hard). The line is the \
                   95 % interval, the dot the mean, the upright stroke no gain; the scale is one for \
                   all. Read a gain beside its controls.";
    table(html, "gains", "Gain by level", caption, &columns, &body);
}

/// The start of a table's row: what it is, of which run, and what the filters look at.
fn row_head(body: &mut String, entry: &Entry, row: &BoardRow) {
    let Entry { run, leaderboard } = entry;
    let origin = &leaderboard.provenance;
    let kind = kind_name(row.kind);
    let words =
        [&row.name, run, kind, &origin.date, &origin.machine.cpu, &origin.backend].join(" ");
    let _ = write!(
        body,
        "<tr data-run=\"{run}\" data-kind=\"{kind}\" data-words=\"{}\">\
         <th scope=\"row\" title=\"{}\">{}</th>\
         <td class=\"text\"><a href=\"#run-{run}\">{run}</a></td><td class=\"text\">{kind}</td>",
        escaped(&words.to_lowercase()),
        escaped(&row.note),
        escaped(&row.name),
    );
}

fn number(body: &mut String, value: Option<f64>, text: &str) {
    let value = value.map_or_else(String::new, |value| value.to_string());
    let _ = write!(body, "<td data-value=\"{value}\">{text}</td>");
}

fn interval(body: &mut String, value: Option<Interval>, decimals: usize, signed: bool) {
    match value {
        None => number(body, None, "–"),
        Some(value) => {
            let class = if signed { direction(value) } else { "" };
            let text = with_interval(value, decimals, signed);
            let _ = write!(body, "<td data-value=\"{}\"{class}>{text}</td>", value.mean);
        }
    }
}

fn with_interval(Interval { mean, low, high }: Interval, decimals: usize, signed: bool) -> String {
    // Adding 0 turns -0 into 0.
    let shown = |value: f64| {
        let rounded = format!("{value:.decimals$}").parse::<f64>().unwrap_or(value) + 0.0;
        if signed { format!("{rounded:+.decimals$}") } else { format!("{rounded:.decimals$}") }
    };
    format!("{} [{}, {}]", shown(mean), shown(low), shown(high))
}

/// A class only where the interval leaves no doubt about the sign.
fn direction(Interval { low, high, .. }: Interval) -> &'static str {
    match (low > 0.0, high < 0.0) {
        (true, _) => " class=\"up\"",
        (_, true) => " class=\"down\"",
        _ => "",
    }
}

/// A drawing of what stands beside it in figures.
fn bar(Interval { mean, low, high }: Interval, widest: f64) -> String {
    let x = |value: f64| 60.0 + 56.0 * value / widest;
    format!(
        "<svg viewBox=\"0 0 120 12\" aria-hidden=\"true\" focusable=\"false\">\
         <line class=\"zero\" x1=\"60\" y1=\"0\" x2=\"60\" y2=\"12\"/>\
         <line class=\"span\" x1=\"{:.1}\" y1=\"6\" x2=\"{:.1}\" y2=\"6\"/>\
         <circle class=\"mean\" cx=\"{:.1}\" cy=\"6\" r=\"3\"/></svg>",
        x(low),
        x(high),
        x(mean),
    )
}

fn provenance(html: &mut String, runs: &[Entry]) {
    html.push_str(
        "<section aria-labelledby=\"provenance\">\n<h2 id=\"provenance\">Provenance</h2>\n",
    );
    for Entry { run, leaderboard } in runs {
        let _ = writeln!(html, "<article id=\"run-{run}\">\n<h3>Run <code>{run}</code></h3>");
        let origin = &leaderboard.provenance;
        if origin.dirty {
            html.push_str(
                "<p class=\"warn\">The tree had changes that its commit does not have.</p>\n",
            );
        }
        if leaderboard.base.provisional {
            let note = escaped(&leaderboard.base.note);
            let _ = writeln!(
                html,
                "<p class=\"warn\">Provisional, the base has not passed its gate: {note}</p>"
            );
        }
        let levels: Vec<String> = leaderboard
            .levels
            .iter()
            .map(|level| format!("{} {}", level.level, level.num_questions))
            .collect();
        let lines = [
            ("Date", origin.date.clone()),
            ("Command", origin.command.clone()),
            ("Commit", origin.commit.clone()),
            ("Machine", format!("{}, {} cores", origin.machine.cpu, origin.machine.cores)),
            ("Backend", origin.backend.clone()),
            ("Compiler", origin.rustc.clone()),
            ("Wall time", format!("{:.0} s", origin.wall_time_s)),
            ("Base", leaderboard.base.hash.clone()),
            ("Questions by level", levels.join(", ")),
        ];
        html.push_str("<dl>\n");
        for (what, value) in lines {
            let _ = writeln!(html, "<dt>{what}</dt><dd>{}</dd>", escaped(&value));
        }
        html.push_str("</dl>\n</article>\n");
    }
    html.push_str("</section>\n");
}

fn rows(runs: &[Entry]) -> impl Iterator<Item = (&Entry, &BoardRow)> {
    runs.iter().flat_map(|entry| entry.leaderboard.rows.iter().map(move |row| (entry, row)))
}

fn kind_name(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Baseline => "baseline",
        RowKind::Control => "control",
        RowKind::Regime => "regime",
    }
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
        assert!(row.contains(&with_interval(gain, 1, true)), "{row}");
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
        assert!(html.contains(">&quot;&gt;&lt;em&gt;&amp;&#39;</th>"));
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
        assert_eq!(direction(gain(0.5, 2.0)), " class=\"up\"");
        assert_eq!(direction(gain(-2.0, -0.5)), " class=\"down\"");
        assert_eq!(direction(gain(-0.5, 2.0)), "");
        assert_eq!(with_interval(gain(-0.04, 2.0), 1, true), "+1.0 [+0.0, +2.0]");
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
