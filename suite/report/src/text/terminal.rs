//! Results and comparisons as terminal tables. Pure.
//!
//! This module does not know where the text goes. Numbers are rounded here and nowhere before.
//! A row shows its accuracy and, below it, its gain over the base, since either alone misleads:
//! a gain hides how far a level is from chance, an accuracy hides what training did.
//! The gain of a shuffled control is left out: it is chance minus skill and says nothing.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Row as TableRow, Table, presets};
use strum::VariantArray as _;
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::families::Family;
use synergy_benchmarks::text_only;
use synergy_grade::style::REASONING_WORDS;

use crate::compare::{CellVerdict, Comparison, FigureVerdict, Metric, Verdict, describe_power};
use crate::rows::regime_and_control;
use crate::score::{Cell, Metrics, Question, ResultRow, Results, RowKind};
use crate::statistics::{CONFIDENCE, Interval};
use crate::text::partial::{FEW, partial};

/// More questions without an answer than a terminal shows.
const UNANSWERED_SHOWN: usize = 8;

/// The text of a cell without a value.
pub const NOTHING: &str = "–";

/// A table as text, before it is drawn: lines within a cell are separated by `\n`.
pub struct Grid {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells, `[row][column]`.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table with the columns `header`.
    pub fn new<const N: usize>(
        header: [&str; N],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Grid {
        Grid { header: header.map(str::to_owned).to_vec(), rows: rows.into_iter().collect() }
    }
}

/// The final table: rows by level, with intervals. Fits into 120 columns.
///
/// # Units
/// `width` in columns of the terminal; cells are wrapped where it is too narrow.
pub fn render_table(results: &Results, metrics: &Metrics, width: u16) -> String {
    let mut text = title(results);
    text.push('\n');
    if let Some(warning) = provisional(results) {
        text.push_str(&warning);
        text.push('\n');
    }
    if let Some(line) = partial(results, FEW) {
        text.push_str(&filled(&line, usize::from(width)));
        text.push('\n');
    }
    let grid = levels_grid(results, metrics);
    text.push_str(&draw(&grid, width, 1));
    text.push('\n');
    text.push_str(&legend());
    text.push('\n');
    for benchmark in results.external_benchmarks() {
        let line = external_line(results, metrics, benchmark);
        text.push_str(&filled(&line, usize::from(width)));
        text.push('\n');
    }
    let unanswered = unanswered(results);
    if !unanswered.is_empty() {
        let _ = writeln!(text, "{}:", unanswered_title(unanswered.len()));
        for line in unanswered.iter().take(UNANSWERED_SHOWN) {
            let _ = writeln!(text, "{}", filled(&format!("- {line}"), usize::from(width)));
        }
        let num_more = unanswered.len().saturating_sub(UNANSWERED_SHOWN);
        if num_more > 0 {
            let _ = writeln!(text, "- and {num_more} more, in report.md");
        }
    }
    text
}

/// Says what questions without an answer are and how they count.
pub fn unanswered_title(count: usize) -> String {
    let (questions, have) = if count == 1 { ("question", "has") } else { ("questions", "have") };
    format!("{count} {questions} {have} answers that never came, which count as not correct")
}

/// The questions with answers that never came, a line each: the question, then the rows with the number of such answers.
pub fn unanswered(results: &Results) -> Vec<String> {
    let of_row = |row: &ResultRow, place: usize| {
        let letters = || row.seeds.iter().filter_map(move |seed| seed.outcomes.get(place));
        let missing: usize = letters().map(|letters| letters.matches('n').count()).sum();
        let all: usize = letters().map(String::len).sum();
        (missing > 0).then(|| format!("{} ({missing} of {all})", row.name))
    };
    let of_question = |(place, question): (usize, &Question)| {
        let rows: Vec<String> =
            ordered_rows(results).into_iter().filter_map(|row| of_row(row, place)).collect();
        (!rows.is_empty()).then(|| format!("{}: {}", question.id, rows.join(", ")))
    };
    results.questions.iter().enumerate().filter_map(of_question).collect()
}

/// A comparison: how many cells got which verdict, each cell that is not the same, what a reader
/// must know, and the rule.
pub fn render_comparison(comparison: &Comparison, width: u16) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", counts(comparison));
    if let Some(line) = &comparison.partial {
        let _ = writeln!(text, "{}", filled(line, usize::from(width)));
    }
    let grid = differences(comparison);
    if !grid.rows.is_empty() {
        text.push_str(&draw(&grid, width, 3));
        text.push('\n');
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for line in describe_power(&comparison.power) {
        let _ = writeln!(text, "power: {line}");
    }
    let _ = writeln!(text, "{} tests", comparison.num_tests);
    let _ = writeln!(text, "\n{}", comparison.rule);
    text
}

/// Counts the cells and figures of training with each verdict.
pub fn counts(comparison: &Comparison) -> String {
    let found =
        Verdict::VARIANTS.iter().copied().map(|verdict| (verdict, comparison.count(verdict)));
    let found = found.filter(|(_, count)| *count > 0);
    let counts: Vec<String> =
        found.map(|(verdict, count)| format!("{count} {}", verdict.name())).collect();
    let (cells, figures) = (comparison.cells.len(), comparison.figures.len());
    let what = match figures {
        0 => format!("{cells} cells"),
        1 => format!("{cells} cells and a figure of training"),
        _ => format!("{cells} cells and {figures} figures of training"),
    };
    format!("{what}: {}", counts.join(", "))
}

/// Profile, size and origin in one line.
pub fn title(results: &Results) -> String {
    let provenance = &results.provenance;
    let commit = provenance.commit.get(..12).unwrap_or(&provenance.commit);
    let seeds = results.rows.iter().map(|row| row.seeds.len()).max().unwrap_or(0);
    format!(
        "{}: {} {}questions, {}, {}, commit {commit}{}, {}",
        results.profile,
        results.questions.iter().filter(|question| question.level.is_some()).count(),
        results.split.map_or_else(String::new, |split| format!("{split} ")),
        if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") },
        provenance.date,
        if provenance.dirty { " with changes" } else { "" },
        provenance.backend,
    )
}

/// What the run found, in one sentence: which regimes gain over the base or lose beyond their intervals; `None` without
/// regimes whose gain is known.
pub fn verdict(results: &Results, metrics: &Metrics) -> Option<String> {
    let gain = |row: &&ResultRow| Some((row.name.clone(), metrics.average(&row.name)?.gain?));
    let regimes = ordered_rows(results).into_iter().filter(|row| row.kind == RowKind::Regime);
    let mut regimes: Vec<(String, Interval)> = regimes.filter_map(|row| gain(&row)).collect();
    // The best first; of equals, the first in reading order.
    regimes.sort_by(|(_, a), (_, b)| b.mean.total_cmp(&a.mean));
    let shown = |(name, gain): &(String, Interval)| format!("{name} {}", points(*gain));
    let better: Vec<String> = regimes.iter().filter(|(_, g)| g.low > 0.0).map(shown).collect();
    let worse: Vec<String> =
        regimes.iter().rev().filter(|(_, g)| g.high < 0.0).map(shown).collect();
    let list = |names: &[String], most: &str| match names {
        [] => String::new(),
        [only] => format!(" ({only})"),
        [first, ..] => format!(" ({most} {first})"),
    };
    let (num, open) = (regimes.len(), regimes.len() - better.len() - worse.len());
    (num > 0).then(|| {
        format!(
            "Of {num} regime{}, {} gain{} over the base{}, {} lose{}{} and {open} {}, by the 95 % intervals of \
             their accuracy in points",
            if num == 1 { "" } else { "s" },
            better.len(),
            if better.len() == 1 { "s" } else { "" },
            list(&better, "most"),
            worse.len(),
            if worse.len() == 1 { "s" } else { "" },
            list(&worse, "most"),
            if open == 1 { "is undecided" } else { "are undecided" },
        )
    })
}

/// The warning shown with every figure of a base that has not passed its gate.
pub fn provisional(results: &Results) -> Option<String> {
    let provenance = &results.provenance;
    provenance
        .base_provisional
        .then(|| format!("provisional, the base has not passed its gate: {}", provenance.base_note))
}

/// How to read [`levels_grid`].
pub fn legend() -> String {
    format!(
        "accuracy in % ± half of its {:.0} % interval (+ or -: its only side); below it the gain over base in points;\n\
         length in tokens; truncated answers in %; `{}` per answer",
        100.0 * CONFIDENCE,
        REASONING_WORDS[0]
    )
}

/// Accuracy of every row that was asked an external benchmark, and the figures to compare it with.
pub fn external_line(results: &Results, metrics: &Metrics, benchmark: &str) -> String {
    let cells: Vec<&Cell> = ordered_rows(results)
        .into_iter()
        .filter_map(|row| metrics.cell(&row.name, Some(benchmark), None))
        .collect();
    let ours = cells
        .iter()
        .map(|cell| format!("{} {}", cell.row, plus_minus(cell.accuracy.scaled(100.0))));
    let others = results
        .external
        .iter()
        .filter(|external| external.benchmark == benchmark)
        .map(|external| format!("{} {}", external.row, percent(external.accuracy)));
    let num_questions = cells.first().map_or(0, |cell| cell.num_questions);
    let figures: Vec<String> = ours.chain(others).collect();
    format!("{benchmark}, {num_questions} questions, accuracy in %: {}", figures.join(", "))
}

/// Says in percent how well the families' questions can be guessed without their pictures; `None` without families.
pub fn text_only_line(results: &Results) -> Option<String> {
    let of_family = |name: &&str| {
        let family: Family = name.parse().ok()?;
        let hops = results.questions.iter().filter(|q| q.benchmark == *name).map(|q| q.hops);
        let hops = hops.clone().min()?..=hops.max()?;
        Some(format!("{family} {}", percent(text_only::of_family(family, hops))))
    };
    let figures: Vec<String> = results.families().iter().filter_map(of_family).collect();
    (!figures.is_empty()).then(|| {
        format!(
            "The best guess from the text alone, in %: {}; only what is above it saw the picture",
            figures.join(", ")
        )
    })
}

/// Rows in reading order: the baseline, the controls of the base, then each regime with its own
/// controls (`<regime>/…`) below it.
pub fn ordered_rows(results: &Results) -> Vec<&ResultRow> {
    let rank = |row: &ResultRow| match row.kind {
        RowKind::Baseline => (0, 0),
        RowKind::Control if regime_and_control(&row.name).1.is_none() => (1, 0),
        _ => {
            let (regime, _) = regime_and_control(&row.name);
            let position = results.rows.iter().position(|other| other.name == regime);
            (2, position.unwrap_or(results.rows.len()))
        }
    };
    let mut rows: Vec<&ResultRow> = results.rows.iter().collect();
    rows.sort_by_key(|row| (rank(row), row.kind != RowKind::Regime));
    rows
}

/// Rows by level: what the suite is for.
pub fn levels_grid(results: &Results, metrics: &Metrics) -> Grid {
    let mut header = vec!["accuracy".to_owned(), "avg".to_owned()];
    for (level, count, share) in results.level_shares() {
        header.push(format!("{level}\n{:.1} %\nn {count}", 100.0 * share));
    }
    header.extend(["length", "trunc", REASONING_WORDS[0]].map(str::to_owned));
    let rows = ordered_rows(results)
        .into_iter()
        .map(|row| {
            let average = metrics.average(&row.name);
            let levels = Level::ALL.map(|level| metrics.cell(&row.name, None, Some(level)));
            let cells: Vec<Option<&Cell>> = std::iter::once(average).chain(levels).collect();
            let mut line = vec![label(row, &cells)];
            line.extend(cells.into_iter().map(|cell| accuracy_and_gain(row, cell)));
            line.push(shown(average, |cell| plus_minus(cell.length)));
            line.push(shown(average, |cell| percent(cell.truncated)));
            line.push(shown(average, |cell| format!("{:.2}", cell.words_per_answer[0])));
            line
        })
        .collect();
    Grid { header, rows }
}

/// The row's name and, where a line with gains follows, what that line is. The control of a
/// regime is right below it, so only the part after its slash is shown.
pub fn label(row: &ResultRow, cells: &[Option<&Cell>]) -> String {
    let name = match regime_and_control(&row.name) {
        (_, Some(control)) => format!("  /{control}"),
        (regime, None) => regime.to_owned(),
    };
    if cells.iter().flatten().any(|cell| gain(row, cell).is_some()) {
        format!("{name}\n  gain")
    } else {
        name
    }
}

/// Accuracy and, below it, the gain.
pub fn accuracy_and_gain(row: &ResultRow, cell: Option<&Cell>) -> String {
    shown(cell, |cell| {
        let accuracy = plus_minus(cell.accuracy.scaled(100.0));
        match gain(row, cell) {
            Some(gain) => format!("{accuracy}\n{}", points(gain)),
            None => accuracy,
        }
    })
}

/// A gain in percentage points.
pub fn points(gain: Interval) -> String {
    plus_minus_signed(gain.scaled(100.0))
}

/// Formats a difference with its sign and half of its 95 % interval, one decimal each.
pub fn plus_minus_signed(effect: Interval) -> String {
    // Rounded first, so that nothing is shown as -0.0.
    let mean = (effect.mean * 10.0).round() / 10.0 + 0.0;
    format!("{mean:+.1} {}", width(effect))
}

/// The half of an interval's width after `±`; of one that ends at its mean, the side that there is.
///
/// All right and all wrong give such intervals: 100 - 56.1 to 100.
fn width(Interval { mean, low, high }: Interval) -> String {
    let (below, above) = (mean - low, high - mean);
    let is_nought = |side: f64| side < 1e-9 * (1.0 + mean.abs());
    match (is_nought(below), is_nought(above)) {
        (true, false) => format!("+{above:.1}"),
        (false, true) => format!("-{below:.1}"),
        _ => format!("±{:.1}", (high - low) / 2.0),
    }
}

fn gain(row: &ResultRow, cell: &Cell) -> Option<Interval> {
    let shuffled = row.name == "shuffled" || row.name.ends_with("/shuffled");
    cell.gain.filter(|_| !shuffled)
}

/// A cell's text, or a dash where there is no cell.
pub fn shown(cell: Option<&Cell>, text: impl Fn(&Cell) -> String) -> String {
    cell.map_or_else(|| NOTHING.to_owned(), text)
}

/// Formats a mean with half of its 95 % interval, one decimal each; an interval with one side has its sign, `100.0 -56.1`.
pub fn plus_minus(interval: Interval) -> String {
    format!("{:.1} {}", interval.mean, width(interval))
}

/// Formats a p-value: three decimals, or that it is below the last of them.
pub fn probability(p: f64) -> String {
    if p < 0.001 {
        "< .001".to_owned()
    } else {
        format!("{p:.3}").trim_start_matches('0').to_owned()
    }
}

/// Formats a share in percent with one decimal, without the sign.
pub fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// Every cell and figure that is not the same.
pub(crate) fn differences(comparison: &Comparison) -> Grid {
    let header = ["row", "cell", "metric", "n", "golden", "run", "effect", "verdict"];
    let different = Verdict::VARIANTS.iter().filter(|verdict| **verdict != Verdict::Same);
    Grid::new(header, different.flat_map(|verdict| verdict_rows(comparison, *verdict)))
}

/// The cells, then the figures with this verdict; a row of results that is missing or new as a whole is one
/// line.
pub fn verdict_rows(comparison: &Comparison, verdict: Verdict) -> Vec<Vec<String>> {
    let whole = |row: &str| {
        matches!(verdict, Verdict::Missing | Verdict::New)
            && comparison.cells.iter().all(|cell| cell.row != row || cell.verdict == verdict)
    };
    let mut lines: Vec<Vec<String>> = Vec::new();
    for cell in comparison.cells.iter().filter(|cell| cell.verdict == verdict) {
        if !whole(&cell.row) {
            lines.push(comparison_row(cell));
        } else if lines.last().is_none_or(|line| line[0] != cell.row) {
            let questions = cell.num_questions.to_string();
            let line = [&cell.row, "every cell", "every metric", &questions];
            let values = [NOTHING, NOTHING, NOTHING, verdict.name()];
            lines.push(line.into_iter().chain(values).map(str::to_owned).collect());
        }
    }
    let figures = comparison.figures.iter().filter(|figure| figure.verdict == verdict);
    lines.extend(figures.map(figure_row));
    lines
}

fn figure_row(figure: &FigureVerdict) -> Vec<String> {
    let is_share = figure.figure.is_share();
    let value = |value: Option<f64>| match value {
        Some(value) if is_share => format!("{:.2} %", 100.0 * value),
        Some(value) => format!("{value:.3}"),
        None => NOTHING.to_owned(),
    };
    let effect = figure.effect.map_or_else(
        || NOTHING.to_owned(),
        |effect| {
            let Interval { mean, low, high } = effect.scaled(100.0);
            let unit = if is_share { "" } else { " %" };
            format!("{mean:+.1}{unit} [{low:+.1}, {high:+.1}]")
        },
    );
    vec![
        figure.stage.clone(),
        "training".to_owned(),
        figure.figure.name().to_owned(),
        figure.num_seeds.to_string(),
        value(figure.golden),
        value(figure.run),
        effect,
        figure.verdict.name().to_owned(),
    ]
}

fn comparison_row(cell: &CellVerdict) -> Vec<String> {
    let (factor, unit) = match cell.metric {
        Metric::Accuracy | Metric::Truncated | Metric::Unparsed => (100.0, " %"),
        Metric::Length | Metric::Words => (1.0, ""),
    };
    let value = |value: Option<f64>| {
        value.map_or_else(|| NOTHING.to_owned(), |value| format!("{:.2}{unit}", factor * value))
    };
    let effect = cell.effect.map_or_else(
        || NOTHING.to_owned(),
        |effect| {
            let Interval { mean, low, high } = effect.scaled(factor);
            format!("{mean:+.2} [{low:+.2}, {high:+.2}]")
        },
    );
    let scope = match (&cell.benchmark, cell.level) {
        (None, None) => "all".to_owned(),
        (None, Some(level)) => level.to_string(),
        (Some(benchmark), None) => benchmark.clone(),
        (Some(benchmark), Some(level)) => format!("{benchmark} {level}"),
    };
    vec![
        cell.row.clone(),
        scope,
        cell.metric.name().to_owned(),
        cell.num_questions.to_string(),
        value(cell.golden),
        value(cell.run),
        effect,
        cell.verdict.name().to_owned(),
    ]
}

/// Breaks a line at spaces into lines of at most `width` characters, where its words allow.
fn filled(line: &str, width: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in line.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text
}

/// Draws a grid with rules above, below and under the header; the first `num_left` columns are
/// text, the others numbers.
pub fn draw(grid: &Grid, width: u16, num_left: usize) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .remove_style(comfy_table::TableComponent::HorizontalLines)
        .remove_style(comfy_table::TableComponent::MiddleIntersections)
        .remove_style(comfy_table::TableComponent::LeftBorderIntersections)
        .remove_style(comfy_table::TableComponent::RightBorderIntersections)
        // The same text whatever terminal the process has.
        .force_no_tty()
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(grid.header.clone());
    for row in &grid.rows {
        table.add_row(TableRow::from(row.clone()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let alignment = if index < num_left { CellAlignment::Left } else { CellAlignment::Right };
        column.set_cell_alignment(alignment);
        // The table's own padding would cost two columns per cell, which the names of rows need.
        column.set_padding((0, 1));
    }
    // Padding at line ends is noise in a log.
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::GATE;
    use crate::compare::{compare, rule};
    use crate::score::fixture::study;

    #[test]
    fn the_verdict_names_the_best_and_the_worst_and_counts_what_is_open() {
        let results = study(400, &[1, 2, 3]);
        let mut metrics = Metrics::of(&results);
        let mut set = |row: &str, mean: f64, half: f64| {
            let is_whole =
                |c: &&mut Cell| c.row == row && c.benchmark.is_none() && c.level.is_none();
            let cell = metrics.cells.iter_mut().find(is_whole).unwrap();
            cell.gain = Some(Interval { mean, low: mean - half, high: mean + half });
            verdict(&results, &metrics).unwrap()
        };
        set("sft", 0.02, 0.01);
        set("rl", 0.05, 0.01);
        assert_eq!(
            set("two_stage", -0.05, 0.01),
            "Of 3 regimes, 2 gain over the base (most rl +5.0 ±1.0), 1 loses (two_stage -5.0 ±1.0) and 0 are \
             undecided, by the 95 % intervals of their accuracy in points"
        );
        assert_eq!(
            set("sft", 0.02, 0.03),
            "Of 3 regimes, 1 gains over the base (rl +5.0 ±1.0), 1 loses (two_stage -5.0 ±1.0) and 1 is undecided, \
             by the 95 % intervals of their accuracy in points"
        );
        let mut bare = study(20, &[1]);
        bare.rows.retain(|row| row.kind != RowKind::Regime);
        assert_eq!(verdict(&bare, &Metrics::of(&bare)), None);
    }

    #[test]
    fn the_final_table_fits_and_reads() {
        let results = study(80, &[1, 2]);
        let text = render_table(&results, &Metrics::of(&results), 120);
        assert!(text.lines().all(|line| line.chars().count() <= 120));
        insta::assert_snapshot!(text, @"
        small: 400 questions, 2 seeds, 2026-01-31, commit 0123456789ab, flex
        provisional, the base has not passed its gate: verbose accuracy .81 on sum, .9 needed
        ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
        accuracy            avg          L1           L2          L3          L4           L5     length  trunc  wait
                                     35.0 %       20.0 %      15.0 %      15.0 %       15.0 %
                                      n 140         n 80        n 60        n 60         n 60
        ══════════════════════════════════════════════════════════════════════════════════════════════════════════════
        base          52.5 ±3.5   87.0 ±2.8    60.3 ±5.4   37.9 ±6.9   20.4 ±4.8     8.3 ±3.1  18.0 ±0.1    1.2  0.00
        null          51.1 ±3.6   86.6 ±2.9    61.9 ±5.3   33.8 ±6.2   17.9 ±4.8     4.2 ±2.7  18.0 ±0.1    0.6  0.00
          gain        -1.4 ±2.7   -0.4 ±4.3    +1.6 ±7.4   -4.2 ±9.5   -2.5 ±6.0    -4.2 ±4.3
        greedy        56.5 ±4.9   97.9 ±2.3    77.5 ±9.4  31.7 ±12.1   13.3 ±8.9     0.0 +6.0  18.1 ±0.1    1.0  0.00
          gain        +4.0 ±3.8  +10.9 ±3.8  +17.2 ±11.6  -6.3 ±13.5  -7.1 ±10.2    -8.3 ±3.1
        no_template   33.2 ±2.6   48.4 ±4.2    42.2 ±5.6   25.0 ±5.4   20.0 ±4.7     7.5 ±3.0   9.9 ±0.1    1.1  0.00
          gain       -19.3 ±3.3  -38.6 ±5.1   -18.1 ±8.3  -12.9 ±7.8   -0.4 ±7.1    -0.8 ±3.9
        shuffled      20.9 ±2.0   20.9 ±3.6    20.9 ±4.4   22.1 ±5.7   19.6 ±4.3    20.8 ±5.8  18.0 ±0.1    1.1  0.00
        sft           48.4 ±4.3   66.6 ±3.2    54.5 ±4.2  42.7 ±46.6   34.6 ±4.8    17.3 ±3.3  60.0 ±0.5    4.7  4.00
          gain        -4.1 ±4.0  -20.4 ±4.1    -5.8 ±6.5  +4.8 ±21.5  +14.2 ±6.7    +9.0 ±4.6
          /shuffled   18.8 ±1.9   17.1 ±3.2    20.0 ±4.2   18.8 ±5.0   22.1 ±5.5    17.9 ±5.3  60.0 ±0.1    5.2  4.00
        rl            61.9 ±3.6   96.0 ±1.3    80.6 ±3.0  47.3 ±10.2  24.8 ±25.0     9.4 ±2.9  18.0 ±0.0    1.1  0.00
          gain        +9.4 ±2.5   +9.0 ±3.0   +20.3 ±5.9   +9.4 ±9.1   +4.4 ±7.4    +1.0 ±4.1
          /shuffled   20.7 ±3.6   19.6 ±3.7    25.3 ±6.8  19.6 ±11.9   21.2 ±5.7    17.5 ±7.2  18.0 ±0.1    1.1  0.00
        two_stage     48.5 ±3.9  67.1 ±18.1   55.6 ±33.4  42.5 ±28.6   30.6 ±4.3   19.4 ±27.6  60.0 ±0.0    5.2  4.00
          gain        -4.0 ±3.5  -19.8 ±5.0   -4.7 ±10.1   +4.6 ±8.5  +10.2 ±6.6  +11.0 ±14.0
          /shuffled   17.8 ±1.9   17.3 ±3.0    19.4 ±4.4   12.9 ±4.8   19.2 ±5.1    20.0 ±5.2  60.0 ±0.1    4.8  4.00
        ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
        accuracy in % ± half of its 95 % interval (+ or -: its only side); below it the gain over base in points;
        length in tokens; truncated answers in %; `wait` per answer
        easy_vqa, 40 questions, accuracy in %: base 82.5 ±12.3, sft 77.5 ±39.0, rl 80.0 ±43.7, two_stage 76.2 ±16.1, question
        only 67.1
        ");
    }

    #[test]
    fn answers_that_never_came_are_counted_and_listed() {
        let mut results = study(20, &[1]);
        for row in [0, 5] {
            let outcomes = &mut results.rows[row].seeds[0].outcomes;
            outcomes.iter_mut().skip(3).take(9).for_each(|letters| letters.replace_range(..1, "n"));
        }
        let id = results.questions[3].id.clone();
        let metrics = Metrics::of(&results);
        let text = render_table(&results, &metrics, 120);
        let title = "9 questions have answers that never came, which count as not correct:\n";
        assert!(text.contains(title), "{text}");
        let names = [&results.rows[0].name, &results.rows[5].name];
        let line = format!("- {id}: {} (1 of 4), {} (1 of 4)\n", names[0], names[1]);
        assert!(text.contains(&line), "{line} in {text}");
        assert!(text.ends_with("- and 1 more, in report.md\n"), "{text}");
        let cell = metrics.average(names[0]).unwrap();
        let sum = cell.accuracy.mean + cell.wrong() + cell.truncated + cell.unparsed;
        assert!((cell.unanswered - 9.0 / 400.0).abs() < 1e-12);
        assert!((sum + cell.unanswered - 1.0).abs() < 1e-12);
        assert_eq!(
            results.to_json().map(|json| Results::from_json(&json, "a").unwrap()).unwrap(),
            results
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_and_loses_nothing() {
        let results = study(20, &[1]);
        let metrics = Metrics::of(&results);
        for width in [1, 20, 60, 90] {
            let text = render_table(&results, &metrics, width);
            assert!(text.contains("question") && text.contains("trunc"));
        }
    }

    #[test]
    fn a_comparison_shows_only_what_is_not_the_same() {
        let (golden, mut run) = (study(20, &[1]), study(20, &[1]));
        run.recipe_hash = "other".to_owned();
        for tokens in run.rows[6].seeds[0].num_tokens.iter_mut().flatten() {
            *tokens *= 2;
        }
        run.rows.retain(|row| row.name != "two_stage");
        let text = render_comparison(&compare(&golden, &run, &GATE), 120);
        assert!(text.lines().all(|line| line.chars().count() <= 120));
        insta::assert_snapshot!(text.replace(&rule(&GATE), "[rule]"), @"
        720 cells and a figure of training: 8 regressed, 180 missing, 28 undecided, 505 same
        ────────────────────────────────────────────────────────────────────────────────────────────
        row        cell        metric          n  golden    run                   effect    verdict
        ════════════════════════════════════════════════════════════════════════════════════════════
        rl         all         length        100   17.89  35.77  +17.89 [+17.75, +18.02]  regressed
        rl         L1          length         35   17.93  35.86  +17.93 [+17.68, +18.18]  regressed
        rl         L2          length         20   17.86  35.73  +17.86 [+17.49, +18.24]  regressed
        rl         chart       length         20   17.80  35.60  +17.80 [+17.44, +18.16]  regressed
        rl         count       length         20   17.81  35.62  +17.81 [+17.45, +18.17]  regressed
        rl         path        length         20   18.11  36.23  +18.11 [+17.78, +18.45]  regressed
        rl         sum         length         20   17.84  35.67  +17.84 [+17.61, +18.06]  regressed
        rl         swap        length         20   17.86  35.73  +17.86 [+17.51, +18.21]  regressed
        two_stage  every cell  every metric  100       –      –                        –    missing
        rl         L3          length         15   18.15  36.30                        –  undecided
        rl         L4          length         15   17.62  35.23                        –  undecided
        rl         L5          length         15   17.82  35.63                        –  undecided
        rl         chart L1    length          7   17.57  35.14                        –  undecided
        rl         chart L2    length          4   18.12  36.25                        –  undecided
        rl         chart L3    length          3   17.92  35.83                        –  undecided
        rl         chart L4    length          3   17.67  35.33                        –  undecided
        rl         chart L5    length          3   17.92  35.83                        –  undecided
        rl         count L1    length          7   18.29  36.57                        –  undecided
        rl         count L2    length          4   17.25  34.50                        –  undecided
        rl         count L3    length          3   17.92  35.83                        –  undecided
        rl         count L4    length          3   17.67  35.33                        –  undecided
        rl         count L5    length          3   17.50  35.00                        –  undecided
        rl         path L1     length          7   18.21  36.43                        –  undecided
        rl         path L2     length          4   18.06  36.12                        –  undecided
        rl         path L3     length          3   18.75  37.50                        –  undecided
        rl         path L4     length          3   17.58  35.17                        –  undecided
        rl         path L5     length          3   17.83  35.67                        –  undecided
        rl         sum L1      length          7   17.71  35.43                        –  undecided
        rl         sum L2      length          4   17.81  35.62                        –  undecided
        rl         sum L3      length          3   18.08  36.17                        –  undecided
        rl         sum L4      length          3   17.92  35.83                        –  undecided
        rl         sum L5      length          3   17.83  35.67                        –  undecided
        rl         swap L1     length          7   17.86  35.71                        –  undecided
        rl         swap L2     length          4   18.06  36.12                        –  undecided
        rl         swap L3     length          3   18.08  36.17                        –  undecided
        rl         swap L4     length          3   17.25  34.50                        –  undecided
        rl         swap L5     length          3   18.00  36.00                        –  undecided
        ────────────────────────────────────────────────────────────────────────────────────────────
        note: the recipe differs: golden `5f1d0c2a`, run `other`
        note: one training seed on both sides: the noise of training is not known, only that of questions and sampling
        8 tests

        [rule]
        ");
        let same = render_comparison(&compare(&golden, &golden, &GATE), 120);
        assert!(same.starts_with("720 cells and a figure of training: 721 same\n"), "{same}");
        assert!(same.ends_with(&format!("{}\n", rule(&GATE))));
    }
}
