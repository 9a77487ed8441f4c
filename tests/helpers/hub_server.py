"""A hub on the loopback address: real HTTP, the paths and headers that ``huggingface_hub`` uses.

Facts about the protocol: huggingface/huggingface_hub, ``file_download.py``, ``hf_api.py``,
``_commit_api.py`` and ``lfs.py``.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest

#: Older clients do not go on within a body that broke off, and publish on their own endpoint only.
NEEDS_HUB_1 = pytest.mark.skipif(
    int(huggingface_hub.__version__.split(".")[0]) < 1, reason="needs huggingface_hub 1.0 or newer"
)
LARGE = ".safetensors"
_REPO = r"(?P<repo>[^/]+/[^/]+)"


class HubServer:
    """Repositories in memory; ``faults`` maps part of a path to what goes wrong there.

    Faults: ``stall``, ``404``, ``500``, ``truncate`` (less than promised, then closed), ``wrong``
    (right size, another content). ``requests`` lists method, path and Range of each request.
    """

    def __init__(self):
        self.commits = {}  # repo -> {commit: {path: bytes}}
        self.refs = {}  # repo -> {branch: commit}
        self.objects = {}  # sha256 -> bytes
        self.faults = {}
        self.requests = []
        self.released = threading.Event()  # lets stalled requests go
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        # Large files are on another host, which decides what the client does with a redirect.
        self.store = f"http://localhost:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self):
        self.released.set()
        self._http.shutdown()
        self._http.server_close()

    def commit(self, repo, files, branch="main"):
        """Add files to a branch; return the new commit."""
        known = self.commits.setdefault(repo, {})
        head = self.refs.setdefault(repo, {}).get(branch)
        tree = {**known.get(head, {}), **files}
        text = repr([head, sorted((p, hashlib.sha256(c).hexdigest()) for p, c in tree.items())])
        name = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        known[name] = tree
        self.refs[repo][branch] = name
        for content in files.values():
            self.objects[hashlib.sha256(content).hexdigest()] = content
        return name

    def find(self, repo, revision):
        """Return the commit of a revision, or None."""
        found = self.refs.get(repo, {}).get(revision, revision)
        return found if found in self.commits.get(repo, {}) else None

    def fault(self, path):
        return next((what for part, what in self.faults.items() if part in path), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_):
        """Keep quiet."""

    def _serve(self):
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        self.body = self._read()
        what = self.hub.fault(path)
        if what == "stall":
            self.hub.released.wait(60)
            return None
        if what == "500":
            return self._answer(500, b"out of order")
        if what == "404":
            return self._error(404, "EntryNotFound")
        for pattern, method in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                return method(self, **match.groupdict())
        return self._error(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _read(self):
        """Return the body of a request, in one piece or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value):
        self._answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def _error(self, status, code):
        self._answer(status, b"", X_Error_Code=code, X_Error_Message=f"{code} at {self.path}")

    def _info(self, repo, revision="main"):
        commit = self.hub.find(repo, revision)
        if commit is None:
            known = repo in self.hub.commits
            return self._error(404, "RevisionNotFound" if known else "RepoNotFound")
        files = [{"rfilename": name} for name in sorted(self.hub.commits[repo][commit])]
        return self._json({"id": repo, "sha": commit, "private": False, "siblings": files})

    def _resolve(self, repo, revision, path):
        commit = self.hub.find(repo, revision)
        if commit is None:
            known = repo in self.hub.commits
            return self._error(404, "RevisionNotFound" if known else "RepoNotFound")
        content = self.hub.commits[repo][commit].get(path)
        if content is None:
            return self._error(404, "EntryNotFound")
        if path.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            return self._answer(
                302,
                Location=f"{self.hub.store}/objects/{digest}",
                X_Repo_Commit=commit,
                X_Linked_Etag=f'"{digest}"',
                X_Linked_Size=len(content),
            )
        etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return self._send(content, path, X_Repo_Commit=commit, ETag=f'"{etag}"')

    def _object(self, oid):
        if self.command == "PUT":
            self.hub.objects[oid] = self.body
            return self._answer(200)
        return self._send(self.hub.objects[oid], self.path, ETag=f'"{oid}"')

    def _send(self, content, path, **headers):
        """Send a file, or the part of it that is asked for, with the fault of its path."""
        what = self.hub.fault(path)
        if what == "wrong":
            content = bytes(byte ^ 1 for byte in content)
        status, wanted = 200, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted:
            start = int(wanted[1])
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status, content = 206, content[start:]
        if what == "once" and not wanted:
            del self.hub.faults[next(part for part in self.hub.faults if part in path)]
        elif what != "truncate" or self.command == "HEAD":
            return self._answer(status, content, **headers)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if not wanted else b"")
        self.close_connection = True
        return None

    def _create(self):
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        self.hub.commits.setdefault(repo, {})
        self.hub.refs.setdefault(repo, {})
        self._json({"url": f"{self.hub.url}/{repo}", "id": "1", "name": repo})

    def _branch(self, repo, branch):
        self.hub.refs[repo][branch] = self.hub.refs[repo].get("main")
        self._json({})

    def _preupload(self, repo, revision):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._json({"files": files})

    def _batch(self, repo):
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/objects/{item['oid']}"}},
            }
            for item in json.loads(self.body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, repo, revision):
        files = {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        name = self.hub.commit(repo, files, revision)
        self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{name}", "commitOid": name})

    def _valid(self):
        self._json({"errors": [], "warnings": []})


_ROUTES = (
    (rf"/api/models/{_REPO}", _Handler._info),
    (rf"/api/models/{_REPO}/revision/(?P<revision>[^/]+)", _Handler._info),
    (rf"/api/models/{_REPO}/preupload/(?P<revision>[^/]+)", _Handler._preupload),
    (rf"/api/models/{_REPO}/commit/(?P<revision>[^/]+)", _Handler._commit),
    (rf"/api/models/{_REPO}/branch/(?P<branch>[^/]+)", _Handler._branch),
    (r"/api/repos/create", _Handler._create),
    (r"/api/validate-yaml", _Handler._valid),
    (r"/objects/(?P<oid>[0-9a-f]{64})", _Handler._object),
    (rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler._resolve),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler._batch),
)
