"""Serves a folder as the hub of models and data sets, on loopback: for tests without the network.

    python3 tests/hub/serve.py ROOT
    python3 tests/hub/serve.py ROOT --port 8123 --log requests.txt --gated owner/model --token secret

`ROOT/models/<owner>/<name>/` is a model, `ROOT/datasets/<owner>/<name>/` a data set; every file below comes. The first
line on standard output is the address, for `HF_ENDPOINT`.

Only Python's standard library. What is answered was read out of the clients, hf-hub 0.5.0 in Rust and huggingface_hub
0.36 in Python, and not from the hub itself:

- `/api/models/<id>[/revision/<revision>]`, and `datasets` for `models`: id, commit and files, with sizes on `?blobs=true`
- `/api/models/<id>/tree/<revision>[/<folder>]` and `/api/models/<id>/paths-info/<revision>`: files with sizes
- `/<id>/resolve/<revision>/<file>` and `/datasets/<id>/resolve/...`: HEAD and GET. A large file is redirected to another
  address with its SHA-256 as the linked tag; a small one to a path here, with git's tag.

Decisions:
- The commit of a repository is a hash of names and bytes, so it changes with every change and is the same on every
  machine. `main` and the commit are the only revisions.
- What is large is decided by the name, as the hub's `.gitattributes` does, so that tiny test files take the way of
  large ones.
- Paths are looked up in a list of what is there; nothing of an address becomes a path.
"""

import argparse
import hashlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = {"bin", "gz", "jpeg", "jpg", "parquet", "png", "pt", "pth", "pkl", "safetensors", "tar", "webp", "zip"}
KINDS = {"models": "", "datasets": "datasets/"}


class File:
    def __init__(self, path):
        self.path = path
        digest, sha1 = hashlib.sha256(), hashlib.sha1()
        self.size = path.stat().st_size
        sha1.update(b"blob %d\0" % self.size)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                sha1.update(chunk)
        self.sha256, self.oid = digest.hexdigest(), sha1.hexdigest()
        self.is_large = path.suffix[1:].lower() in LARGE


class Tree:
    """What is served. Files are read again when their size or time changes."""

    def __init__(self, root):
        self.root, self.known, self.lock = root, {}, threading.Lock()

    def file(self, path):
        status = path.stat()
        key = (status.st_size, status.st_mtime_ns)
        with self.lock:
            if self.known.get(path, (None,))[0] != key:
                self.known[path] = (key, File(path))
            return self.known[path][1]

    def repository(self, kind, name):
        """Commit and files of a repository, or nothing."""
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or ".." in name.split("/"):
            return None
        folder = self.root / kind / name
        if not folder.is_dir():
            return None
        files = {p.relative_to(folder).as_posix(): self.file(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        commit = hashlib.sha1(json.dumps([[name, file.sha256] for name, file in files.items()]).encode()).hexdigest()
        return commit, files


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, *_):
        pass

    def answer(self, body=b""):
        options = self.server.options
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        if options.log:
            with self.server.guard, open(options.log, "a") as log:
                log.write(f"{self.command} {path} {self.headers.get('Range', '')}".rstrip() + "\n")
        for kind, prefix in KINDS.items():
            if found := re.fullmatch(rf"/api/{kind}/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path):
                return self.api(kind, *found.groups(), query, body)
            if found := re.fullmatch(rf"/{prefix}([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self.resolve(kind, *found.groups())
            if found := re.fullmatch(rf"/(elsewhere|small)/{kind}/([^/]+/[^/]+)/([0-9a-f]+)/(.+)", path):
                return self.bytes(kind, *found.groups())
        return self.refuse(404, "EntryNotFound")

    def send(self, status, headers=(), body=b"", length=None):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value):
        self.send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def refuse(self, status, code, headers=()):
        body = json.dumps({"error": code}).encode()
        self.send(status, {"X-Error-Code": code, "X-Error-Message": code, **dict(headers)}, body)

    def repository(self, kind, name, revision):
        """Commit and files, or nothing once it has been refused."""
        options = self.server.options
        if name in options.gated:
            said = self.headers.get("Authorization")
            if said != f"Bearer {options.token}":
                self.refuse(403 if said else 401, "GatedRepo")
                return None
        found = self.server.tree.repository(kind, name)
        if found is None:
            self.refuse(404, "RepoNotFound")
        elif revision not in (None, "main", found[0]):
            self.refuse(404, "RevisionNotFound")
        else:
            return found
        return None

    def api(self, kind, name, what, revision, folder, query, body):
        found = self.repository(kind, name, revision)
        if found is None:
            return None
        commit, files = found

        def entry(path, file):
            lfs = {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 130}} if file.is_large else {}
            return {"type": "file", "path": path, "size": file.size, "oid": file.oid, **lfs}

        if what == "tree":
            inside = {p: f for p, f in files.items() if not folder or p.startswith(folder.rstrip("/") + "/")}
            if query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
                depth = folder.rstrip("/").count("/") + 1 if folder else 0
                folders = {"/".join(p.split("/")[: depth + 1]) for p in inside if p.count("/") > depth}
                inside = {p: f for p, f in inside.items() if p.count("/") == depth}
                directories = [{"type": "directory", "path": p, "size": 0, "oid": "0" * 40} for p in sorted(folders)]
                return self.json(directories + [entry(p, f) for p, f in inside.items()])
            return self.json([entry(p, f) for p, f in inside.items()])
        if what == "paths-info":
            kind_of_body = self.headers.get("Content-Type", "")
            asked = json.loads(body)["paths"] if "json" in kind_of_body else parse_qs(body.decode()).get("paths", [])
            return self.json([entry(p, files[p]) for p in ([asked] if isinstance(asked, str) else asked) if p in files])
        siblings = []
        for path, file in files.items():
            sibling = {"rfilename": path}
            if query.get("blobs", ["false"])[0].lower() in ("true", "1"):
                sibling |= {"size": file.size, "blobId": file.oid}
                if file.is_large:
                    sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": 130}
            siblings.append(sibling)
        gated = "manual" if name in self.server.options.gated else False
        about = {"id": name, "sha": commit, "private": False, "gated": gated, "disabled": False, "tags": []}
        return self.json({"_id": commit[:24], **about, "downloads": 0, "likes": 0, "siblings": siblings})

    def resolve(self, kind, name, revision, path):
        found = self.repository(kind, name, revision)
        if found is None:
            return None
        commit, files = found
        said = {"X-Repo-Commit": commit}
        file = files.get(path)
        if file is None:
            return self.refuse(404, "EntryNotFound", said)
        place = f"{kind}/{name}/{commit}/{quote(path)}"
        if not file.is_large:
            # A relative address: the client follows it before it looks at anything.
            said |= {"ETag": f'"{file.oid}"', "Location": f"/small/{place}"}
            return self.send(307, said)
        host, port = self.server.server_address
        said |= {"ETag": f'"{file.oid}"', "X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        return self.send(302, {**said, "Location": f"http://{host}:{port}/elsewhere/{place}"})

    def bytes(self, kind, how, name, commit, path):
        """The bytes themselves, all or a range of them."""
        found = self.server.tree.repository(kind, name)
        if found is None or found[0] != commit or path not in found[1]:
            return self.refuse(404, "EntryNotFound")
        file = found[1][path]
        said = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        # The other address knows nothing of repositories.
        said |= {"ETag": f'"{file.sha256}"'} if how == "elsewhere" else {"ETag": f'"{file.oid}"', "X-Repo-Commit": commit}
        start, end, status = 0, file.size, 200
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start = int(found[1])
            end = min(file.size, int(found[2]) + 1 if found[2] else file.size)
            # An empty file has no first byte, and yet its size is asked for by a range.
            if start >= max(file.size, 1):
                return self.send(416, said | {"Content-Range": f"bytes */{file.size}"})
            status = 206
            said["Content-Range"] = f"bytes {start}-{max(end, start + 1) - 1}/{file.size}"
        length = max(end - start, 0)
        with self.server.guard:
            cuts = how == "elsewhere" and length > 1 and self.server.cuts > 0 and self.command == "GET"
            self.server.cuts -= cuts
        self.send_response(status)
        for header, value in said.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return None
        left = length // 2 if cuts else length
        with file.path.open("rb") as source:
            source.seek(start)
            while left and (chunk := source.read(min(left, 1 << 16))):
                self.wfile.write(chunk)
                left -= len(chunk)
                if self.server.options.rate and how == "elsewhere":
                    time.sleep(len(chunk) / self.server.options.rate)
        # Half of what was promised, and the connection ends: what a client must survive.
        self.close_connection = self.close_connection or bool(cuts)
        return None


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options):
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options, self.tree, self.guard = options, Tree(options.root), threading.Lock()
        self.cuts = options.cuts

    def handle_error(self, *_):
        # A client that went away is no business of the server's.
        if not isinstance(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="the folder with models/ and datasets/")
    parser.add_argument("--port", type=int, default=0, help="a free one without it")
    parser.add_argument("--log", help="a file to which every request is added, a line each")
    parser.add_argument("--gated", action="append", default=[], metavar="ID", help="a repository that asks for --token")
    parser.add_argument("--token", help="what opens those that are gated")
    parser.add_argument("--cuts", type=int, default=0, help="so many downloads of large files break off in the middle")
    parser.add_argument("--rate", type=int, metavar="BYTES", help="so many bytes of a large file in a second")
    options = parser.parse_args()
    if not options.root.is_dir():
        parser.error(f"{options.root} is no folder")
    server = Server(options)
    host, port = server.server_address
    print(f"http://{host}:{port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
