"""Open a page in headless Chromium, act on it, and see what it became."""

import html
import json
import re
import shutil
import subprocess

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BINARY = next((path for path in map(shutil.which, _NAMES) if path), None)
REASON = f"no Chromium found (looked for {', '.join(_NAMES)})"


def probe(page, script):
    """Run a script at the end of a page; it fills the object ``out``. Also return console lines."""
    ending = (
        f"<script>const out = {{}};{script};"
        "const probe = document.createElement('pre');probe.id = 'probe';"
        "probe.textContent = JSON.stringify(out);document.body.append(probe);</script></body>"
    )
    copy = page.with_name("probed.html")
    copy.write_text(page.read_text().replace("</body>", ending))
    done = _run(copy, 1300, "--dump-dom", "--enable-logging=stderr")
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the script did not run to its end:\n{done.stderr[-2000:]}"
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found.group(1))), console


def screenshot(page, target, width, height=3000):
    """Write a picture of a page."""
    _run(page, width, f"--screenshot={target}", "--hide-scrollbars", height=height)


def _run(page, width, *options, height=900):
    profile = page.parent / "profile"
    command = [
        BINARY, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
        f"--window-size={width},{height}", *options, page.resolve().as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
