//! A server as a child process that never outlives this program, whatever ends this program.
//!
//! Does not know what is served. The child is the first of a process group of its own, so that Ctrl-C at the terminal does
//! not reach it, and a shell watches over the group: it reads from a pipe whose other end only this program holds. When
//! this program lets go of it, or is killed, the read ends, and the shell ends the group: asked first, and killed after
//! [`GRACE_S`] seconds. Where the shell itself is killed, this program ends the group.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};
use synergy_hint::{Explain as _, hint};

/// Seconds that a server has to end by itself.
const GRACE_S: u32 = 10;
/// The end of a log in which its last words are looked for, in bytes.
const LOG_END: u64 = 1 << 16;
/// Characters of a log's line that are shown.
const LINE_CHARS: usize = 200;

/// `$0` is the grace in seconds, the words after it the server's command line. Its input is the pipe. A caught signal is
/// not caught in the programs that a shell starts; an ignored one would be ignored there, too.
const WATCH: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
    trap '' TERM
    cat <&3 >/dev/null
    kill -s TERM -- -$$
    tenths=0
    while [ $tenths -lt $(($0 * 10)) ] && kill -0 $server 2>/dev/null; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
    kill -s KILL -- -$$
) &
exec 3<&-
trap : TERM
while kill -0 $server 2>/dev/null; do wait $server; done
kill -s KILL -- -$$
"#;

/// A running server. It ends, with all that it has started, when this value is dropped.
#[derive(Debug)]
pub(super) struct Child {
    shell: Process,
    /// The end of the pipe that keeps it alive.
    pipe: Option<ChildStdin>,
    log: PathBuf,
}

impl Child {
    /// Starts `command`, whose output goes to the file `log`.
    ///
    /// # Errors
    /// If there is no such program, no shell, or the log cannot be written.
    pub(super) fn start(command: &Command, log: &Path) -> Result<Child> {
        let unwritten = || hint!(("failed to write `{}`", log.display()), "is the disk full?");
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder).explain(unwritten)?;
        }
        let file = File::create(log).explain(unwritten)?;
        let mut shell = Command::new("sh");
        shell.args(["-c", WATCH]).arg(GRACE_S.to_string());
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.stdin(Stdio::piped()).stdout(file.try_clone().context("log")?).stderr(file);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let mut shell =
            shell.spawn().explain(|| hint!("failed to start `sh`", "engines need a Unix shell"))?;
        let pipe = shell.stdin.take();
        Ok(Child { shell, pipe, log: log.to_owned() })
    }

    /// Tells whether the server has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.shell.try_wait(), Ok(None))
    }

    /// The file that it writes to.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The last line of its log that names an error, that of the process that computes first; or the last line at all.
    pub(super) fn last_words(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let start = file.metadata()?.len().saturating_sub(LOG_END);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        let is_news = |line: &&str| ["INFO", "WARNING"].iter().any(|level| line.contains(level));
        let is_error = |line: &&str| {
            !is_news(line)
                && ["Error: ", "error: ", "Error:", "Killed"].iter().any(|e| line.contains(e))
        };
        let of_core = lines().filter(is_error).find(|line| line.contains("EngineCore"));
        let plain = lines().find(|line| !is_news(line));
        let line = of_core.or(lines().find(is_error)).or(plain).or(lines().next());
        line.unwrap_or("it said nothing").chars().take(LINE_CHARS).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The shell hears that nobody holds the pipe any more, and sees to the rest.
        self.pipe.take();
        let _ = self.shell.wait();
        // Unless somebody has killed the shell: the group has its number as long as anything is in it.
        let group = format!("-{}", self.shell.id());
        let mut kill = Command::new("kill");
        let _ = kill.args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Runs `script` as a server whose first line of output is the process to look after.
    fn start(script: &str, dir: &Path) -> (Child, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("GIVEN", "given");
        let log = dir.join("log");
        let child = Child::start(&command, &log).unwrap();
        let first = || -> Option<String> {
            let text = std::fs::read_to_string(&log).unwrap();
            Some(text.split_once('\n')?.0.to_owned())
        };
        let clock = Instant::now();
        loop {
            if let Some(line) = first() {
                return (child, line);
            }
            assert!(clock.elapsed() < Duration::from_secs(20), "it says nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether a process is there and no zombie, which a container without an init keeps.
    fn is_there(id: &str) -> bool {
        let mut ps = Command::new("ps");
        let found = ps.args(["-o", "stat=", "-p", id]).output().unwrap();
        let state = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    }

    #[track_caller]
    fn ends(id: &str, within_s: u64) {
        let clock = Instant::now();
        while is_there(id) {
            assert!(clock.elapsed() < Duration::from_secs(within_s), "{id} is still there");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_server_ends_with_what_it_has_started_when_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, inner) = start("sleep 60 & echo $!; wait", dir.path());
        assert!(is_there(&inner) && !child.has_ended());
        let clock = Instant::now();
        drop(child);
        ends(&inner, 2);
        assert!(clock.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_server_whose_watch_was_killed_ends_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, inner) = start("trap '' TERM; sleep 60 & echo $!; wait", dir.path());
        // The shell, and the part of it that reads from the pipe.
        let watch = child.shell.id().to_string();
        let parts = find_children(&watch);
        for id in [vec![watch], parts].concat() {
            if id != inner {
                Command::new("kill").args(["-s", "KILL", &id]).status().unwrap();
            }
        }
        let clock = Instant::now();
        while !child.has_ended() {
            assert!(clock.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_there(&inner));
        drop(child);
        ends(&inner, 2);
    }

    fn find_children(id: &str) -> Vec<String> {
        let found = Command::new("pgrep").args(["-P", id]).output().unwrap();
        String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_server_that_does_not_listen_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (child, inner) = start("trap '' TERM; echo $$; while :; do sleep 1; done", dir.path());
        drop(child);
        ends(&inner, 2);
    }

    /// The owner here is another program, which is killed and can do nothing about it.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_ends_when_its_owner_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let owner = "mkfifo pipe; setsid sh -c \"$WATCH\" 2 sh -c 'sleep 60 & echo $! > id; wait' < pipe & \
                     exec 9> pipe; exec sleep 60";
        let mut owner = Command::new("bash")
            .args(["-c", owner])
            .current_dir(dir.path())
            .env("WATCH", WATCH)
            .spawn()
            .unwrap();
        let id = dir.path().join("id");
        let inner = || std::fs::read_to_string(&id).unwrap_or_default().trim().to_owned();
        let clock = Instant::now();
        while inner().is_empty() {
            assert!(clock.elapsed() < Duration::from_secs(20), "it does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        let inner = inner();
        assert!(is_there(&inner));
        owner.kill().unwrap();
        owner.wait().unwrap();
        ends(&inner, 5);
    }

    #[test]
    fn one_that_ends_by_itself_is_noticed_and_its_last_words_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo $GIVEN; echo 'ValueError: no such head'; echo goodbye; exit 3";
        let (mut child, first) = start(script, dir.path());
        assert_eq!(first, "given");
        let clock = Instant::now();
        while !child.has_ended() {
            assert!(clock.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(child.last_words(), "ValueError: no such head");
        std::fs::write(
            child.log(),
            "(EngineCore pid=1) RuntimeError: no memory\n(Worker pid=2) KeyError: later\n\
             (APIServer pid=3) WARNING: current limit exceeds, error: none\nINFO: \"POST\" 500 Internal Server Error\n",
        )
        .unwrap();
        assert_eq!(child.last_words(), "(EngineCore pid=1) RuntimeError: no memory");
    }
}
