//! Data sets and models of the Hugging Face Hub, through its client `hf-hub`.
//!
//! Does not know what is in a file, which sets there are or where the hub is: `HF_ENDPOINT`,
//! `HF_HOME` and `HF_TOKEN` mean here what they mean to the hub's other clients. Of a model it knows only whether its
//! files are whole (`model.rs`).
//!
//! Decisions:
//! - A set that is not locked yet is fetched at its newest revision, which is then written into the
//!   lock with the SHA-256 of every file. A locked one is asked for at that revision and must hash
//!   to the same.
//! - What the hub says of a large file, its SHA-256, is checked in any case.
//! - Files stay in the hub's own cache, where a broken download is taken up again, and are linked
//!   from there into the set's folder: twice on disk only if the two are different disks.
//! - The folder that all data files share in the repository is left out, so that a set of one
//!   folder is flat, which `synergy_benchmarks::datasets` reads; other folders stay.
//! - Attempts are repeated here and not by the client: its own repetition asks for a whole file
//!   again where it had kept a part, and appends it.
//! - Nothing that runs code when it is read is taken, whatever the lock asks for: no pickle, no script.
//! - A model's weights come last, so that an index that names a file that nobody has is seen before gigabytes
//!   have come.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};

use crate::fetch::hub::refusal::{explain, may_pass};
use crate::fetch::{MODELS, lock, model};
use crate::files::{bytes_free, remove_folder, size};
use crate::process;

pub(super) mod profile;
mod refusal;
#[cfg(test)]
mod tests;

/// The owners' card, with the license.
const CARD: &str = "README.md";

/// How often a download is attempted before the command gives up.
const ATTEMPTS: u32 = 5;

/// Of more files not each is told.
const TOLD_MAX: usize = 40;

/// Ends of the names that `synergy_benchmarks::datasets` and `synergy_models` read: a folder must hold no such file but
/// those of the lock.
const DATA: [&str; 4] = ["parquet", "tsv", "jsonl", "safetensors"];

/// Ends of the names of files that are pickles or may hold one, or are programs.
const UNSAFE: [&str; 15] = [
    "bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "dill", "npy", "npz", "h5", "mar",
    "model", "py", "sh",
];

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only parquet comes.
    Benchmark,
    /// Any data come that match a pattern.
    Training,
    Model,
}

/// One section of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    kind: Kind,
    /// The name on the hub, with its owner.
    hub: String,
    /// Patterns of the files that are wanted.
    files: Vec<String>,
    license: String,
    /// How far the section is backed by a page that was read; nothing where there is no doubt.
    confirmed: Option<String>,
    pinned: Option<Pinned>,
}

/// What a locked set is, to the bit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pinned {
    /// A commit.
    revision: String,
    /// Of each file by its name in the repository.
    sha256: BTreeMap<String, String>,
}

impl Repository {
    /// Reads the section `name` of the lock.
    ///
    /// # Errors
    /// If there is none, or it is not one of a data set of the hub.
    pub(super) fn read(lock: &str, name: &str) -> anyhow::Result<Repository> {
        let mut section = lock::Section::read(lock, name)?;
        let kind = match section.take_if_there("kind").as_deref() {
            None => Kind::Benchmark,
            Some("training") => Kind::Training,
            Some("model") => Kind::Model,
            Some(other) => bail!("`[{name}]` of the lock has the unknown kind `{other}`"),
        };
        let hub = section.take("hub")?;
        let files = section.take("files")?.split(' ').map(str::to_owned).collect();
        let license = section.take("license")?;
        let confirmed = section.take_if_there("confirmed");
        let pinned = match (section.take_if_there("revision"), section.take_sha256()) {
            (None, sha256) if sha256.is_empty() => None,
            (Some(revision), sha256) if !sha256.is_empty() => {
                check_revision(&revision)?;
                for (file, hash) in &sha256 {
                    check_name(file)?;
                    ensure!(
                        !is_unsafe(file),
                        "`{file}` in the lock is of a kind that is not taken"
                    );
                    ensure!(is_sha256(hash), "`{hash}` of `{file}` in the lock is no SHA-256");
                }
                Some(Pinned { revision, sha256 })
            }
            _ => bail!(
                "`[{name}]` of the lock has `revision` without `[{name}.sha256]`, or the other way round\n\
                 hint: take both away to lock it anew, or take both from the last commit"
            ),
        };
        section.finish()?;
        Ok(Repository { kind, hub, files, license, confirmed, pinned })
    }

    pub(super) fn is_model(&self) -> bool {
        self.kind == Kind::Model
    }

    /// Its folder in `data`.
    pub(super) fn folder(&self, data: &Path, name: &str) -> PathBuf {
        if self.is_model() { data.join(MODELS).join(name) } else { data.join(name) }
    }

    /// Whether `file` of the repository is wanted.
    fn wants(&self, file: &str) -> bool {
        let fits = |pattern: &String| matches(pattern, file);
        let is_of_kind = self.kind != Kind::Benchmark || file.ends_with(".parquet");
        let is_taken = !is_unsafe(file) && !is_hidden(file);
        file == CARD || is_of_kind && is_taken && self.files.iter().any(fits)
    }

    /// Whether there is nothing to fetch among `files`.
    fn lacks(&self, files: &[Planned]) -> bool {
        !files.iter().any(|file| match self.kind {
            Kind::Benchmark | Kind::Training => file.name != CARD,
            Kind::Model => file.name.ends_with(".safetensors"),
        })
    }

    /// Where its files go in its folder. Those of a model stay where they are.
    fn places<'a>(
        &self,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> BTreeMap<&'a str, &'a str> {
        if self.is_model() { names.map(|name| (name, name)).collect() } else { places(names) }
    }
}

/// Whether a file or a folder above it is one that tools keep for themselves, `.gitattributes`. What leads out of the
/// folder, `..`, is not hidden but wrong, and `check_name` says so.
fn is_hidden(file: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric();
    file.split('/').any(|part| part.strip_prefix('.').is_some_and(|rest| rest.starts_with(is_name)))
}

/// Whether a file's name ends as that of a pickle or a program.
fn is_unsafe(file: &str) -> bool {
    let end = file.rsplit_once('.').map_or("", |(_, end)| end);
    UNSAFE.iter().any(|known| end.eq_ignore_ascii_case(known))
}

/// Whether `name` fits `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| matches(rest, tail)))
}

/// Names become paths here and in the client, and keys of the lock, so only harmless ones are
/// taken.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+=/".contains(&byte);
    let is_harmless =
        name.bytes().all(is_plain) && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    ensure!(is_harmless, "the file `{}` has a name that is not taken", name.escape_debug());
    Ok(())
}

/// Whether `text` is a SHA-256 as the lock has it.
pub(super) fn is_sha256(text: &str) -> bool {
    is_hex(text, 64)
}

/// Whether `text` is `length` digits of a hash, in lower case.
fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_revision(revision: &str) -> anyhow::Result<()> {
    let revision_shown = revision.escape_debug();
    ensure!(is_hex(revision, 40), "the revision `{revision_shown}` is not a commit's 40 digits");
    Ok(())
}

/// Where a file of the repository goes in the set's folder: behind the folder that all data files
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
    /// Before the second attempt; each further one waits twice as long.
    pause: Duration,
}

impl Hub {
    /// The hub that the environment names, or the public one.
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

    /// The repository at `revision`, as the client and as its cache see it.
    fn at(&self, repository: &Repository, revision: &str) -> (ApiRepo, CacheRepo) {
        let kind = if repository.is_model() { RepoType::Model } else { RepoType::Dataset };
        let repo = Repo::with_revision(repository.hub.clone(), kind, revision.to_owned());
        (self.api.repo(repo.clone()), self.cache.repo(repo))
    }
}

/// A file that is to come.
#[derive(Debug)]
struct Planned {
    /// In the repository.
    name: String,
    bytes: u64,
    /// What is missing of it in the cache.
    bytes_missing: u64,
    /// Its name in the cache; none where the file is whole there.
    etag: Option<String>,
    /// What it must hash to, and who says so.
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

/// What there is of a set or model, and what is to come.
#[derive(Debug)]
enum State {
    /// All of it, as the lock says.
    Whole { num_files: usize, bytes: u64 },
    /// What is to come, and what is wrong with what is there.
    ToCome { plan: Plan, fault: Option<String> },
}

/// See [`crate::fetch::run`].
pub(super) fn run(root: &Path, name: &str, check: bool) -> anyhow::Result<ExitCode> {
    let (lock, data) = (root.join(lock::PATH), root.join("data"));
    if check {
        return Ok(process::exit_code(!is_whole(&lock, &data, name)?));
    }
    fetch(&Hub::from_env()?, &lock, &data, name)?;
    Ok(ExitCode::SUCCESS)
}

/// Says whether the set is in `data`, whole.
fn is_whole(lock: &Path, data: &Path, name: &str) -> anyhow::Result<bool> {
    let repository = Repository::read(&lock::load(lock)?, name)?;
    let folder = repository.folder(data, name);
    let fault = match &repository.pinned {
        Some(pinned) if folder.is_dir() => fault(&folder, &repository, pinned)?,
        Some(_) => Some("it is not there".to_owned()),
        None => Some("it is not locked yet".to_owned()),
    };
    match &fault {
        None => tell_whole(&repository, &folder),
        Some(fault) => {
            println!("{name}: {fault} (`{}`)", folder.display());
            println!("hint: run `cargo xtask fetch {name}`");
        }
    }
    Ok(fault.is_none())
}

fn tell_whole(repository: &Repository, folder: &Path) {
    println!("{} is there and as the lock says, in `{}`", repository.hub, folder.display());
    println!("license: {}", repository.license);
}

/// How `folder` differs from what is pinned.
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
    let known: BTreeSet<PathBuf> = places.values().map(|place| folder.join(place)).collect();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        let read = || format!("failed to read the folder `{}`", folder.display());
        for entry in fs::read_dir(&folder).with_context(read)? {
            let path = entry.with_context(read)?.path();
            let ends =
                DATA.iter().chain(repository.is_model().then_some(&UNSAFE).into_iter().flatten());
            let is_data = path.extension().is_some_and(|end| ends.clone().any(|data| end == *data));
            if path.is_dir() {
                pending.push(path);
            } else if is_data && !known.contains(&path) {
                return Ok(Some(format!("the lock knows no `{}`", path.display())));
            }
        }
    }
    Ok(None)
}

/// Fetches `name` into a folder of `data`, unless it is there and whole: then the hub is not asked. Locks it if it was
/// not locked.
///
/// # Errors
/// If the hub cannot be reached, does not give it, or gives files that hash to something else; if the disk has too
/// little room.
fn fetch(hub: &Hub, lock: &Path, data: &Path, name: &str) -> anyhow::Result<()> {
    let repository = Repository::read(&lock::load(lock)?, name)?;
    match survey(hub, data, name, &repository)? {
        State::Whole { .. } => tell_whole(&repository, &repository.folder(data, name)),
        State::ToCome { plan, fault } => {
            if let Some(fault) = fault {
                println!("{name}: {fault}, so it is fetched again");
            }
            announce(hub, name, &repository, &plan, data)?;
            bring(hub, lock, data, name, &repository, plan)?;
        }
    }
    Ok(())
}

/// Looks at what is there, and asks the hub for the rest if something is missing.
fn survey(hub: &Hub, data: &Path, name: &str, repository: &Repository) -> anyhow::Result<State> {
    let folder = repository.folder(data, name);
    let Some(pinned) = &repository.pinned else {
        return Ok(State::ToCome { plan: plan_newest(hub, repository)?, fault: None });
    };
    let fault = if folder.is_dir() { fault(&folder, repository, pinned)? } else { None };
    if folder.is_dir() && fault.is_none() {
        let mut bytes = 0;
        for place in repository.places(pinned.sha256.keys().map(String::as_str)).values() {
            let path = folder.join(place);
            bytes += path.metadata().with_context(|| unread(&path))?.len();
        }
        return Ok(State::Whole { num_files: pinned.sha256.len(), bytes });
    }
    Ok(State::ToCome { plan: plan_pinned(hub, repository, pinned)?, fault })
}

/// Has what `plan` says come into its folder, and locks it if it was not locked.
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
    let partial = folder.with_file_name(format!("{name}.partial"));
    remove_folder(&partial)?;
    let found = gather(hub, repository, &plan, &partial).and_then(|found| {
        if repository.is_model()
            && let Some(fault) = model::fault(&partial)
        {
            return Err(not_a_checkpoint(repository, &fault));
        }
        remove_folder(&folder)?;
        fs::rename(&partial, &folder)
            .with_context(|| format!("failed to create the folder `{}`", folder.display()))?;
        Ok(found)
    });
    if found.is_err() {
        remove_folder(&partial)?;
    }
    let found = found?;

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
    anyhow!(
        "`{}` is no whole checkpoint: {fault}\n\
         hint: the repository itself is not whole, or `files` in {} leaves something out",
        repository.hub,
        lock::PATH
    )
}

/// Plans a locked set. The hub is asked only for what the cache has not.
fn plan_pinned(hub: &Hub, repository: &Repository, pinned: &Pinned) -> anyhow::Result<Plan> {
    let (api, cache) = hub.at(repository, &pinned.revision);
    let mut files = Vec::new();
    for (name, hash) in &pinned.sha256 {
        let sha256 = Some((hash.clone(), "the lock"));
        if let Some(path) = cache.get(name) {
            let bytes = path.metadata().with_context(|| unread(&path))?.len();
            let name = name.clone();
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
        bail!(
            "`{}` has no {wanted} file that fits `{}`; it has {}\n\
             hint: mend `files` in {}; pickles are never taken",
            repository.hub,
            repository.files.join(" "),
            Some(there.take(8).collect::<Vec<_>>().join(", "))
                .filter(|list| !list.is_empty())
                .as_deref()
                .unwrap_or("none"),
            lock::PATH
        );
    }
    Ok(Plan { revision: info.sha, files })
}

/// Asks the hub for what it says of one file.
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
        "the hub gives `{name}` of revision `{}` where {revision} was asked for",
        metadata.commit_hash().escape_debug()
    );
    // It becomes the file's name in the cache.
    let etag = metadata.etag();
    let is_plain = !etag.is_empty() && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    ensure!(
        is_plain,
        "the hub gives `{name}` the tag `{}`, which is not taken",
        etag.escape_debug()
    );
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

/// Where the client keeps what it has of a file that is not whole.
fn part(cache: &CacheRepo, etag: &str) -> PathBuf {
    cache.blob_path(etag).with_extension("part")
}

/// Says what will come and checks that there is room for it.
fn announce(
    hub: &Hub,
    name: &str,
    repository: &Repository,
    plan: &Plan,
    data: &Path,
) -> anyhow::Result<()> {
    let (bytes, bytes_missing) = (plan.bytes(), plan.bytes_missing());
    let state = if repository.pinned.is_some() { "locked" } else { "the newest, not locked yet" };
    println!("{name}: {} from the hub, revision {} ({state})", repository.hub, plan.revision);
    println!("license: {}", repository.license);
    if let Some(confirmed) = &repository.confirmed {
        println!("confirmed: {confirmed}");
    }
    let free = create_folders(hub, data)?;
    let shown = free.map_or("an unknown amount".to_owned(), size);
    let num_files = plan.files.len();
    let (all, missing) = (size(bytes), size(bytes_missing));
    println!(
        "{num_files} files, {all}, of which {missing} are to be downloaded; {shown} free on the disk"
    );
    require_all_room(hub, data, free, bytes_missing, bytes)
}

/// Creates the cache and `data`; returns the free room on the cache's disk.
fn create_folders(hub: &Hub, data: &Path) -> anyhow::Result<Option<u64>> {
    for folder in [data, hub.cache.path()] {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create the folder `{}`", folder.display()))?;
    }
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
    require_room(hub.cache.path(), free, bytes_missing)?;
    if !are_on_one_disk(data, hub.cache.path()) {
        require_room(data, bytes_free(data), bytes)?;
    }
    Ok(())
}

fn require_room(folder: &Path, free: Option<u64>, needed: u64) -> anyhow::Result<()> {
    match free {
        Some(free) if free < needed => bail!(
            "the disk of `{}` has {} free, {} are needed\n\
             hint: make room, or set HF_HOME to a folder on another disk",
            folder.display(),
            size(free),
            size(needed)
        ),
        _ => Ok(()),
    }
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

/// Brings every file into `partial` and checks it; returns what each hashes to.
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
        let bytes = path.metadata().with_context(|| unread(&path))?.len();
        if let Err(error) =
            judge(file, &hash, bytes).and_then(|()| judge_model(repository, plan, file, &path))
        {
            forget(&kept)?;
            return Err(error);
        }
        let checked =
            file.sha256.as_ref().map_or("nothing said of its SHA-256".to_owned(), |(_, who)| {
                format!("SHA-256 as {who} says")
            });
        // A set of many pictures is told as a whole.
        if plan.files.len() <= TOLD_MAX {
            bar.suspend(|| println!("  {}: {}, {checked}", file.name, size(bytes)));
        }
        found.insert(file.name.clone(), hash);
    }
    bar.finish_and_clear();
    if plan.files.len() > TOLD_MAX {
        println!(
            "  {} files, each as the lock or the hub says where they say it",
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
        bail!(
            "`{name}` has SHA-256 {hash}, {who} says {want}; it was removed\n\
             hint: run it again; if it stays so, the file must not be trusted"
        );
    }
    ensure!(
        bytes == file.bytes,
        "`{name}` has {bytes} bytes, the hub says {}; it was removed\nhint: run it again",
        file.bytes
    );
    Ok(())
}

/// Judges a model's file as soon as it is there, not only when all have come.
fn judge_model(
    repository: &Repository,
    plan: &Plan,
    file: &Planned,
    path: &Path,
) -> anyhow::Result<()> {
    let hint = "it was removed\nhint: the repository itself is not whole; tell its owners";
    if repository.is_model() && file.name == model::INDEX {
        let shards = model::shards(path).map_err(|error| anyhow!("{error:#}; {hint}"))?;
        let has = |shard: &String| plan.files.iter().any(|file| file.name == *shard);
        if let Some(lost) = shards.keys().find(|shard| !has(shard)) {
            bail!(
                "`{}` names `{lost}`, which `{}` does not have; {hint}",
                file.name,
                repository.hub
            );
        }
    } else if repository.is_model() && file.name.ends_with(".safetensors") {
        model::tensors(path).map_err(|error| anyhow!("{error:#}; {hint}"))?;
    }
    Ok(())
}

/// The path of `file` in the cache, downloaded if it is not there.
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
    /// Makes an `attempt`, and again after a while if the connection broke or the hub was not well.
    fn repeat<T>(&self, mut attempt: impl FnMut() -> Result<T, ApiError>) -> Result<T, ApiError> {
        let mut pause = self.pause;
        for _ in 1..self.attempts {
            match attempt() {
                Err(error) if may_pass(&error) => {
                    eprintln!(
                        "the connection failed ({error}); once more in {} s",
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

/// The bar of the whole set while one file comes.
#[derive(Debug, Clone)]
struct Shown {
    bar: ProgressBar,
    /// Bytes of the files before this one.
    before: u64,
    /// Whether what the cache had has been told.
    is_resumed: bool,
}

impl Progress for Shown {
    fn init(&mut self, _: usize, _: &str) {
        self.bar.set_position(self.before);
        self.is_resumed = false;
    }

    fn update(&mut self, size: usize) {
        self.bar.inc(size as u64);
        // The client first tells what it had already, which says nothing about the speed.
        if !std::mem::replace(&mut self.is_resumed, true) {
            self.bar.reset_eta();
        }
    }

    fn finish(&mut self) {}
}

/// Gives the file that `kept` points to the second name `path`; copies it where disks differ.
fn link(kept: &Path, path: &Path) -> anyhow::Result<()> {
    let failed = || format!("failed to create `{}`", path.display());
    let file = kept.canonicalize().with_context(|| unread(kept))?;
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(failed)?;
    if fs::hard_link(&file, path).is_err() {
        fs::copy(&file, path).with_context(failed)?;
    }
    Ok(())
}

/// Removes a file from the cache, both the name there and what it points to.
fn forget(kept: &Path) -> anyhow::Result<()> {
    let file = kept.canonicalize().with_context(|| unread(kept))?;
    for path in [kept, &file] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("failed to remove `{}`", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = fs::File::open(path).with_context(|| unread(path))?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).with_context(|| unread(path))?;
        if count == 0 {
            break;
        }
        context.update(&buffer[..count]);
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unread(path: &Path) -> String {
    format!("failed to read `{}`", path.display())
}
