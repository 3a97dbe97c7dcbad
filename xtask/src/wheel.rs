//! Wheels, the packages of Python's index: downloaded by pip, checked against a SHA-256, unpacked.
//!
//! Does not know what is in them.
//!
//! Decisions:
//! - pip downloads, not code of ours: its index, proxies, certificates and cache are set up once per machine.
//! - pip is asked for the tags in the file's name, so that it does not matter which Python runs it.
//! - Nothing is unpacked, and no code of a package runs, before its hash is right.

use std::ffi::OsStr;
use std::fs;
use std::io::{IsTerminal as _, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive};
use synergy_hint::Hinted;

use crate::files::{self, copy_hashed, create_folder, hex, remove_folder, sha256};
use crate::python;

/// A file of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wheel {
    pub(crate) file: String,
    pub(crate) sha256: String,
}

impl Wheel {
    /// Splits the file's name into name, version, and the tags of Python, its interface and the platforms.
    ///
    /// # Errors
    /// If it is not the name of a wheel.
    pub(crate) fn parts(&self) -> anyhow::Result<[&str; 5]> {
        let parts: Option<Vec<_>> =
            self.file.strip_suffix(".whl").map(|name| name.split('-').collect());
        parts
            .and_then(|parts| parts.try_into().ok())
            .with_context(|| format!("`{}` is not the name of a wheel", self.file))
    }

    /// Builds pip's arguments for this very version, without a local suffix that another index may have, and
    /// with this file's tags.
    fn request(&self) -> anyhow::Result<Vec<String>> {
        let [name, version, python, abi, platforms] = self.parts()?;
        // A wheel for any Python 3 also fits this one.
        let python = match python.strip_prefix("cp3") {
            Some(minor) => format!("3.{minor}"),
            None => "3.11".to_owned(),
        };
        let mut request = ["--implementation", "cp", "--python-version", &python, "--abi", abi]
            .map(str::to_owned)
            .to_vec();
        for platform in platforms.split('.') {
            request.extend(["--platform".to_owned(), platform.to_owned()]);
        }
        request.push(format!("{}==={version}", name.replace('_', "-")));
        Ok(request)
    }

    /// Returns whether the file is in `download`, whole; a file with another hash is removed.
    ///
    /// # Errors
    /// If the file cannot be read or removed.
    pub(crate) fn is_in(&self, download: &Path) -> anyhow::Result<bool> {
        let path = download.join(&self.file);
        let is_whole = path.exists() && sha256(&path)? == self.sha256;
        if !is_whole {
            files::remove_file(&path)?;
        }
        Ok(is_whole)
    }

    /// Lets pip save the file in `download` and checks it; a file with another hash is removed.
    ///
    /// # Errors
    /// If pip fails, or the file is not the one of the lock.
    pub(crate) fn download(&self, python: &str, download: &Path) -> anyhow::Result<()> {
        self.run_pip(python, download)?;
        let path = download.join(&self.file);
        ensure!(
            path.is_file(),
            Hinted::new(
                format!("pip saved another file than `{}`", self.file),
                "look at pip's configuration"
            )
        );
        let found = sha256(&path)?;
        if found != self.sha256 {
            files::remove_file(&path)?;
            bail!(self.differs(&found));
        }
        Ok(())
    }

    fn differs(&self, found: &str) -> anyhow::Error {
        Hinted::new(
            format!("`{}` has SHA-256 {found}, but the lock has {}", self.file, self.sha256),
            "run it again; if the hash stays the same, the published package has changed and must not be trusted",
        )
        .into()
    }

    fn run_pip(&self, python: &str, download: &Path) -> anyhow::Result<()> {
        let unfinished = download.join("unfinished");
        create_folder(&unfinished)?;
        let mut command = Command::new(python);
        // Only built packages: a source package would run its own code to be downloaded.
        command.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]);
        command.args(["--only-binary", ":all:", "--retries", "5", "--timeout", "60"]);
        let version = python::ask(python, &["-m", "pip", "--version"].map(OsStr::new))?;
        if can_resume(&version) {
            command.args(["--resume-retries", "20"]);
        }
        // A wheel of a gigabyte takes minutes, which a person wants to see; a log does not.
        let is_watched = std::io::stdout().is_terminal();
        command.args(if is_watched { &["--progress-bar", "on"][..] } else { &["--quiet"] });
        command.arg("--dest").arg(download).args(self.request()?);
        // On the disk that was found to have room.
        command.env("TMPDIR", &unfinished);
        command.stdout(if is_watched { Stdio::inherit() } else { Stdio::null() });
        command.stderr(Stdio::piped());
        let output = command
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .with_context(|| format!("failed to start `{python}`"))?;
        remove_folder(&unfinished)?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let cause = complaint.lines().rev().find(|line| !line.trim().is_empty());
            let cause = cause.unwrap_or("pip gave no reason");
            bail!(Hinted::new(
                format!("failed to download `{}` with pip: {cause}", self.file),
                format!(
                    "`{python} -m pip --version` must work, and pip needs the network or an index in its \
                     configuration; then run it again"
                )
            ));
        }
        Ok(())
    }

    /// Unpacks the files of the wheel in `download` to which `place` gives a path below `folder`; returns these
    /// paths with the SHA-256 of each, in the archive's order.
    ///
    /// # Errors
    /// If the wheel is not an archive, no file of it is wanted, or a file cannot be written.
    pub(crate) fn unpack(
        &self,
        download: &Path,
        folder: &Path,
        place: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let unpack = || {
            let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
            let archive =
                ZipArchive::from_file(fs::File::open(download.join(&self.file))?, &mut buffer)?;
            let mut entries = archive.entries(&mut buffer);
            let mut unpacked = Vec::new();
            while let Some(entry) = entries.next_entry()? {
                let name = str::from_utf8(entry.file_path().as_bytes())?.to_owned();
                // Nothing may be written elsewhere.
                if entry.is_dir() || !is_harmless(&name) {
                    continue;
                }
                if let Some(place) = place(&name) {
                    let path = folder.join(&place);
                    create_folder(path.parent().unwrap_or(folder))?;
                    let found = archive.get_entry(entry.wayfinder())?;
                    let data: Box<dyn Read> = match entry.compression_method() {
                        CompressionMethod::STORE => Box::new(found.reader()),
                        CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(found.reader())),
                        _ => bail!("`{name}` is compressed in an unknown way"),
                    };
                    let mut checked = found.verifying_reader(data);
                    let hash = copy_hashed(&mut checked, &mut fs::File::create(&path)?)?;
                    unpacked.push((place, hex(&hash)));
                }
            }
            ensure!(!unpacked.is_empty(), "it holds no file that is wanted");
            Ok(unpacked)
        };
        unpack().with_context(|| format!("failed to unpack `{}`", self.file))
    }
}

/// Returns whether a name in an archive stays below the folder that it is unpacked into.
fn is_harmless(name: &str) -> bool {
    let is_plain =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\n']);
    name.split('/').all(is_plain)
}

/// Returns whether pip can resume a download that broke, as it can since version 25.1.
fn can_resume(version: &str) -> bool {
    let version = version.split_whitespace().nth(1).unwrap_or_default();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (25, 1)
}

/// Writes a wheel that holds `contents`, each file with its own name in it.
#[cfg(test)]
pub(crate) fn write(download: &Path, file: &str, contents: &[&str]) -> Wheel {
    use std::io::Write as _;
    let path = download.join(file);
    let mut archive = rawzip::ZipArchiveWriter::new(fs::File::create(&path).unwrap());
    for (number, name) in contents.iter().enumerate() {
        let is_packed = number % 2 == 0;
        let method = if is_packed { CompressionMethod::DEFLATE } else { CompressionMethod::STORE };
        let file = archive.new_file(*name).compression_method(method);
        let (mut entry, config) = file.start().unwrap();
        let output = if is_packed {
            let level = flate2::Compression::default();
            let packed = flate2::write::DeflateEncoder::new(&mut entry, level);
            let mut writer = config.wrap(packed);
            writer.write_all(name.as_bytes()).unwrap();
            let (packed, output) = writer.finish().unwrap();
            packed.finish().unwrap();
            output
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(name.as_bytes()).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(output).unwrap();
    }
    archive.finish().unwrap();
    Wheel { file: file.to_owned(), sha256: sha256(&path).unwrap() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Folder, names};

    #[test]
    fn pip_is_asked_for_the_very_file_whatever_python_runs() {
        let request = |file: &str| {
            let wheel = Wheel { file: file.to_owned(), sha256: String::new() };
            wheel.request().unwrap().join(" ")
        };
        assert_eq!(
            request("torch-2.9.0-cp311-none-macosx_11_0_arm64.whl"),
            "--implementation cp --python-version 3.11 --abi none --platform macosx_11_0_arm64 \
             torch===2.9.0"
        );
        let two = request("nvidia_a-12.8-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl");
        assert!(two.contains("--python-version 3.11 --abi none --platform manylinux2014_x86_64 "));
        assert!(two.ends_with("--platform manylinux_2_17_x86_64 nvidia-a===12.8"), "{two}");
    }

    #[test]
    fn pip_resumes_downloads_since_its_version_25_1() {
        assert!(!can_resume("pip 23.2.1 from somewhere (python 3.11)"));
        assert!(!can_resume("pip 25.0 from somewhere") && !can_resume("no pip"));
        assert!(can_resume("pip 25.1 from somewhere") && can_resume("pip 26.3.1 from somewhere"));
    }

    #[test]
    fn only_wanted_files_are_unpacked_and_nothing_outside_the_folder() {
        let dir = Folder::new("unpack");
        for evil in ["../x", "/x", "a/../../x", "a\\..\\x", "c:x", ""] {
            assert!(!is_harmless(evil), "{evil}");
        }
        let contents = ["a/b.txt", "a/c.txt", "d.txt", "e.txt"];
        let wheel = write(&dir.0, "p-1-py3-none-any.whl", &contents);
        assert!(wheel.is_in(&dir.0).unwrap());
        let folder = dir.0.join("out");
        let place =
            |name: &str| (name != "a/c.txt" && name != "d.txt").then(|| name.replace("a/", "new/"));
        let unpacked = wheel.unpack(&dir.0, &folder, place).unwrap();
        let places: Vec<_> = unpacked.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["new/b.txt", "e.txt"]);
        assert_eq!(names(&dir.0), ["out", "p-1-py3-none-any.whl"]);
        assert_eq!(fs::read_to_string(folder.join("new/b.txt")).unwrap(), "a/b.txt");
        assert_eq!(fs::read_to_string(folder.join("e.txt")).unwrap(), "e.txt");
        assert_eq!(sha256(&folder.join("new/b.txt")).unwrap(), unpacked[0].1);
        let error = wheel.unpack(&dir.0, &folder, |_| None).unwrap_err();
        assert!(format!("{error:#}").contains("no file that is wanted"), "{error:#}");

        // What is not whole is not taken for a wheel, and does not stay.
        fs::write(dir.0.join(&wheel.file), "no archive").unwrap();
        let error = format!("{:#}", wheel.unpack(&dir.0, &folder, |_| None).unwrap_err());
        assert!(error.contains("failed to unpack `p-1-py3-none-any.whl`"), "{error}");
        assert!(!wheel.is_in(&dir.0).unwrap());
        assert_eq!(names(&dir.0), ["out"]);
    }
}
