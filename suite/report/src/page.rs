//! A run as one self-contained page of HTML: figures, curves, claims, table, completions, provenance. Pure.
//!
//! This module does not know where the page goes, nor files, models or the store: what results do not hold (curves,
//! completions, pictures) comes in [`PageData`], which the caller fills. Charts are SVG written by hand and
//! the script only adds to what is there: the page is whole without it and never asks the network for anything.
//! The same values give the same bytes.

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

use crate::analysis::Analyses;
use crate::claims::Finding;
use crate::dilemma::Dilemma;
use crate::evidence::Study;
use crate::factorial::factorial;
use crate::golden::Record;
use crate::score::passes::passes;
use crate::score::{Lineage, Metrics, Results};
use crate::text::difficulty as text;
use crate::text::partial::partial;
use crate::text::terminal as table;

mod analysis;
mod board;
mod chart;
mod completions;
mod curves;
mod difficulty;
mod dilemma;
mod figures;
mod history;
pub mod html;
mod ledger;
mod lines;
mod published;

pub use completions::{Answer, Exhibit, chosen, is_exhibited};
pub use curves::Curve;
use figures::Quantity;
use lines::Line;

/// The style sheet of the page, which other pages may share.
pub const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What the page shows beyond results.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PageData {
    /// Regimes that are merges of two others.
    pub merges: Vec<Merged>,
    /// Figures of every training stage and seed, step by step.
    pub curves: Vec<Curve>,
    /// Questions with the answers of the base and of every regime.
    pub exhibits: Vec<Exhibit>,
    /// Golden results of this profile so far, oldest first.
    pub history: Vec<Record>,
    /// The answers by level, outcome and grader.
    pub analyses: Option<Analyses>,
    /// Hash of the sources that train and sample.
    pub code_hash: String,
}

/// A regime that is a merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Name of the regime's row.
    pub regime: String,
    /// Name of the method.
    pub method: String,
    /// Share of the first parent, 0 to 1.
    pub share: f64,
    /// The regimes whose models are merged.
    pub parents: [String; 2],
}

/// A part of the page; the navigation names it by its id.
struct Section {
    id: &'static str,
    heading: &'static str,
    /// What a reader must know to read it.
    lead: &'static str,
    body: Markup,
}

impl Render for Section {
    fn render(&self) -> Markup {
        let heading = format!("{}-h", self.id);
        html! {
            section id=(self.id) aria-labelledby=(heading) {
                h2 id=(heading) { (self.heading) }
                p.lead { (self.lead) }
                (self.body)
            }
        }
    }
}

/// The page.
pub fn report_html(
    results: &Results,
    metrics: &Metrics,
    data: &PageData,
    findings: &[Finding],
) -> String {
    let lines = lines::lines(results, data);
    let gain = Quantity::gain(metrics);
    let figures = figures(results, metrics, data, &lines, &gain);
    let tables = tables(results, metrics, data, &lines, findings);
    let merges = (!data.merges.is_empty()).then(|| Section {
        id: "merges",
        heading: "Merges",
        lead: "Gain against the share of the first parent, from the second parent alone (0) to the first alone (1).",
        body: figures::merges(data, &gain, &lines),
    });
    let tables: Vec<Section> = merges.into_iter().chain(tables).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Synergy, profile " (results.profile) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) (PreEscaped(lines::rules(&lines))) }
            }
            body {
                (header(results, metrics, &lines))
                nav aria-label="Sections" {
                    ul { @for section in figures.iter().chain(&tables) { (entry(section.id)) } }
                }
                main #main {
                    div.figures { (lines::legend(&lines)) div { @for figure in &figures { (figure) } } }
                    @for table in &tables { (table) }
                }
                footer {
                    p {
                        "A reproduction on small models of “The Synergy Dilemma of Long-CoT SFT and RL” (arXiv \
                         2507.07562). Figures on this page are ours unless a column says published."
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    html::without_controls(&page.into_string())
}

fn header(results: &Results, metrics: &Metrics, lines: &[Line]) -> Markup {
    html! {
        a.skip href="#main" { "Skip to the figures" }
        header {
            div.top {
                div {
                    h1 { "Long-CoT SFT, RL, or both?" }
                    p.run { "Profile " (table::title(results)) "." }
                    @if let Some(found) = table::verdict(results, metrics) { p.run { (found) "." } }
                }
                button #theme .js-only type="button" { "Dark theme" }
            }
            @if let Some(warning) = table::provisional(results) {
                p.banner { b { "Note:" } " " (warning) }
            }
            @if let Some(line) = partial(results, usize::MAX) {
                p.banner { b { "Note:" } " " (line) }
            }
            (ledger::tiles(results, metrics, lines))
        }
    }
}

/// An entry of the navigation.
fn entry(id: &str) -> Markup {
    let (first, rest) = id.split_at(1);
    html! { li { a href={ "#" (id) } { (first.to_uppercase()) (rest) } } }
}

/// The sections next to the legend, which chooses their lines.
fn figures(
    results: &Results,
    metrics: &Metrics,
    data: &PageData,
    lines: &[Line],
    gain: &Quantity,
) -> Vec<Section> {
    let words = figures::figure(&Quantity::words(results, lines), results, lines);
    let tokens = data.analyses.as_ref().map(|analyses| Section {
        id: "tokens",
        heading: "Accuracy against a budget of tokens",
        lead: "The accuracy under smaller budgets of tokens, from these same answers: one that is longer than the \
               budget counts as cut.",
        body: analysis::budgets(analyses, lines),
    });
    let mut sections: Vec<Section> = knob(results, lines).into_iter().collect();
    let after_gain = sections.len() + 1;
    sections.extend([
        Section {
            id: "gain",
            heading: "Gain over base by level",
            lead: "Accuracy minus the base's on the same questions, from easy (L1) to hard (L5) by the base's own \
                   pass rate. Bars are 95 % intervals over questions and seeds; levels of fewer than three questions \
                   are not drawn. The gray band is the base against itself: what chance alone shows. Greedy is the \
                   base without sampling: a regime that gains no more has only sharpened it.",
            body: figures::figure(gain, results, lines),
        },
        Section {
            id: "published",
            heading: "The study's Figure 1, as published",
            lead: "Not ours: what the study (arXiv 2507.07562) measured with Qwen2.5-VL-7B on five published \
                   benchmarks, read off its figure to about 0.2 points. Its intervals are not known. Colors are those \
                   of the same regimes above.",
            body: html! { (published::averages()) (published::figure(lines)) },
        },
        Section {
            id: "length",
            heading: "Length by level",
            lead: "Tokens per answer, correct or not, up to the length limit.",
            body: figures::figure(&Quantity::length(metrics), results, lines),
        },
    ]);
    sections.splice(after_gain..after_gain, standings(results, lines));
    sections.extend(tokens);
    sections.extend(answers(results, lines));
    sections.extend([
        Section {
            id: "words",
            heading: "Reasoning words by level",
            lead: "How often an answer says wait, check, mistake, alternative or however.",
            body: html! {
                (words)
                @if let Some(analyses) = &data.analyses { (analysis::style(analyses)) }
            },
        },
        Section {
            id: "curves",
            heading: "Training curves",
            lead: "The reward of a step's rollouts and other figures of training, one thin line per stage and seed, in \
                   the color of the regime that ends with it. Long curves are drawn as means over windows of steps; of the gradient's norm the largest of a window is drawn.",
            body: curves::charts(data, lines),
        },
    ]);
    sections
}

/// Accuracy over the knob, if questions have one.
fn knob(results: &Results, lines: &[Line]) -> Option<Section> {
    let has_knob = results.questions.iter().any(|question| question.hops > 0);
    has_knob.then(|| Section {
        id: "knob",
        heading: "Accuracy by the knob",
        lead: text::KNOB,
        body: difficulty::knob(results, lines),
    })
}

/// Several answers to a question together, and the answers token by token, as far as results have them.
fn answers(results: &Results, lines: &[Line]) -> Vec<Section> {
    let passes = passes(results);
    let together = passes.iter().any(|row| row.num_samples > 1).then(|| Section {
        id: "several",
        heading: "Several answers together",
        lead: text::TOGETHER,
        body: difficulty::together(&passes, lines),
    });
    let along = difficulty::tokens(results).map(|body| Section {
        id: "entropy",
        heading: "Entropy and KL along the answers",
        lead: text::TOKENS,
        body,
    });
    together.into_iter().chain(along).collect()
}

/// The dilemma, and what demonstrations are worth, where the run has the rows of it.
fn standings(results: &Results, lines: &[Line]) -> Vec<Section> {
    let lineage = Lineage::of(results);
    let study = Study::of(results, &lineage);
    let dilemma = Dilemma::of(&study).map(|dilemma| Section {
        id: "dilemma",
        heading: "The dilemma",
        lead: "What each combination of SFT and RL keeps of both: accuracy against the better parent on the hard and on \
               the easy half of the questions, with 95 % intervals. In the shaded region neither half loses more than 2 \
               points; a combination beats the dilemma if it is shown to lie there and to be above the better parent on \
               the whole. One that writes no long answers tests nothing; its name says brief.",
        body: dilemma::figure(&dilemma, lines),
    });
    let factorial = factorial(&study).map(|effects| Section {
        id: "demonstrations",
        heading: "What long demonstrations are worth",
        lead: "SFT on the same questions with the same number of updates: what the steps in a demonstration are worth, \
               what the words beside them, and what it matters whose they are.",
        body: dilemma::factorial(&effects),
    });
    dilemma.into_iter().chain(factorial).collect()
}

/// The sections below the figures, merges excepted.
fn tables(
    results: &Results,
    metrics: &Metrics,
    data: &PageData,
    lines: &[Line],
    findings: &[Finding],
) -> Vec<Section> {
    let graders = data.analyses.as_ref().map(|analyses| Section {
        id: "graders",
        heading: "Graders",
        lead: "The same answers by other rules: ours, and emulations of those that published scores were made with, \
               none of which asks a model. The first one judges everything else on this page.",
        body: analysis::graders(analyses),
    });
    let history = (!data.history.is_empty()).then(|| Section {
        id: "history",
        heading: "Golden results over time",
        lead: "Every run of this profile that became golden, oldest first. Runs of other recipes or other numbers of \
               questions are shown side by side here; the folded table says which.",
        body: history::figure(&data.history, lines),
    });
    let mut sections = vec![
        Section {
            id: "claims",
            heading: "Claims",
            lead: "The study's findings as predicates over our numbers. The last column is what it published with \
                   models of 7 billion parameters; it is not ours and decides nothing here.",
            body: ledger::claims(findings),
        },
        Section {
            id: "table",
            heading: "Table",
            lead: "Accuracy in percent, with the gain over base in points below it, in bold where its interval leaves \
                   out zero. Read every gain beside its controls.",
            body: html! { (board::board(results, metrics)) (ledger::notes(results)) },
        },
    ];
    sections.extend(graders);
    sections.extend([
        Section {
            id: "completions",
            heading: "Completions",
            lead: "How the base and every regime answer the same questions, four easy, four middle and four hard ones \
                   where there are so many, with what the grader looked at.",
            body: completions::browser(results, data, lines),
        },
        Section {
            id: "budget",
            heading: "Budget",
            lead: "The cost of each regime with every stage it builds on, so that gains can be read per cost. \
                   Operations are 2 for each of the decoder's parameters and token forward, and twice as many backward.",
            body: ledger::budgets(results, metrics),
        },
    ]);
    sections.extend(history);
    sections.push(Section {
        id: "provenance",
        heading: "Provenance",
        lead: "Where these figures come from.",
        body: ledger::provenance(results, data),
    });
    sections
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::claims::ClaimVerdict;
    use crate::completion::Completion;
    use crate::completion::tests::completion;
    use crate::evidence::{Compared, Measure, Shown, Wanted};
    use crate::score::fixture::{LONG, SHARP, UNTUNED, header, levels, row, study};
    use crate::score::{Row, RowKind};
    use crate::statistics::Interval;

    const HOSTILE: &str =
        "</script><b onclick=\"x\">'&amp; \u{0} ]]> <think> 1 < 2 </think> \\boxed{ <i>red }";

    fn data(results: &Results, text: &str) -> PageData {
        let answer = |id: &str, row: &str| Answer {
            row: row.to_owned(),
            seed: 1,
            completion: Completion { sample_id: id.to_owned(), ..completion(text) },
        };
        let rows: Vec<&str> = results
            .rows
            .iter()
            .map(|row| row.name.as_str())
            .filter(|row| is_exhibited(results, row))
            .collect();
        let exhibit = |id: String| Exhibit {
            question: "Start at b2 & follow <2> arrows.\nWhich \"color\"?".to_owned(),
            png: vec![0; 30_000],
            answers: rows.iter().map(|row| answer(&id, row)).collect(),
            id,
        };
        let step = |i: u32| {
            ["reward", "length", "entropy_nats", "kl_nats", "truncated", "gradient_norm_max"]
                .map(|name| (name.to_owned(), f64::from(i % 7)))
                .into()
        };
        let curve = |row: &&str| Curve {
            regime: (*row).to_owned(),
            stage: format!("{row}<stage>"),
            seed: 1,
            steps: (0..200).map(step).collect(),
        };
        let merged = |row: &&&str| {
            let share = row.strip_prefix("merge_")?.parse::<f64>().ok()? / 100.0;
            let parents = ["sft".to_owned(), "rl".to_owned()];
            Some(Merged { regime: (**row).to_owned(), method: "linear".to_owned(), share, parents })
        };
        PageData {
            merges: rows.iter().filter_map(|row| merged(&row)).collect(),
            curves: rows.iter().map(curve).collect(),
            exhibits: chosen(results).into_iter().map(exhibit).collect(),
            history: vec![Record::of(results, None), Record::of(results, Some("a <b>reason"))],
            analyses: Some(analyses(&rows)),
            code_hash: "0123".to_owned(),
        }
    }

    fn analyses(rows: &[&str]) -> Analyses {
        use crate::agreement::{Agreement, Verdicts};
        use crate::analysis::{Judged, RowAccuracy, analyze};
        use synergy_benchmarks::difficulty::Level;
        use synergy_grade::answer::Outcome::{self, Correct, Wrong};
        let judged = |outcome| Judged {
            text: "<think>wait</think>",
            num_tokens: 40,
            outcome,
            level: Some(Level::L2),
        };
        let verdicts = |outcomes: [Outcome; 2]| Verdicts {
            row: "rl<b>".to_owned(),
            seed: 1,
            sample_id: "path/1".to_owned(),
            sample: 0,
            outcomes: outcomes.to_vec(),
        };
        let analysis = |row: &&str| analyze(row, &[judged(Correct), judged(Wrong)]);
        Analyses {
            profile: "tiny".to_owned(),
            rows: rows.iter().filter_map(analysis).collect(),
            accuracy: rows
                .iter()
                .map(|row| RowAccuracy { row: (*row).to_owned(), accuracy: vec![0.5, 0.25] })
                .collect(),
            agreement: Agreement::of(
                &["boxed-1", "synergy-1"],
                vec![verdicts([Correct, Wrong]), verdicts([Correct, Correct])],
            ),
        }
    }

    fn finding() -> Finding {
        Finding {
            id: "C1".to_owned(),
            claim: "SFT loses on easy & gains on hard questions.".to_owned(),
            verdict: ClaimVerdict::Undecided,
            conditions: Vec::new(),
            comparisons: vec![compared("sft <b>")],
            decided_by: Some(0),
            p: Some(0.2),
            p_holm: Some(0.4),
            controls: vec![compared("control")],
            explained_by: None,
            published: "-5.1".to_owned(),
            note: String::new(),
        }
    }

    fn compared(row: &str) -> Compared {
        Compared {
            row: row.to_owned(),
            less: "base".to_owned(),
            metric: Measure::Accuracy,
            part: "L1".to_owned(),
            group: String::new(),
            wanted: Wanted::Below,
            margin: 0.0,
            effect: Interval { mean: -4.0, low: -7.6, high: -0.4 },
            standard_error: 1.8,
            degrees: 30.0,
            detectable: 3.1,
            p: 0.02,
            p_against: 0.98,
            p_holm: 0.04,
            verdict: Shown::Undecided,
        }
    }

    fn page(results: &Results, text: &str) -> String {
        report_html(results, &Metrics::of(results), &data(results, text), &[finding()])
    }

    /// Every tag with its attributes, in order; checks that all are closed in turn.
    #[track_caller]
    fn tags(page: &str) -> Vec<&str> {
        let mut open: Vec<&str> = Vec::new();
        let mut found = Vec::new();
        let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
        while let Some(start) = rest.find('<') {
            let end = start + rest[start..].find('>').unwrap();
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "after {found:?}");
                continue;
            }
            found.push(tag);
            let name = tag.split([' ', '/']).next().unwrap();
            assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
            if tag.ends_with('/') || ["img", "br", "input", "meta", "link"].contains(&name) {
                continue;
            }
            if ["style", "script"].contains(&name) {
                rest = &rest[rest.find(&format!("</{name}>")).unwrap()..];
            }
            open.push(name);
        }
        assert_eq!(open, [""; 0]);
        found
    }

    fn attributes<'a>(tags: &[&'a str], name: &str) -> Vec<&'a str> {
        let start = format!(" {name}=\"");
        let value = |tag: &&'a str| {
            let (_, rest) = tag.split_once(start.as_str())?;
            Some(rest.split_once('"').unwrap().0)
        };
        tags.iter().filter_map(value).collect()
    }

    #[test]
    fn the_page_is_well_formed_and_asks_the_network_for_nothing() {
        let page = page(&study(20, &[1, 2]), HOSTILE);
        let tags = tags(&page);
        let ids = attributes(&tags, "id");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id occurs twice");
        for reference in attributes(&tags, "aria-labelledby").iter().flat_map(|r| r.split(' ')) {
            assert!(ids.contains(&reference), "no element `{reference}`");
        }
        for link in attributes(&tags, "href") {
            let is_here = link.strip_prefix('#').is_some_and(|id| ids.contains(&id));
            assert!(is_here || link == "data:,", "{link}");
        }
        assert!(
            attributes(&tags, "src").iter().all(|src| src.starts_with("data:image/png;base64,"))
        );
        for address in ["http://", "https://", "url(", "@import", "fetch("] {
            assert!(!page.contains(address), "{address}");
        }
    }

    #[test]
    fn model_output_is_never_markup() {
        let page = page(&study(20, &[1]), HOSTILE);
        assert!(page.contains("&lt;/script&gt;&lt;b onclick=&quot;x&quot;&gt;'&amp;amp; \u{fffd}"));
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("<b onclick") && !page.contains("<i>red"));
        assert!(page.contains("Which &quot;color&quot;?"));
    }

    #[test]
    fn the_dilemma_is_drawn_with_every_row_and_its_verdict() {
        use crate::dilemma::tests::{BEST, combined};
        let results = combined(&[("interleaved", BEST), ("two_stage", LONG), ("mixed", SHARP)]);
        let page = page(&results, "a");
        let tags = tags(&page);
        let ids = attributes(&tags, "id");
        for id in ["dilemma-knob", "dilemma-tokens-knob", "dilemma-level"] {
            assert!(ids.contains(&id), "{id}");
        }
        let (_, chart) = page.split_once("<svg id=\"dilemma-knob\"").unwrap();
        let chart = chart.split("</svg>").next().unwrap();
        for text in [
            "keeps both halves",
            ">sft (parent)</text>",
            ">rl (parent)</text>",
            ">mixed (brief)</text>",
            "<title>interleaved: beats the dilemma</title>",
            "<title>two_stage: caught in it</title>",
        ] {
            assert!(chart.contains(text), "{text} in {chart}");
        }
        // An axis in each direction; error bars of all but a parent that is the better one of both halves.
        assert_eq!(chart.matches("class=\"grid zero\"").count(), 2);
        assert_eq!(chart.matches("<path class=\"b\" d=\"M").count(), 4);
    }

    #[test]
    fn the_same_values_give_the_same_bytes() {
        let results = study(20, &[1]);
        assert_eq!(page(&results, "a"), page(&results, "a"));
    }

    #[test]
    fn a_page_without_curves_completions_and_claims_says_so() {
        let results = study(20, &[1]);
        let page = report_html(&results, &Metrics::of(&results), &PageData::default(), &[]);
        tags(&page);
        for text in ["No completions are kept", "No stage of this run", "No claim has been judged"]
        {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn the_same_questions_are_shown_for_all_rows_over_levels_and_families() {
        let results = study(20, &[1]);
        let ids = chosen(&results);
        assert_eq!(ids.len(), 12);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 12);
        let families: BTreeSet<&str> = ids.iter().map(|id| id.split('/').next().unwrap()).collect();
        assert_eq!(families.len(), 5);
    }

    /// The size of profile small with three seeds: 33 regimes, each with its control.
    #[test]
    fn a_whole_study_stays_below_three_megabytes() {
        let mut rows: Vec<Row> = Vec::new();
        let mut add = |name: &str, kind, behavior, seeds: &[u64]| {
            rows.extend(seeds.iter().map(|seed| row(name, kind, behavior, *seed, 120, 1)));
        };
        add("base", RowKind::Baseline, UNTUNED, &[1]);
        add("null", RowKind::Control, UNTUNED, &[1]);
        add("greedy", RowKind::Control, UNTUNED, &[1]);
        for i in 0..33 {
            let (name, behavior) = match i {
                0 => ("sft".to_owned(), LONG),
                1 => ("rl".to_owned(), SHARP),
                2..18 => (format!("sft_variant_{i}"), LONG),
                _ => (format!("merge_{i}"), SHARP),
            };
            add(&name, RowKind::Regime, behavior, &[1, 2, 3]);
            add(&format!("{name}/shuffled"), RowKind::Control, behavior, &[1]);
        }
        let results = Results::assemble(header(), &levels(120), &rows).unwrap();
        let page = page(&results, &"<think> wait ".repeat(400));
        assert!(page.len() < 3_000_000, "{} bytes", page.len());
        tags(&page);
    }
}
