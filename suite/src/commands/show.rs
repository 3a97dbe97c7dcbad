//! `synergy show`: pictures of the procedural families for people to look at, as a sheet or as a page with questions,
//! answers and traces.
//!
//! Does not know how a picture is drawn or a level is cut: levels are those of golden results, whose questions are drawn
//! again from their ids. Nothing in a run depends on it.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use clap::builder::{PossibleValuesParser as FamilyParser, TypedValueParser as _};
use image::ImageFormat;
use synergy_benchmarks::difficulty::Level;
use synergy_benchmarks::families::{Family, MAX_HOPS, Split, contact_sheet};
use synergy_benchmarks::sample::Sample;
use synergy_benchmarks::text_only;
use synergy_hint::{Explain as _, hint};
use synergy_report::page::STYLE;
use synergy_report::page::html::escaped;

use crate::commands::output::put;
use crate::run::golden::{path, read_results};
use crate::run::store::write_atomic;

const EXAMPLES: &str = "\
Examples:
  synergy show --out sheet.png
  synergy show path --level 3
  synergy show sum --steps 12 --count 8 --out sum.html";

/// Seed of questions that belong to no golden results.
const SEED: u64 = 1;
/// Share of looks that slip in the long solutions of a page.
const SHOWN_MISREAD: f64 = 0.1;
/// Number of pictures of a family on a sheet.
const PER_FAMILY: usize = 4;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowArgs {
    /// Questions of this family; without it a sheet of all
    #[arg(value_parser = FamilyParser::new(Family::ALL.map(Family::name)).try_map(|name| name.parse::<Family>()))]
    family: Option<Family>,
    /// Only questions of this level, 1 (easy) to 5 (hard), by the golden results of --profile
    #[arg(long, value_name = "N", requires = "family", value_parser = clap::value_parser!(u8).range(1..=5))]
    level: Option<u8>,
    /// Only questions that take this many steps
    #[arg(long, value_name = "N", requires = "family", conflicts_with = "level")]
    steps: Option<usize>,
    /// Profile whose golden results give the levels
    #[arg(long, default_value = "small", value_name = "NAME")]
    profile: String,
    /// Number of questions
    #[arg(long, default_value_t = 24, value_name = "N")]
    count: usize,
    /// File to write: a page (.html) or a sheet of pictures (.png) [default: in runs]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &ShowArgs) -> Result<u8> {
    put(&format!("{}\n", write(args)?.display()))?;
    Ok(0)
}

/// Writes the sheet or the page, and returns its path.
fn write(args: &ShowArgs) -> Result<PathBuf> {
    let Some(family) = args.family else {
        let out = args.out.clone().unwrap_or_else(|| "runs/contact-sheet.png".into());
        write_atomic(&out, &sheet(&Family::ALL, 3)?)?;
        return Ok(out);
    };
    let name = match (args.level, args.steps) {
        (Some(level), _) => format!("{family}-L{level}"),
        (None, Some(steps)) => format!("{family}-{steps}-steps"),
        (None, None) => family.to_string(),
    };
    let out = args.out.clone().unwrap_or_else(|| format!("runs/{name}.html").into());
    match out.extension().and_then(|end| end.to_str()) {
        Some("png") => {
            ensure!(
                args.level.is_none() && args.steps.is_none(),
                hint!(
                    "a sheet shows no questions, so it has no --level or --steps",
                    "--out with a name that ends with .html"
                )
            );
            write_atomic(&out, &sheet(&[family], 2)?)?;
        }
        Some("html") => {
            let shown = questions(args, family)?;
            write_atomic(&out, page(family, &name, &shown)?.as_bytes())?;
        }
        _ => bail!(hint!(
            ("cannot tell what to write to `{}`", out.display()),
            "a name that ends with .html or .png"
        )),
    }
    Ok(out)
}

/// Encodes a sheet as PNG, each pixel of a picture `scale` pixels wide and high.
fn sheet(families: &[Family], scale: u32) -> Result<Vec<u8>> {
    let mut png = Cursor::new(Vec::new());
    contact_sheet(families, SEED, PER_FAMILY, scale)
        .write_to(&mut png, ImageFormat::Png)
        .context("failed to encode the sheet")?;
    Ok(png.into_inner())
}

/// A question and its level, where one was measured.
type Shown = (Sample, Option<Level>);

fn questions(args: &ShowArgs, family: Family) -> Result<Vec<Shown>> {
    ensure!(args.count > 0, hint!("--count is 0, so there is nothing to show", "at least 1"));
    let Some(level) = args.level else {
        let hops = match args.steps {
            Some(steps) => steps..=steps,
            None => 1..=MAX_HOPS,
        };
        ensure!(
            *hops.start() > 0 && *hops.end() <= MAX_HOPS,
            hint!(("no question takes {} steps", hops.end()), "1 to {MAX_HOPS}")
        );
        let sample = |i| Sample::procedural(family, SEED, Split::Test, i, hops.clone());
        return Ok((0..args.count as u64).map(|i| (sample(i), None)).collect());
    };
    let path = path(&args.profile);
    ensure!(
        path.is_file(),
        hint!(
            ("profile `{}` has no golden results to take levels from", args.profile),
            "--profile small, or --steps instead of --level"
        )
    );
    let wanted = Level::ALL[usize::from(level) - 1];
    let results = read_results(&path)?;
    let own = results
        .questions
        .iter()
        .filter(|question| question.benchmark == family.name() && question.level == Some(wanted));
    let drawn = own
        .take(args.count)
        .map(|question| Ok((again(family, &question.id, question.hops)?, question.level)));
    let shown = drawn.collect::<Result<Vec<Shown>>>()?;
    ensure!(
        !shown.is_empty(),
        hint!(
            ("`{}` holds no question of {family} at level {wanted}", path.display()),
            "another level"
        )
    );
    Ok(shown)
}

/// Draws the sample with the id `<family>/<split>/<seed>/<index>` again.
fn again(family: Family, id: &str, hops: usize) -> Result<Sample> {
    let parts: Vec<&str> = id.split('/').collect();
    let sample = if let [_, split, seed, index] = parts[..] {
        let split = Split::ALL.into_iter().find(|known| known.name() == split);
        split.zip(seed.parse().ok()).zip(index.parse().ok())
    } else {
        None
    };
    let ((split, seed), index) = sample.explain(|| {
        hint!(
            "`{id}` is not the id of a procedural question",
            "restore the golden results with git"
        )
    })?;
    Ok(Sample::procedural(family, seed, split, index, hops..=hops))
}

fn page(family: Family, name: &str, shown: &[Shown]) -> Result<String> {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Synergy, {name}</title>\n\
         <link rel=\"icon\" href=\"data:,\"/>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header><h1>{name}</h1>\n\
         <p class=\"lead\">{}</p>\n<p class=\"lead\">The best guess from the text alone is right in {:.0} % of questions of \
         1 to 12 steps.</p></header>\n<main id=\"main\"><section aria-label=\"Questions\">\n",
        escaped(&family.about()),
        100.0 * text_only::of_family(family, 1..=12),
    );
    for (sample, level) in shown {
        let mut png = Cursor::new(Vec::new());
        let picture = sample.load_images()?.remove(0);
        picture.write_to(&mut png, ImageFormat::Png).context("failed to encode a picture")?;
        let level = level.map_or_else(String::new, |level| format!("{level}, "));
        let solution = sample.solution.as_ref().context("a family solves its questions")?;
        let _ = writeln!(
            page,
            "<div class=\"asked\"><img src=\"data:image/png;base64,{}\" alt=\"The picture of: {}\" width=\"224\" \
             height=\"224\"/><div><h2>{level}{} steps</h2><p class=\"question\">{}</p><p>Target <b class=\"target\">{}</b></p>\
             <p>Every step: {}</p><details><summary>Long solution</summary><p>{}</p></details>\
             <p class=\"id\">{}</p></div></div>",
            STANDARD.encode(png.into_inner()),
            escaped(&sample.question),
            sample.hops,
            escaped(&sample.question),
            escaped(&sample.answer),
            escaped(&solution.dense()),
            escaped(&solution.long(SHOWN_MISREAD)),
            escaped(&sample.id),
        );
    }
    page.push_str("</section>\n</main>\n</body>\n</html>\n");
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_drawn_again_from_its_id() {
        let sample = Sample::procedural(Family::Path, 9001, Split::Test, 3, 5..=15);
        assert_eq!(again(Family::Path, &sample.id, sample.hops).unwrap(), sample);
        for id in ["path/test/1", "path/none/1/2", "path/test/x/2"] {
            assert!(again(Family::Path, id, 5).is_err(), "{id}");
        }
    }

    #[test]
    fn a_page_holds_picture_question_answer_and_level() {
        let sample = Sample::procedural(Family::Swap, 1, Split::Test, 0, 2..=2);
        let page = page(Family::Swap, "swap-L3", &[(sample.clone(), Some(Level::L3))]).unwrap();
        for part in
            [sample.question.as_str(), "L3, 2 steps", "data:image/png;base64,", "Tracking a state"]
        {
            assert!(page.contains(part), "{part}");
        }
    }
}
