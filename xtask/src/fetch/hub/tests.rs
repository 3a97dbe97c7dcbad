//! Fetching from a server on loopback that answers as the hub does.
//!
//! Does not know the real hub: what it answers was read out of the client's code and of the public
//! description of its interface. Large files are redirected to another address, which alone has
//! their bytes, with their SHA-256 as the linked tag; small ones to a path on the hub itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use super::*;
use crate::files::{Folder, copy_hashed, names};

mod whole_profile;

const ID: &str = "owner/set";
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const LOCK: &str = "# Kept.\n[set]\nhub = \"owner/set\"\nfiles = \"data/test-*.parquet data/val-*\"\n\
                    license = \"MIT\"\n\n[other]\nhub = \"owner/other\"\nfiles = \"*.parquet\"\n\
                    license = \"MIT\"\n";
const TEST: &str = "data/test-00000-of-00001.parquet";
const VAL: &str = "data/val-00000-of-00001.parquet";

/// What the hub has and has been asked.
#[derive(Debug, Default)]
struct State {
    /// The commit of `main`.
    newest: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Other repositories, by the start of their addresses: `datasets/owner/set` or `owner/model`.
    others: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Repositories that are refused, with the status.
    refused: BTreeMap<String, &'static str>,
    /// What the hub says a file's size is where it is not the truth.
    wrong_sizes: BTreeMap<String, u64>,
    /// The hub's word on a file where it is not the truth.
    wrong_tags: BTreeMap<String, String>,
    token: Option<String>,
    /// Answered instead of anything else.
    status: Option<&'static str>,
    /// After so many bytes of a file the connection breaks, as often as there are numbers.
    breaks: Vec<usize>,
    /// `path range`
    requests: Vec<String>,
}

struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = |length: usize| (0..length).map(|i| (i % 251) as u8).collect::<Vec<_>>();
        let files = BTreeMap::from([
            (CARD.to_owned(), b"license: mit".to_vec()),
            (TEST.to_owned(), bytes(300_000)),
            (VAL.to_owned(), bytes(1_000)),
            ("data/train-00000-of-00001.parquet".to_owned(), bytes(10)),
            ("data/val-notes.json".to_owned(), bytes(10)),
        ]);
        let state = State { newest: REVISION.to_owned(), files, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A client that went away is no business of the server's.
                std::thread::spawn(move || answer(&stream.unwrap(), address, &shared).ok());
            }
        });
        Server { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What has been asked since the last time.
    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }
}

fn answer(
    mut stream: &TcpStream,
    address: SocketAddr,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let range = headers.get("range").map_or("", String::as_str);
    let mut state = state.lock().unwrap();
    state.requests.push(format!("{path} {range}").trim_end().to_owned());
    let mut send = |status: &str, headers: &str, body: &[u8], length: usize| {
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
        stream.write_all(body)
    };

    if let Some(status) = state.status {
        return send(status, "", b"", 0);
    }
    let wanted = state.token.as_ref().map(|token| format!("Bearer {token}"));
    let is_elsewhere = path.starts_with("/elsewhere/");
    if wanted.is_some() && !is_elsewhere && headers.get("authorization") != wanted.as_ref() {
        return send("401 Unauthorized", "", b"", 0);
    }
    let revision = |rest: &str| rest == "main" || rest == REVISION;
    let main = format!("datasets/{ID}");
    let of_path = |path: &str| {
        let path = path
            .strip_prefix("/api/models/")
            .or_else(|| path.strip_prefix("/api/"))
            .or_else(|| path.strip_prefix('/'));
        let id = path?.split_once("/revision/").or_else(|| path?.split_once("/resolve/"))?.0;
        (id == main || state.others.contains_key(id)).then(|| id.to_owned())
    };
    let repository = of_path(&path).unwrap_or_default();
    if let Some(status) = state.refused.get(&repository) {
        return send(status, "", b"", 0);
    }
    let of_repository = if repository == main {
        &state.files
    } else {
        state.others.get(&repository).unwrap_or(&state.files)
    };
    // Those of the main one have short addresses.
    let located = |name: &str| {
        if repository == main { name.to_owned() } else { format!("{repository}/{name}") }
    };
    if !repository.is_empty()
        && let Some((_, rest)) = path.split_once("/revision/")
        && revision(rest)
    {
        let names = of_repository.keys().map(|name| format!("{{\"rfilename\":\"{name}\"}}"));
        let names = names.collect::<Vec<_>>().join(",");
        let sha = if rest == "main" { &state.newest } else { rest };
        let body = format!("{{\"id\":\"{ID}\",\"sha\":\"{sha}\",\"siblings\":[{names}]}}");
        return send("200 OK", "Content-Type: application/json\r\n", body.as_bytes(), body.len());
    }
    let file = path.split_once("/resolve/").and_then(|(_, rest)| rest.split_once('/'));
    if !repository.is_empty()
        && let Some((_, name)) = file.filter(|(rest, _)| revision(rest))
        && let Some(bytes) = of_repository.get(name)
    {
        let commit = format!("X-Repo-Commit: {REVISION}\r\n");
        let place = located(name);
        if name == CARD || name.ends_with(".json") {
            let headers = format!("{commit}Location: /small/{place}\r\n");
            return send("307 Temporary Redirect", &headers, b"", 0);
        }
        let tag = state.wrong_tags.get(name).cloned();
        let tag = tag.unwrap_or_else(|| hex(bytes));
        let headers = format!(
            "{commit}ETag: \"of-the-pointer\"\r\nX-Linked-ETag: \"{tag}\"\r\n\
             Location: http://{address}/elsewhere/{place}\r\n"
        );
        return send("302 Found", &headers, b"", 0);
    }
    let place = path.strip_prefix("/small/").or_else(|| path.strip_prefix("/elsewhere/"));
    let find = |place: &str| {
        let mut others = state.others.iter();
        let other = others
            .find_map(|(id, files)| files.get(place.strip_prefix(id.as_str())?.strip_prefix('/')?));
        other.or_else(|| state.files.get(place)).cloned()
    };
    let Some(file) = place.and_then(find) else {
        return send("404 Not Found", "", b"", 0);
    };
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().unwrap_or(file.len() - 1);
    if from >= file.len() {
        return send("416 Range Not Satisfiable", "", b"", 0);
    }
    let mut body = &file[from..=to];
    let length = body.len();
    if length > 1_000
        && let Some(bytes) = state.breaks.pop()
    {
        body = &body[..bytes];
    }
    let size = place.and_then(|place| state.wrong_sizes.get(place)).copied();
    let headers = format!(
        "Content-Range: bytes {from}-{to}/{}\r\nETag: \"{}\"\r\nX-Repo-Commit: {REVISION}\r\n",
        size.unwrap_or(file.len() as u64),
        &hex(&file)[..40]
    );
    send("206 Partial Content", &headers, body, length)
}

/// The set of the lock.
fn set() -> Repository {
    Repository::read(LOCK, "set").unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let digest = copy_hashed(&mut &*bytes, &mut std::io::sink()).unwrap();
    crate::files::hex(&digest)
}

/// A server and a folder with a lock, a cache and the data.
struct Place {
    server: Server,
    dir: Folder,
}

impl Place {
    fn new(name: &str) -> Place {
        let dir = Folder::new(name);
        fs::write(dir.0.join("datasets.lock"), LOCK).unwrap();
        Place { server: Server::start(), dir }
    }

    fn hub(&self, token: Option<&str>, attempts: u32) -> Hub {
        let cache = Cache::new(self.dir.0.join("cache/hub"));
        let builder = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(format!("http://{}", self.server.address))
            .with_token(token.map(str::to_owned));
        Hub { api: builder.build().unwrap(), cache, attempts, pause: Duration::ZERO }
    }

    fn data(&self) -> PathBuf {
        self.dir.0.join("data")
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.dir.0.join("datasets.lock")).unwrap()
    }

    fn fetch_with(&self, hub: &Hub, name: &str) -> anyhow::Result<()> {
        items::fetch(hub, &self.dir.0.join("datasets.lock"), &self.data(), name, &[name])
    }

    fn fetch(&self) -> anyhow::Result<()> {
        self.fetch_with(&self.hub(None, 1), "set")
    }

    fn is_whole(&self) -> bool {
        is_whole(&self.dir.0.join("datasets.lock"), &self.data(), "set").unwrap()
    }

    /// The error of a fetch, which must have a hint and leave nothing in `data` but `left`.
    #[track_caller]
    fn refused(&self, left: &[&str]) -> String {
        let error = self.fetch().unwrap_err();
        assert!(synergy_hint::hint_of(&error).is_some(), "{error:#}");
        let error = synergy_hint::text(&error);
        let there = if self.data().exists() { names(&self.data()) } else { Vec::new() };
        assert_eq!(there, left, "something half-done was left");
        error
    }
}

#[test]
fn a_set_comes_whole_and_is_locked_and_then_the_hub_is_not_asked() {
    let place = Place::new("whole");
    assert!(!place.is_whole());
    place.fetch().unwrap();
    assert_eq!(names(&place.data()), ["set"]);
    let set = place.data().join("set");
    let (test, val) = ("test-00000-of-00001.parquet", "val-00000-of-00001.parquet");
    assert_eq!(names(&set), [CARD, test, val]);
    assert_eq!(fs::read(set.join(test)).unwrap(), place.server.state().files[TEST]);
    assert!(!place.server.requests().is_empty());

    let lock = place.lock();
    let other = "\n[other]\nhub = \"owner/other\"\n";
    assert!(lock.starts_with("# Kept.\n[set]\n") && lock.contains(other), "{lock}");
    let pinned = Repository::read(&lock, "set").unwrap().pinned.unwrap();
    assert_eq!(pinned.revision, REVISION);
    let want =
        [CARD, TEST, VAL].map(|name| (name.to_owned(), hex(&place.server.state().files[name])));
    assert_eq!(pinned.sha256, BTreeMap::from(want));

    place.fetch().unwrap();
    assert!(place.is_whole());
    assert_eq!(place.server.requests(), [""; 0]);
    assert_eq!(place.lock(), lock);

    // The cache alone is enough as well.
    fs::remove_dir_all(&set).unwrap();
    assert!(!place.is_whole());
    place.fetch().unwrap();
    assert_eq!(place.server.requests(), [""; 0]);
    assert!(place.is_whole());
}

#[test]
fn a_locked_set_is_asked_for_at_its_revision_though_a_newer_one_is_there() {
    let place = Place::new("revision");
    place.fetch().unwrap();
    let lock = place.lock();
    place.server.requests();
    place.server.state().newest = "f".repeat(40);
    for folder in ["data", "cache"] {
        fs::remove_dir_all(place.dir.0.join(folder)).unwrap();
    }
    place.fetch().unwrap();
    assert!(place.is_whole());
    assert_eq!(place.lock(), lock);
    for request in place.server.requests() {
        let asks = request.starts_with(&format!("/datasets/{ID}/resolve/{REVISION}/"));
        let follows = request.starts_with("/elsewhere/") || request.starts_with("/small/");
        assert!(asks || follows, "{request}");
    }
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let place = Place::new("resume");
    place.server.state().breaks = vec![100_000];
    let error = place.refused(&[]);
    assert!(error.contains(TEST) && error.contains("it resumes where it broke"), "{error}");
    assert_eq!(place.lock(), LOCK);
    place.server.requests();

    place.fetch().unwrap();
    let rest = format!("/elsewhere/{TEST} bytes=100000-");
    let requests = place.server.requests();
    assert!(requests.contains(&rest), "{requests:?}");
    assert!(!requests.contains(&format!("/elsewhere/{TEST} bytes=0-")), "{requests:?}");
    assert!(place.is_whole());
}

#[test]
fn a_command_takes_a_broken_download_up_again_itself() {
    let place = Place::new("attempts");
    place.server.state().breaks = vec![70_000, 0, 100_000];
    place.fetch_with(&place.hub(None, 4), "set").unwrap();
    let requests = place.server.requests();
    let of_test = requests.iter().filter_map(|request| {
        let range = request.strip_prefix(&format!("/elsewhere/{TEST} "))?;
        Some(range).filter(|range| *range != "bytes=0-0")
    });
    let want = ["bytes=0-", "bytes=100000-", "bytes=100000-", "bytes=170000-"];
    assert_eq!(of_test.collect::<Vec<_>>(), want);
    assert!(place.is_whole());
}

#[test]
fn a_command_that_was_ended_behind_the_last_byte_does_not_stick() {
    let place = Place::new("last-byte");
    let hub = place.hub(None, 1);
    let (_, cache) = hub.at(&set(), REVISION);
    let part = part(&cache, &hex(&place.server.state().files[TEST]));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(part, &place.server.state().files[TEST]).unwrap();
    place.fetch().unwrap();
    assert!(place.is_whole());
}

#[test]
fn a_file_that_differs_from_the_lock_is_refused() {
    let place = Place::new("differs");
    place.fetch().unwrap();
    let lock = place.lock();
    fs::remove_dir_all(place.dir.0.join("cache")).unwrap();
    fs::remove_dir_all(place.data()).unwrap();

    // The hub gives other bytes of the same length and says so.
    place.server.state().files.get_mut(VAL).unwrap()[500] ^= 1;
    let error = place.refused(&[]);
    assert!(error.starts_with(&format!("`{VAL}` has SHA-256 ")), "{error}");
    assert!(error.contains("but the lock has") && error.contains("it was removed"), "{error}");
    assert_eq!(place.lock(), lock);
    let (_, cache) = place.hub(None, 1).at(&set(), REVISION);
    assert_eq!(cache.get(VAL), None, "the wrong file is still in the cache");
    assert!(cache.get(TEST).is_some(), "the right file is not in the cache any more");

    // Once the hub is right again, so is the next fetch.
    place.server.state().files.get_mut(VAL).unwrap()[500] ^= 1;
    place.fetch().unwrap();
    assert!(place.is_whole());
}

#[test]
fn a_file_that_differs_from_the_word_of_the_hub_is_refused_before_anything_is_locked() {
    let place = Place::new("hub-differs");
    place.server.state().wrong_tags.insert(VAL.to_owned(), "5".repeat(64));
    let error = place.refused(&[]);
    assert!(error.contains(VAL) && error.contains("but the hub has 5555"), "{error}");
    assert_eq!(place.lock(), LOCK);
}

#[test]
fn a_set_that_was_changed_is_seen_and_fetched_again() {
    let place = Place::new("changed");
    place.fetch().unwrap();
    let set = place.data().join("set");
    let changes: [&dyn Fn(); 3] = [
        &|| fs::remove_file(set.join(CARD)).unwrap(),
        &|| fs::write(set.join("more.parquet"), "x").unwrap(),
        // A new file: the old one has a second name in the cache.
        &|| {
            fs::remove_file(set.join(CARD)).unwrap();
            fs::write(set.join(CARD), "x").unwrap();
        },
    ];
    for change in changes {
        change();
        assert!(!place.is_whole());
        place.fetch().unwrap();
        assert!(place.is_whole());
    }
    // What is no data is not ours to judge.
    fs::write(set.join("notes.txt"), "x").unwrap();
    assert!(place.is_whole());
    // If it cannot be fetched, what was there stays.
    fs::remove_file(set.join(CARD)).unwrap();
    fs::remove_dir_all(place.dir.0.join("cache")).unwrap();
    place.server.state().status = Some("500 Internal Server Error");
    assert!(place.refused(&["set"]).contains("status 500"));
}

#[test]
fn what_the_hub_refuses_is_an_error_with_a_hint() {
    let place = Place::new("refused");
    place.server.state().token = Some("secret".to_owned());
    let error = place.refused(&[]);
    assert!(error.contains("status 401") && error.contains("HF_TOKEN"), "{error}");
    place.fetch_with(&place.hub(Some("secret"), 1), "set").unwrap();
    place.server.state().token = None;

    let other = synergy_hint::text(&place.fetch_with(&place.hub(None, 1), "other").unwrap_err());
    assert!(other.contains("`owner/other` (status 404)\nhint: "), "{other}");
    for (status, says) in [("403 Forbidden", "terms"), ("429 Too Many Requests", "too many")] {
        place.server.state().status = Some(status);
        let error =
            synergy_hint::text(&place.fetch_with(&place.hub(None, 1), "other").unwrap_err());
        assert!(error.contains(says) && error.contains("\nhint: "), "{error}");
    }
    // Nobody listens where a listener just went away.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = Hub {
        api: ApiBuilder::from_cache(Cache::new(place.dir.0.join("cache/hub")))
            .with_endpoint(format!("http://{gone}"))
            .build()
            .unwrap(),
        ..place.hub(None, 1)
    };
    let error = synergy_hint::text(&place.fetch_with(&hub, "other").unwrap_err());
    assert!(error.starts_with("failed to reach the hub") && error.contains("\nhint: "), "{error}");
    assert_eq!(names(&place.data()), ["set"]);
}

#[test]
fn a_repository_without_a_file_that_fits_is_shown() {
    let place = Place::new("no-file");
    let mut state = place.server.state();
    state.files.retain(|name, _| name != TEST && name != VAL);
    drop(state);
    let error = place.refused(&[]);
    assert!(
        error.contains("its parquet files: data/train-00000-of-00001.parquet\nhint: "),
        "{error}"
    );
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let place = Place::new("names");
    let name = "data/test-/../../../x.parquet";
    place.server.state().files.insert(name.to_owned(), b"x".to_vec());
    let error = format!("{:#}", place.fetch().unwrap_err());
    assert!(error.contains(name), "{error}");
    for name in ["/x", "a//b", "..", "a/../b", "a\\b", "a b", "a\"b", "a#b", "a?b", "a%2fb", ""] {
        assert!(check_name(name).is_err(), "{name}");
    }
    for name in [CARD, TEST, "testmini/part_0.parquet", "a/..b"] {
        check_name(name).unwrap();
    }
}

#[test]
fn half_of_a_lock_is_refused() {
    let revision = format!("license = \"MIT\"\nrevision = \"{REVISION}\"\n");
    let half = LOCK.replacen("license = \"MIT\"\n", &revision, 1);
    let error = synergy_hint::text(&Repository::read(&half, "set").unwrap_err());
    assert!(error.contains("only one of `revision` and `[set.sha256]`\nhint: "), "{error}");
    let table = format!("{LOCK}\n[set.sha256]\n\"x\" = \"{}\"\n", "0".repeat(64));
    assert!(Repository::read(&table, "set").is_err());
    let both =
        half.replace("[other]", &format!("[set.sha256]\n\"x\" = \"{}\"\n[other]", "0".repeat(64)));
    assert!(Repository::read(&both, "set").unwrap().pinned.is_some());
    assert!(Repository::read(&both.replace("\"0000", "\"zzzz"), "set").is_err());
    assert!(Repository::read(&both.replace(REVISION, "main"), "set").is_err());
}

#[test]
fn a_star_stands_for_anything() {
    for (pattern, name, want) in [
        ("*.parquet", "a/b.parquet", true),
        ("data/test-*", "data/test-0", true),
        ("data/test-*", "data/testmini-0", false),
        ("*val*.parquet", "x/val.parquet", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c", false),
        ("a", "ab", false),
        ("*", "\u{e9}", true),
    ] {
        assert_eq!(matches(pattern, name), want, "{pattern} {name}");
    }
}

#[test]
fn the_folder_that_all_data_files_share_is_left_out() {
    #[track_caller]
    fn check(names: &[&str], want: &[&str]) {
        let places = places(names.iter().copied());
        assert_eq!(names.iter().map(|name| places[name]).collect::<Vec<_>>(), want);
    }
    check(&[CARD, TEST], &[CARD, "test-00000-of-00001.parquet"]);
    check(&["a/b/x.parquet", "a/c/x.parquet", CARD], &["b/x.parquet", "c/x.parquet", CARD]);
    check(&["a/x.parquet", "ab/x.parquet"], &["a/x.parquet", "ab/x.parquet"]);
    check(&["a/b/x.parquet", "a/y.parquet"], &["b/x.parquet", "y.parquet"]);
    check(&["x.parquet", "a/x.parquet"], &["x.parquet", "a/x.parquet"]);
}
