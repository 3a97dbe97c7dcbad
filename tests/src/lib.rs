//! A project folder of its own for each test, and the binary run inside it.
//!
//! Does not know what a run means or what is to be expected of it: it makes folders, edits recipes,
//! starts processes, ends them, and reads what they left.
//! Every failure here is one of the test, so it panics with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

/// The recipe that [`Project::new`] writes as `suite/recipes/tiny.toml`.
pub const TINY: &str = include_str!("../recipes/tiny.toml");

/// A recipe with models that others have trained.
pub const TINY_STUDY: &str = include_str!("../recipes/tiny-study.toml");

/// A recipe that makes a kept base.
pub const TINY_BASE: &str = include_str!("../recipes/tiny-base.toml");

/// The unit in which a POSIX shell limits the length of files.
pub const BLOCK_BYTES: usize = 512;

/// A temporary project folder.
#[derive(Debug)]
pub struct Project {
    dir: TempDir,
    binary: PathBuf,
}

/// How a process is stopped, or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGKILL: it learns nothing of it.
    Kill,
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGSTOP: it stands still and keeps what it has.
    Freeze,
    /// SIGCONT: it goes on.
    Thaw,
}

/// A process that has been started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: BufReader<ChildStderr>,
    /// What it has written to standard error, as far as that has been read.
    stderr: String,
    clock: Instant,
}

impl Running {
    /// Waits until a line of its standard error contains `marker`.
    #[track_caller]
    pub fn wait_for(&mut self, marker: &str) {
        let mut seen = self.stderr.len();
        while !self.stderr[seen..].contains(marker) {
            seen = self.stderr.len();
            let read = self.lines.read_line(&mut self.stderr).expect("standard error is text");
            assert!(read > 0, "it ended before `{marker}`:\n{}", self.stderr);
        }
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, stop: Stop) {
        let name = match stop {
            Stop::Kill => "KILL",
            Stop::Interrupt => "INT",
            Stop::Freeze => "STOP",
            Stop::Thaw => "CONT",
        };
        let kill = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("a shell can be started").success(), "it had ended already");
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        self.lines.read_to_string(&mut self.stderr).expect("standard error is text");
        let status = self.child.wait().expect("a child can be waited for");
        let wall_time_s = self.clock.elapsed().as_secs_f64();
        let (stdout, half_written) = (String::new(), BTreeSet::new());
        Finished { code: code(status), stdout, stderr: self.stderr, wall_time_s, half_written }
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; 128 + its number where a signal ended the process, as in a shell.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub wall_time_s: f64,
    /// What a command that could not finish left half-written: hidden files and `.part`, and JSON that does not parse.
    pub half_written: BTreeSet<String>,
}

impl Project {
    /// An empty project with the recipe `tiny`, whose commands run `binary`.
    pub fn new(binary: &str) -> Project {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let project = Project { dir, binary: binary.into() };
        project.recipe(TINY, "tiny", &[]);
        project
    }

    /// Writes `recipe` under another name, each `(from, to)` of `edits` made everywhere.
    #[track_caller]
    pub fn recipe(&self, recipe: &str, name: &str, edits: &[(&str, &str)]) {
        let start = recipe.find("name = ").expect("a recipe has a name");
        let end = start + recipe[start..].find('\n').expect("a line ends");
        let mut text = format!("{}name = \"{name}\"{}", &recipe[..start], &recipe[end..]);
        for (from, to) in edits {
            assert!(text.contains(from), "the recipe does not contain `{from}`");
            text = text.replace(from, to);
        }
        self.write(&format!("suite/recipes/{name}.toml"), &text);
    }

    /// The path of something in the project.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Writes a file and the folders that it lies in.
    pub fn write(&self, relative: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(relative);
        let folder = path.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::write(&path, contents).expect("the file can be written");
    }

    /// Copies the files of a folder of the repository.
    #[track_caller]
    pub fn copy(&self, from: &str, to: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(from);
        for entry in fs::read_dir(&from).expect("the folder is in the repository") {
            let entry = entry.expect("the folder can be read");
            let bytes = fs::read(entry.path()).expect("the file can be read");
            self.write(&format!("{to}/{}", entry.file_name().display()), bytes);
        }
    }

    /// The text of a file.
    #[track_caller]
    pub fn read(&self, relative: &str) -> String {
        let text = fs::read_to_string(self.path(relative));
        text.unwrap_or_else(|error| panic!("failed to read `{relative}`: {error}"))
    }

    /// The value of a JSON file.
    #[track_caller]
    pub fn json(&self, relative: &str) -> Value {
        let value = serde_json::from_str(&self.read(relative));
        value.unwrap_or_else(|error| panic!("`{relative}` does not parse: {error}"))
    }

    /// The events of the recipe `name`, of all its runs.
    #[track_caller]
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.read(&format!("runs/{name}/events.jsonl"));
        let parse = |line| serde_json::from_str(line).expect("an event is one line of JSON");
        lines.lines().map(parse).collect()
    }

    /// The part of `results.json` that a run must give again byte for byte: questions and rows, but
    /// not dates and times.
    #[track_caller]
    pub fn questions_and_rows(&self, name: &str) -> String {
        let text = self.read(&format!("runs/{name}/results.json"));
        let at = text.find("\n \"questions\"").expect("results have questions");
        let end = text[at..].to_owned();
        assert!(end.contains("\n \"rows\"") && !end.contains("wall_time_s"), "rows are not last");
        end
    }

    /// Every file below a folder by its path relative to it.
    pub fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path(folder), "", &mut files);
        files
    }

    /// Runs the binary in the project to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.finish(self.command(&self.binary).arg0("synergy").args(arguments))
    }

    /// The same with `input` as its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut file = tempfile::tempfile().expect("a temporary file can be made");
        file.write_all(input.as_bytes()).expect("the file can be written");
        file.rewind().expect("the file can be read again");
        let mut command = self.command(&self.binary);
        self.finish(command.arg0("synergy").args(arguments).stdin(file))
    }

    /// The same with a reader of its standard output that is gone at once, as `head` is after ten lines. The exit
    /// code is in the last line of standard error.
    pub fn run_without_reader(&self, arguments: &[&str]) -> Finished {
        let script = "{ sleep 0.1; \"$0\" \"$@\"; echo \"code $?\" >&2; } | true";
        self.finish(self.command("sh").args(["-c", script]).arg(&self.binary).args(arguments))
    }

    /// The same with files limited to a length of so many blocks of [`BLOCK_BYTES`], beyond which
    /// the system refuses to write as a full disk does.
    pub fn run_with_short_files(&self, blocks: u32, arguments: &[&str]) -> Finished {
        // Without the trap the system would end the process instead of refusing.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        self.finish(self.command("sh").args(["-c", &script]).arg(&self.binary).args(arguments))
    }

    /// Runs the binary until a line of its standard error contains `marker`, then stops it and waits
    /// for its end.
    pub fn run_until(&self, marker: &str, stop: Stop, arguments: &[&str]) -> Finished {
        let mut running = self.start(arguments);
        running.wait_for(marker);
        running.signal(stop);
        running.finish()
    }

    /// Starts the binary and does not wait for its end.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let clock = Instant::now();
        let mut command = self.command(&self.binary);
        command.arg0("synergy").args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let lines = BufReader::new(child.stderr.take().expect("standard error is piped"));
        Running { child, lines, stderr: String::new(), clock }
    }

    fn finish(&self, command: &mut Command) -> Finished {
        let before = self.half_written();
        let clock = Instant::now();
        let output = command.output().expect("the program can be started");
        let wall_time_s = clock.elapsed().as_secs_f64();
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        let code = code(output.status);
        let half_written = if code == 2 { &self.half_written() - &before } else { BTreeSet::new() };
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Finished { code, stdout, stderr, wall_time_s, half_written }
    }

    /// Files of the project that nobody may read as they are.
    fn half_written(&self) -> BTreeSet<String> {
        let parses = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).is_ok();
        let is_half = |(path, bytes): &(String, Vec<u8>)| {
            let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let is_whole = match path.rsplit_once('.') {
                Some((_, "json")) => parses(bytes),
                Some((_, "jsonl")) => lines.all(parses),
                _ => true,
            };
            // The lock of an artifact stays and holds nothing.
            let is_hidden = |part: &str| part.starts_with('.') && !part.ends_with(".lock");
            !is_whole || path.split('/').any(|part| is_hidden(part) || part.ends_with(".part"))
        };
        self.files("").into_iter().filter(is_half).map(|(path, _)| path).collect()
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // The width of whoever runs the tests is not a fact about the binary.
        command.current_dir(self.dir.path()).env_remove("COLUMNS").stdin(Stdio::null());
        command
    }
}

fn code(status: ExitStatus) -> i32 {
    let signal = || 128 + status.signal().expect("a process ends by exit or by signal");
    status.code().unwrap_or_else(signal)
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files);
        } else {
            files.insert(format!("{prefix}{name}"), fs::read(&path).expect("the file can be read"));
        }
    }
}
