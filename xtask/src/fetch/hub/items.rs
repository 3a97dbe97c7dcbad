//! Fetches items of the hub, one or all that a profile needs: a table of what will come, then one item after the other.
//!
//! Does not know which profiles there are or what is in them.
//!
//! Decisions:
//! - Everything is asked for before anything is downloaded, so that the table has every size and the disk is judged
//!   once, for all.
//! - What the hub does not give is shown in the table and again at the end; the rest comes nevertheless.

use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use synergy_hint::Hint as _;

use super::{
    Hub, Repository, State, bring, create_folders, is_whole, report_whole, require_all_room, survey,
};
use crate::fetch::lock;
use crate::process;
use crate::units::{columns, size};

/// Fetches or checks the sections `names` of the lock, which the command line calls `item`; see `fetch::run`.
///
/// # Errors
/// If the disk has too little room, or something could not be fetched.
pub(crate) fn run(
    root: &Path,
    item: &str,
    names: &[&str],
    check: bool,
) -> anyhow::Result<ExitCode> {
    let (lock, data) = (root.join(lock::PATH), root.join("data"));
    if check {
        return Ok(process::exit_code(!are_whole(&lock, &data, item, names)?));
    }
    fetch(&Hub::from_env()?, &lock, &data, item, names)?;
    Ok(ExitCode::SUCCESS)
}

/// Reports of each of `names` whether it is in `data`, whole, and sums up.
pub(super) fn are_whole(
    lock: &Path,
    data: &Path,
    item: &str,
    names: &[&str],
) -> anyhow::Result<bool> {
    let mut lacking = Vec::new();
    for name in names {
        if !is_whole(lock, data, name)? {
            lacking.push(*name);
        }
    }
    let (there, all) = (names.len() - lacking.len(), names.len());
    if all == 1 {
        // It has been reported.
    } else if lacking.is_empty() {
        println!("{item}: all {all} are there and as in the lock");
    } else {
        println!("{item}: {there} of {all} are there; missing: {}", lacking.join(", "));
        println!("hint: run `cargo xtask fetch {item}`");
    }
    Ok(lacking.is_empty())
}

/// An item: what is there, or why the hub does not give it.
pub(super) struct Entry<'a> {
    name: &'a str,
    repository: Repository,
    state: anyhow::Result<State>,
}

/// Fetches what is missing of `names` into `data`.
///
/// # Errors
/// If the disk has too little room for all, or something could not be fetched.
pub(super) fn fetch(
    hub: &Hub,
    lock: &Path,
    data: &Path,
    item: &str,
    names: &[&str],
) -> anyhow::Result<()> {
    let entries = match <[Entry; 1]>::try_from(look(hub, lock, data, names)?) {
        Ok([Entry { state: Err(error), .. }]) => return Err(error),
        Ok([only]) => vec![only],
        Err(several) => several,
    };
    print!("{}", table(&entries));
    for Entry { name, repository, state } in &entries {
        if let Some(confirmed) = &repository.confirmed {
            println!("{name}, confirmed: {confirmed}");
        }
        match state {
            Ok(State::ToCome { fault: Some(fault), .. }) => {
                println!("{name}: {fault}, so it is fetched again");
            }
            Err(error) => println!("{name}, not available: {error:#}"),
            _ => {}
        }
    }
    let plans = entries.iter().filter_map(|entry| match &entry.state {
        Ok(State::ToCome { plan, .. }) => Some(plan),
        _ => None,
    });
    let num_whole = entries.iter().filter(|e| matches!(e.state, Ok(State::Whole { .. }))).count();
    if num_whole == entries.len() {
        println!("{item}: all {num_whole} are there and as in the lock");
        return Ok(());
    }
    let sums = plans.map(|plan| (plan.bytes_missing(), plan.bytes()));
    let (missing, all) = sums.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    let free = create_folders(hub, data)?;
    println!(
        "{item}: {} are to be downloaded; {} free on the disk",
        size(missing),
        free.map_or("an unknown amount".to_owned(), size)
    );
    require_all_room(hub, data, free, missing, all)?;

    let num_entries = entries.len();
    let mut failed = Vec::new();
    for (number, Entry { name, repository, state }) in entries.into_iter().enumerate() {
        let done = state.and_then(|state| match state {
            State::Whole { .. } => {
                report_whole(&repository, &repository.folder(data, name));
                Ok(())
            }
            State::ToCome { plan, .. } => {
                println!("{} of {num_entries}: {name}", number + 1);
                bring(hub, lock, data, name, &repository, plan)
            }
        });
        if let Err(error) = done {
            failed.push((name, error));
        }
    }
    if num_entries == 1 {
        return failed.pop().map_or(Ok(()), |(_, error)| Err(error));
    }
    let Some((first, error)) = failed.first() else {
        println!("{item}: all {num_entries} are there");
        return Ok(());
    };
    for (name, error) in failed.iter().skip(1) {
        println!("{name}: {error:#}");
    }
    let (num_failed, all) = (failed.len(), failed.iter().map(|(name, _)| *name));
    let all = all.collect::<Vec<_>>().join(", ");
    let summary = format!("{num_failed} of {num_entries} of {item} did not come ({all})");
    let failed = Err(anyhow!("{summary}; {first}: {error:#}"));
    match synergy_hint::hint_of(error) {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// Looks at all items.
///
/// # Errors
/// If the lock cannot be read. What the hub does not give is an error of the entry alone.
pub(super) fn look<'a>(
    hub: &Hub,
    lock: &Path,
    data: &Path,
    names: &[&'a str],
) -> anyhow::Result<Vec<Entry<'a>>> {
    let text = lock::load(lock)?;
    let entry = |name: &&'a str| {
        let repository = Repository::read(&text, name)?;
        if repository.folder(data, name).is_dir() {
            // It takes as long as reading all of it.
            eprintln!("comparing {name} with the lock");
        }
        let state = survey(hub, data, name, &repository);
        Ok(Entry { name, repository, state })
    };
    names.iter().map(entry).collect()
}

/// Writes a table with a line for each item: name, id, revision, files, size, what is there, and the license.
pub(super) fn table(entries: &[Entry]) -> String {
    let head = ["name", "hub", "revision", "files", "size", "there", "license"].map(str::to_owned);
    let mut rows = vec![head];
    let (mut num_files, mut all, mut there) = (0, 0, 0);
    for Entry { name, repository, state } in entries {
        let revision = repository.pinned.as_ref().map_or("not locked yet", |p| &p.revision[..12]);
        let (files, bytes, kept, fault) = match state {
            Ok(State::Whole { num_files, bytes }) => (*num_files, *bytes, *bytes, None),
            Ok(State::ToCome { plan, fault }) => {
                let kept = plan.bytes() - plan.bytes_missing();
                (plan.files.len(), plan.bytes(), kept, fault.as_ref())
            }
            Err(_) => (0, 0, 0, None),
        };
        (num_files, all, there) = (num_files + files, all + bytes, there + kept);
        let is_whole = matches!(state, Ok(State::Whole { .. }));
        let cells = match state {
            Err(_) => ["-", "-", "not available"].map(str::to_owned),
            Ok(_) => [
                files.to_string(),
                size(bytes),
                match (is_whole, fault) {
                    (true, _) => "whole".to_owned(),
                    (_, Some(_)) => format!("broken, {}", size(kept)),
                    (_, None) if kept == 0 => "nothing".to_owned(),
                    (_, None) => size(kept),
                },
            ],
        };
        let [files, bytes, kept] = cells;
        let (name, hub) = ((*name).to_owned(), repository.hub.clone());
        rows.push([name, hub, revision.to_owned(), files, bytes, kept, repository.license.clone()]);
    }
    let [none, blank] = [String::new(), String::new()];
    let total = [num_files.to_string(), size(all), size(there)];
    let [files, bytes, kept] = total;
    rows.push(["total".to_owned(), none, blank, files, bytes, kept, String::new()]);

    columns(&rows, false)
}
