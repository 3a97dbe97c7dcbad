//! The work of a run, part by part in the plan's order, with tables that grow while it goes on.
//!
//! Does not know how a stage trains, how a row is asked or what a table shows.

use anyhow::Result;

use crate::run::evaluation::Evaluation;
use crate::run::event::Events;
use crate::run::tables::{Tables, Work};
use crate::run::{Outcome, askable, published, stage};

/// Does what `tables` lack of the plan of `work`, and writes them as rows come in and at the end.
///
/// # Errors
/// If anything cannot be finished; the tables then have every row that was.
pub(super) fn all(
    work: Work<'_>,
    evaluation: &Evaluation<'_>,
    tables: &mut Tables<'_>,
    events: &mut Events,
) -> Result<Outcome> {
    published::check(work.plan, work.base, work.store)?;
    askable::check(work.plan, &work.base.prompter, work.store, work.files, events)?;
    if let Err(error) = parts(work, evaluation, tables, events) {
        tables.leave(events);
        return Err(error);
    }
    tables.publish(events)
}

fn parts(
    work: Work<'_>,
    evaluation: &Evaluation<'_>,
    tables: &mut Tables<'_>,
    events: &mut Events,
) -> Result<()> {
    let Work { plan, base, compute, engines, store, files, .. } = work;
    let train = |place: usize, tables: &mut Tables<'_>, events: &mut Events| -> Result<()> {
        let summary =
            stage::run(&plan.stages[place], base, (compute, engines), store, files, events)?;
        tables.take_stage(place, &summary);
        Ok(())
    };
    let ask = |place: usize, tables: &mut Tables<'_>, events: &mut Events| -> Result<()> {
        let (row, cached) = evaluation.row(&plan.rows[place], events)?;
        tables.take_row(place, row, !cached);
        Ok(())
    };
    // What an earlier run has left is in every table from the first.
    for (place, _) in plan.stages.iter().enumerate().filter(|(_, stage)| store.has(&stage.key)) {
        train(place, tables, events)?;
    }
    for (place, _) in plan.rows.iter().enumerate().filter(|(_, row)| store.has(&row.key)) {
        ask(place, tables, events)?;
    }
    let is_whole = plan.stages.iter().all(|stage| store.has(&stage.key))
        && plan.rows.iter().all(|row| store.has(&row.key));
    if !is_whole {
        engines.start(&base.parameters)?;
    }
    let mut before = None;
    for part in &plan.parts {
        let is_open = !part.stages.iter().all(|place| tables.has_stage(*place))
            || !part.rows.iter().all(|place| tables.has_row(*place));
        if !is_open {
            continue;
        }
        // A seed is complete: its tables come before anything of the next one.
        if before.is_some() && before != part.seed {
            tables.score_tokens(&evaluation.samples, events)?;
            tables.show(events)?;
        } else {
            tables.show_if_due(events)?;
        }
        for &place in &part.stages {
            if !tables.has_stage(place) {
                train(place, tables, events)?;
            }
        }
        for &place in &part.rows {
            if !tables.has_row(place) {
                ask(place, tables, events)?;
            }
        }
        before = part.seed;
    }
    tables.score_tokens(&evaluation.samples, events)
}
