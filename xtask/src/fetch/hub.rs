//! Data sets and models of the Hugging Face Hub, through its client `hf-hub`.
//!
//! Does not know what is in a file, which sets there are or where the hub is: `HF_ENDPOINT`,
//! `HF_HOME` and `HF_TOKEN` mean here what they mean to the hub's other clients. Of a model it knows only whether its
//! files are whole (`model.rs`).
//!
//! Decisions:
//! - A set that is not locked yet is fetched at its newest revision, which is then written into the
//!   lock with the SHA-256 of every file. A locked one is fetched at that revision and must have the same hashes.
//! - The SHA-256 that the hub has of a large file is checked in any case.
//! - Files stay in the hub's own cache, where a broken download is resumed, and are linked from there into the set's
//!   folder: twice on disk only if the two are different disks.
//! - The folder that all data files share in the repository is left out, so that a set of one
//!   folder is flat, which `synergy_benchmarks::datasets` reads; other folders stay.
//! - Attempts are repeated here and not by the client: its own repetition fetches a whole file
//!   again where it had a part, and appends it.
//! - Nothing that runs code when it is read is fetched, whatever the lock asks for: no pickle, no script.
//! - A model's weights come last, so that an index that names a file that nobody has is seen before gigabytes
//!   have come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use synergy_hint::{Hint as _, Hinted};

use crate::fetch::hub::refusal::{explain, may_pass};
use crate::fetch::{lock, model};
use crate::files::{
    below, bytes, bytes_free, create_folder, is_hex, remove_file, replace_folder, require_room,
    sha256, uncreated, unread,
};
use crate::units::size;

pub(super) mod items;
mod refusal;
#[cfg(test)]
mod tests;

/// The owners' card, with the license.
const CARD: &str = "README.md";

/// The number of attempts at a download before the command gives up.
const ATTEMPTS: u32 = 5;

/// Sets with more files are reported as a whole.
const LISTED_MAX: usize = 40;

/// Extensions that `synergy_benchmarks::datasets` and `synergy_models` read: a folder must hold no such files but those of
/// the lock.
const DATA: [&str; 4] = ["parquet", "tsv", "jsonl", "safetensors"];

/// Extensions of files that are pickles or may hold one, or are programs.
const UNSAFE: [&str; 15] = [
    "bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "dill", "npy", "npz", "h5", "mar",
    "model", "py", "sh",
];

/// What a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Only parquet comes.
    #[default]
    Benchmark,
    /// All data files that match a pattern come.
    Training,
    Model,
}

/// A section of the lock, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    #[serde(default)]
    kind: Kind,
    hub: String,
    files: String,
    license: String,
    confirmed: Option<String>,
    revision: Option<String>,
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

/// A section of the lock, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    kind: Kind,
    /// The name on the hub, with its owner.
    hub: String,
    /// Patterns of the files that are wanted.
    files: Vec<String>,
    license: String,
    /// How far the section is backed by a page that was read; absent where there is no doubt.
    confirmed: Option<String>,
    pinned: Option<Pinned>,
}

/// What a locked set is, to the bit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pinned {
    /// The commit, in 40 digits.
    revision: String,
    /// The SHA-256 of each file by its name in the repository.
    sha256: BTreeMap<String, String>,
}

impl Repository {
    /// Reads the section `name` of the lock.
    ///
    /// # Errors
    /// If it is missing, or not a section of a data set or model of the hub.
    pub(super) fn read(lock: &str, name: &str) -> anyhow::Result<Repository> {
        let section: Section = lock::section(lock, name)?;
        let Section { kind, hub, files, license, confirmed, revision, sha256 } = section;
        for (file, hash) in &sha256 {
            check_name(file)?;
            ensure!(!is_unsafe(file), "`{file}` in the lock is of a kind that is refused");
            ensure!(is_sha256(hash), "`{hash}` of `{file}` in the lock is not a SHA-256");
        }
        let pinned = match revision {
            None if sha256.is_empty() => None,
            Some(revision) if !sha256.is_empty() => {
                check_revision(&revision)?;
                Some(Pinned { revision, sha256 })
            }
            _ => bail!(Hinted::new(
                format!("`[{name}]` of the lock has only one of `revision` and `[{name}.sha256]`"),
                "remove both to lock it again, or take both from the last commit"
            )),
        };
        let files = files.split(' ').map(str::to_owned).collect();
        Ok(Repository { kind, hub, files, license, confirmed, pinned })
    }

    pub(super) fn is_model(&self) -> bool {
        self.kind == Kind::Model
    }

    /// Returns its folder in `data`.
    pub(super) fn folder(&self, data: &Path, name: &str) -> PathBuf {
        if self.is_model() { data.join(model::FOLDER).join(name) } else { data.join(name) }
    }

    /// Returns whether `file` of the repository is wanted.
    fn wants(&self, file: &str) -> bool {
        let fits = |pattern: &String| matches(pattern, file);
        let is_of_kind = self.kind != Kind::Benchmark || file.ends_with(".parquet");
        let is_taken = !is_unsafe(file) && !is_hidden(file);
        file == CARD || is_of_kind && is_taken && self.files.iter().any(fits)
    }

    /// Returns whether there is nothing to fetch among `files`.
    fn lacks(&self, files: &[Planned]) -> bool {
        !files.iter().any(|file| match self.kind {
            Kind::Benchmark | Kind::Training => file.name != CARD,
            Kind::Model => file.name.ends_with(".safetensors"),
        })
    }

    /// Returns where its files go in its folder. Those of a model keep their paths.
    fn places<'a>(
        &self,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> BTreeMap<&'a str, &'a str> {
        if self.is_model() { names.map(|name| (name, name)).collect() } else { places(names) }
    }
}

/// Returns whether a file or a folder above it is one that tools keep for themselves, `.gitattributes`. What leads out of the
/// folder, `..`, is not hidden but wrong, and `check_name` says so.
fn is_hidden(file: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric();
    file.split('/').any(|part| part.strip_prefix('.').is_some_and(|rest| rest.starts_with(is_name)))
}

/// Returns whether a file's name ends as that of a pickle or a program.
fn is_unsafe(file: &str) -> bool {
    let end = file.rsplit_once('.').map_or("", |(_, end)| end);
    UNSAFE.iter().any(|known| end.eq_ignore_ascii_case(known))
}

/// Returns whether `name` fits `pattern`, in which `*` matches anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| matches(rest, tail)))
}

/// Checks a file's name. Names become paths here and in the client, and keys of the lock, so only harmless ones are
/// accepted.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+=/".contains(&byte);
    let is_harmless =
        name.bytes().all(is_plain) && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    ensure!(is_harmless, "the file `{}` has a name that is refused", name.escape_debug());
    Ok(())
}

/// Returns whether `text` is a SHA-256 as the lock has it.
pub(super) fn is_sha256(text: &str) -> bool {
    is_hex(text, 64)
}

fn check_revision(revision: &str) -> anyhow::Result<()> {
    let revision_shown = revision.escape_debug();
    ensure!(is_hex(revision, 40), "the revision `{revision_shown}` is not a commit in 40 digits");
    Ok(())
}

/// Returns where files of the repository go in the set's folder: their paths behind the folder that all data files
/// share.
fn places<'a>(names: impl Iterator<Item = &'a str> + Clone) -> BTreeMap<&'a str, &'a str> {
    let folder = |name: &'a str| name.rfind('/').map_or("", |at| &name[..=at]);
    let mut shared: Option<&str> = None;
    for name in names.clone().filter(|name| *name != CARD) {
        let mut common = shared.unwrap_or(folder(name));
        while !name.starts_with(common) {
            // One folder less: `a/b/` to `a/`, `a/` to nothing.
            common = folder(common.strip_suffix('/').unwrap_or_default());
        }
        shared = Some(common);
    }
    let shared = shared.unwrap_or_default();
    names.map(|name| (name, name.strip_prefix(shared).unwrap_or(name))).collect()
}

/// The hub and the cache in front of it.
#[derive(Debug)]
pub(super) struct Hub {
    api: Api,
    cache: Cache,
    attempts: u32,
    /// The wait before the second attempt; each further one waits twice as long.
    pause: Duration,
}

impl Hub {
    /// Connects to the hub that the environment names, or the public one.
    fn from_env() -> anyhow::Result<Hub> {
        let cache = Cache::from_env();
        let mut builder = ApiBuilder::from_env();
        // Without the variable it is the token that the hub's other clients keep beside the cache.
        if let Some(token) = std::env::var("HF_TOKEN").ok().filter(|token| !token.is_empty()) {
            builder = builder.with_token(Some(token));
        }
        let api = builder.build().context("failed to set up the hub's client")?;
        Ok(Hub { api, cache, attempts: ATTEMPTS, pause: Duration::from_secs(2) })
    }

    /// Returns the repository at `revision`, as the client and as its cache see it.
    fn at(&self, repository: &Repository, revision: &str) -> (ApiRepo, CacheRepo) {
        let kind = if repository.is_model() { RepoType::Model } else { RepoType::Dataset };
        let repo = Repo::with_revision(repository.hub.clone(), kind, revision.to_owned());
        (self.api.repo(repo.clone()), self.cache.repo(repo))
    }
}

/// A file that is to come.
#[derive(Debug)]
struct Planned {
    /// Its path in the repository.
    name: String,
    bytes: u64,
    /// The bytes that the cache lacks.
    bytes_missing: u64,
    /// Its name in the cache; absent where the file is whole there.
    etag: Option<String>,
    /// The SHA-256 that it must have, and who requires it.
    sha256: Option<(String, &'static str)>,
}

/// A set at a revision.
#[derive(Debug)]
struct Plan {
    revision: String,
    files: Vec<Planned>,
}

impl Plan {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn bytes_missing(&self) -> u64 {
        self.files.iter().map(|file| file.bytes_missing).sum()
    }
}

/// What is there of a set or model, and what is to come.
#[derive(Debug)]
enum State {
    /// All of it, as in the lock.
    Whole { num_files: usize, bytes: u64 },
    /// What is to come, and what is wrong with what is there.
    ToCome { plan: Plan, fault: Option<String> },
}

/// Reports whether the set is in `data`, whole.
fn is_whole(lock: &Path, data: &Path, name: &str) -> anyhow::Result<bool> {
    let repository = Repository::read(&lock::load(lock)?, name)?;
    let folder = repository.folder(data, name);
    let fault = match &repository.pinned {
        Some(pinned) if folder.is_dir() => fault(&folder, &repository, pinned)?,
        Some(_) => Some("it is not there".to_owned()),
        None => Some("it is not locked yet".to_owned()),
    };
    match &fault {
        None => report_whole(&repository, &folder),
        Some(fault) => {
            println!("{name}: {fault} (`{}`)", folder.display());
            println!("hint: run `cargo xtask fetch {name}`");
        }
    }
    Ok(fault.is_none())
}

fn report_whole(repository: &Repository, folder: &Path) {
    println!("{} is there and as in the lock, in `{}`", repository.hub, folder.display());
    println!("license: {}", repository.license);
}

/// Describes how `folder` differs from what is pinned.
fn fault(
    folder: &Path,
    repository: &Repository,
    pinned: &Pinned,
) -> anyhow::Result<Option<String>> {
    // What is cut off is seen without reading the rest.
    if repository.is_model()
        && let Some(fault) = model::fault(folder)
    {
        return Ok(Some(fault));
    }
    let places = repository.places(pinned.sha256.keys().map(String::as_str));
    for (name, want) in &pinned.sha256 {
        let place = places[name.as_str()];
        let path = folder.join(place);
        if !path.is_file() {
            return Ok(Some(format!("`{place}` is not there")));
        }
        if sha256(&path)? != *want {
            return Ok(Some(format!("`{place}` differs from the lock")));
        }
    }
    let known: BTreeSet<&str> = places.values().copied().collect();
    let is_data = |file: &str| {
        let end = file.rsplit_once('.').map_or("", |(_, end)| end);
        DATA.contains(&end) || repository.is_model() && UNSAFE.contains(&end)
    };
    let files = below(folder)?;
    let unknown = files.iter().find(|file| is_data(file) && !known.contains(file.as_str()));
    Ok(unknown.map(|file| format!("`{file}` is not in the lock")))
}

/// Looks at what is there, and asks the hub for the rest if something is missing.
fn survey(hub: &Hub, data: &Path, name: &str, repository: &Repository) -> anyhow::Result<State> {
    let folder = repository.folder(data, name);
    let Some(pinned) = &repository.pinned else {
        return Ok(State::ToCome { plan: plan_newest(hub, repository)?, fault: None });
    };
    let fault = if folder.is_dir() { fault(&folder, repository, pinned)? } else { None };
    if folder.is_dir() && fault.is_none() {
        let mut sum = 0;
        for place in repository.places(pinned.sha256.keys().map(String::as_str)).values() {
            sum += bytes(&folder.join(place))?;
        }
        return Ok(State::Whole { num_files: pinned.sha256.len(), bytes: sum });
    }
    Ok(State::ToCome { plan: plan_pinned(hub, repository, pinned)?, fault })
}

/// Downloads what is in `plan` into its folder, and locks it if it was not locked.
fn bring(
    hub: &Hub,
    lock: &Path,
    data: &Path,
    name: &str,
    repository: &Repository,
    mut plan: Plan,
) -> anyhow::Result<()> {
    if repository.is_model() {
        plan.files.sort_by_key(|file| (file.name.ends_with(".safetensors"), file.bytes));
        let names: Vec<_> = plan.files.iter().map(|file| &*file.name).collect();
        if let Some(lacking) = model::lacks(&names) {
            return Err(not_a_checkpoint(repository, &format!("`{lacking}` is not there")));
        }
    }
    let folder = repository.folder(data, name);
    let found = replace_folder(&folder, |partial| {
        let found = gather(hub, repository, &plan, partial)?;
        match model::fault(partial).filter(|_| repository.is_model()) {
            Some(fault) => Err(not_a_checkpoint(repository, &fault)),
            None => Ok(found),
        }
    })?;

    if repository.pinned.is_none() {
        // Read again: another set may have been locked while this one came.
        let text = lock::pin(&lock::load(lock)?, name, &plan.revision, &found)?;
        lock::save(lock, &text)?;
        println!(
            "not locked yet: revision {} and {} checksums were written into {}; commit them",
            plan.revision,
            found.len(),
            lock::PATH
        );
    }
    println!("license: {}; the owners' card is beside the files", repository.license);
    println!("{} in `{}`", size(plan.bytes()), folder.display());
    Ok(())
}

fn not_a_checkpoint(repository: &Repository, fault: &str) -> anyhow::Error {
    Hinted::new(
        format!("`{}` is not a whole checkpoint: {fault}", repository.hub),
        format!(
            "the repository itself is incomplete, or `files` in {} leaves something out",
            lock::PATH
        ),
    )
    .into()
}

/// Plans a locked set. The hub is asked only for what the cache lacks.
fn plan_pinned(hub: &Hub, repository: &Repository, pinned: &Pinned) -> anyhow::Result<Plan> {
    let (api, cache) = hub.at(repository, &pinned.revision);
    let mut files = Vec::new();
    for (name, hash) in &pinned.sha256 {
        let sha256 = Some((hash.clone(), "the lock"));
        if let Some(path) = cache.get(name) {
            let (name, bytes) = (name.clone(), bytes(&path)?);
            files.push(Planned { name, bytes, bytes_missing: 0, etag: None, sha256 });
        } else {
            let file = plan_file(hub, &api, &cache, repository, &pinned.revision, name)?;
            files.push(Planned { sha256, ..file });
        }
    }
    Ok(Plan { revision: pinned.revision.clone(), files })
}

/// Plans a set that is not locked at the newest revision.
fn plan_newest(hub: &Hub, repository: &Repository) -> anyhow::Result<Plan> {
    let (api, _) = hub.at(repository, "main");
    let info = api.info().map_err(|error| explain(error, &repository.hub, "revision `main`"))?;
    check_revision(&info.sha)?;
    let (api, cache) = hub.at(repository, &info.sha);
    let mut files = Vec::new();
    for sibling in info.siblings.iter().filter(|sibling| repository.wants(&sibling.rfilename)) {
        check_name(&sibling.rfilename)?;
        files.push(plan_file(hub, &api, &cache, repository, &info.sha, &sibling.rfilename)?);
    }
    if repository.lacks(&files) {
        let wanted = match repository.kind {
            Kind::Benchmark => "parquet",
            Kind::Training => "data",
            Kind::Model => "safetensors",
        };
        let there = info.siblings.iter().map(|sibling| &*sibling.rfilename);
        let there = there.filter(|name| {
            name.ends_with(&format!(".{wanted}")) || repository.kind == Kind::Training
        });
        let there: Vec<_> = there.take(8).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let (id, patterns) = (&repository.hub, repository.files.join(" "));
        bail!(Hinted::new(
            format!("no {wanted} file of `{id}` fits `{patterns}`; its {wanted} files: {there}"),
            format!("correct `files` in {}; pickles are never fetched", lock::PATH)
        ));
    }
    Ok(Plan { revision: info.sha, files })
}

/// Asks the hub about one file.
fn plan_file(
    hub: &Hub,
    api: &ApiRepo,
    cache: &CacheRepo,
    repository: &Repository,
    revision: &str,
    name: &str,
) -> anyhow::Result<Planned> {
    let metadata = hub
        .api
        .metadata(&api.url(name))
        .map_err(|error| explain(error, &repository.hub, &format!("`{name}`")))?;
    ensure!(
        metadata.commit_hash() == revision,
        "the hub gives `{name}` of revision `{}` instead of {revision}",
        metadata.commit_hash().escape_debug()
    );
    // The tag becomes the file's name in the cache.
    let etag = metadata.etag();
    let is_plain = !etag.is_empty() && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    ensure!(is_plain, "the hub gives `{name}` the tag `{}`, which is refused", etag.escape_debug());
    let bytes = metadata.size() as u64;
    let kept = match cache.get(name) {
        Some(_) => bytes,
        None => part(cache, etag).metadata().map_or(0, |part| part.len().min(bytes)),
    };
    // The tag of a large file is its SHA-256; that of a small one is git's, of 40 digits.
    let sha256 = is_sha256(etag).then(|| (etag.to_owned(), "the hub"));
    let (name, etag) = (name.to_owned(), Some(etag.to_owned()));
    Ok(Planned { name, bytes, bytes_missing: bytes - kept, etag, sha256 })
}

/// Returns where the client keeps the part that it has of a file.
fn part(cache: &CacheRepo, etag: &str) -> PathBuf {
    cache.blob_path(etag).with_extension("part")
}

/// Creates the cache and `data`; returns the free room on the cache's disk.
fn create_folders(hub: &Hub, data: &Path) -> anyhow::Result<Option<u64>> {
    create_folder(data)?;
    create_folder(hub.cache.path())?;
    Ok(bytes_free(hub.cache.path()))
}

/// Requires room for `bytes_missing` in the cache, which has `free`, and for `bytes` in `data` if that is on another
/// disk.
fn require_all_room(
    hub: &Hub,
    data: &Path,
    free: Option<u64>,
    bytes_missing: u64,
    bytes: u64,
) -> anyhow::Result<()> {
    let hint = "make room, or set HF_HOME to a folder on another disk";
    require_room(hub.cache.path(), free, bytes_missing, hint)?;
    if !are_on_one_disk(data, hub.cache.path()) {
        require_room(data, bytes_free(data), bytes, hint)?;
    }
    Ok(())
}

#[cfg(unix)]
fn are_on_one_disk(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let disk = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
    disk(a).is_some() && disk(a) == disk(b)
}

/// See the Unix version: not known, so room is asked for on both.
#[cfg(not(unix))]
fn are_on_one_disk(_: &Path, _: &Path) -> bool {
    false
}

/// Brings every file into `partial` and checks it; returns the SHA-256 of each.
fn gather(
    hub: &Hub,
    repository: &Repository,
    plan: &Plan,
    partial: &Path,
) -> anyhow::Result<BTreeMap<String, String>> {
    let (api, cache) = hub.at(repository, &plan.revision);
    let places = repository.places(plan.files.iter().map(|file| &*file.name));
    let style = "{msg} [{wide_bar}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let bar = ProgressBar::new(plan.bytes());
    bar.set_style(ProgressStyle::with_template(style).context("the bar's template is broken")?);
    let mut before = 0;
    let mut found = BTreeMap::new();
    for file in &plan.files {
        bar.set_message(places[&*file.name].to_owned());
        let shown = Shown { bar: bar.clone(), before, is_resumed: false };
        let kept = obtain(hub, &api, &cache, file, &shown)
            .map_err(|error| explain(error, &repository.hub, &format!("`{}`", file.name)))?;
        before += file.bytes;
        bar.set_position(before);
        let path = partial.join(places[&*file.name]);
        link(&kept, &path)?;
        let hash = sha256(&path)?;
        let bytes = bytes(&path)?;
        if let Err(error) =
            judge(file, &hash, bytes).and_then(|()| judge_model(repository, plan, file, &path))
        {
            forget(&kept)?;
            return Err(error);
        }
        let checked =
            file.sha256.as_ref().map_or("SHA-256 not known before".to_owned(), |(_, who)| {
                format!("SHA-256 as in {who}")
            });
        // A set of many pictures is reported as a whole.
        if plan.files.len() <= LISTED_MAX {
            bar.suspend(|| println!("  {}: {}, {checked}", file.name, size(bytes)));
        }
        found.insert(file.name.clone(), hash);
    }
    bar.finish_and_clear();
    if plan.files.len() > LISTED_MAX {
        println!(
            "  {} files, each as in the lock or the hub where these have its SHA-256",
            plan.files.len()
        );
    }
    Ok(found)
}

fn judge(file: &Planned, hash: &str, bytes: u64) -> anyhow::Result<()> {
    let name = &file.name;
    if let Some((want, who)) = &file.sha256
        && want != hash
    {
        bail!(Hinted::new(
            format!("`{name}` has SHA-256 {hash}, but {who} has {want}; it was removed"),
            "run it again; if the hash stays the same, the file must not be trusted"
        ));
    }
    let other = format!("`{name}` has {bytes} bytes instead of {}; it was removed", file.bytes);
    ensure!(bytes == file.bytes, Hinted::new(other, "run it again"));
    Ok(())
}

/// Judges a model's file as soon as it is there, not only when all have come.
fn judge_model(
    repository: &Repository,
    plan: &Plan,
    file: &Planned,
    path: &Path,
) -> anyhow::Result<()> {
    let judged = if repository.is_model() && file.name == model::INDEX {
        model::shards(path).and_then(|shards| {
            let has = |shard: &String| plan.files.iter().any(|file| file.name == *shard);
            let lost = shards.keys().find(|shard| !has(shard));
            lost.map_or(Ok(()), |lost| {
                bail!("`{}` names `{lost}`, which `{}` does not have", file.name, repository.hub)
            })
        })
    } else if repository.is_model() && file.name.ends_with(".safetensors") {
        model::tensors(path).map(drop)
    } else {
        Ok(())
    };
    judged
        .map_err(|error| anyhow::anyhow!("{error:#}; it was removed"))
        .hint("the repository itself is incomplete; report it to its owners")
}

/// Returns the path of `file` in the cache, downloaded if it is not there.
fn obtain(
    hub: &Hub,
    api: &ApiRepo,
    cache: &CacheRepo,
    file: &Planned,
    shown: &Shown,
) -> Result<PathBuf, ApiError> {
    if let Some(path) = cache.get(&file.name) {
        return Ok(path);
    }
    hub.repeat(|| {
        // The client would ask for what follows the last byte, which the hub refuses.
        let part = file.etag.as_deref().map(|etag| part(cache, etag));
        if let Some(part) = part.filter(|part| part.metadata().is_ok_and(|p| p.len() >= file.bytes))
        {
            fs::remove_file(part)?;
        }
        api.download_with_progress(&file.name, shown.clone())
    })
}

impl Hub {
    /// Makes an `attempt`, and again after a while if the connection broke or the hub failed.
    fn repeat<T>(&self, mut attempt: impl FnMut() -> Result<T, ApiError>) -> Result<T, ApiError> {
        let mut pause = self.pause;
        for _ in 1..self.attempts {
            match attempt() {
                Err(error) if may_pass(&error) => {
                    eprintln!(
                        "the connection failed ({error}); trying again in {} s",
                        pause.as_secs()
                    );
                }
                done => return done,
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        attempt()
    }
}

/// The progress bar of the whole set while one file comes.
#[derive(Debug, Clone)]
struct Shown {
    bar: ProgressBar,
    /// The bytes of all files before this one.
    before: u64,
    /// True once the part that the cache had has been counted.
    is_resumed: bool,
}

impl Progress for Shown {
    fn init(&mut self, _: usize, _: &str) {
        self.bar.set_position(self.before);
        self.is_resumed = false;
    }

    fn update(&mut self, size: usize) {
        self.bar.inc(size as u64);
        // The client first counts what it had already, which does not show the speed.
        if !std::mem::replace(&mut self.is_resumed, true) {
            self.bar.reset_eta();
        }
    }

    fn finish(&mut self) {}
}

/// Gives the file that `kept` points to the second name `path`, or copies it if the disks differ.
fn link(kept: &Path, path: &Path) -> anyhow::Result<()> {
    let file = kept.canonicalize().with_context(|| unread(kept))?;
    create_folder(path.parent().unwrap_or(path))?;
    if fs::hard_link(&file, path).is_err() {
        fs::copy(&file, path).with_context(|| uncreated(path))?;
    }
    Ok(())
}

/// Removes a file from the cache, both the name there and what it points to.
fn forget(kept: &Path) -> anyhow::Result<()> {
    let file = kept.canonicalize().with_context(|| unread(kept))?;
    remove_file(kept)?;
    remove_file(&file)
}
