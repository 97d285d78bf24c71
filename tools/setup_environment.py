"""Make ``.venv`` from ``requirements.lock``: called by the Makefile, safe to call again.

Runs under the system's python3 before anything is installed, so: standard library only, and
syntax that an old python3 can still read, to tell its user that it is too old.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

OLDEST = (3, 11)
NEWEST_TRIED = 14
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
LOCK = os.path.join(ROOT, "requirements.lock")
STAMP = os.path.join(VENV, ".setup-stamp")
LOG = os.path.join(VENV, "setup.log")
PACKAGES = ("data", "actors", "serve_apps", "cloud_trader", "tuning", "cluster")
STARTED = time.time()


def say(text):
    """Tell progress on stderr: stdout belongs to the command that needed the set-up."""
    sys.stderr.write("setup [%4.0f s] %s\n" % (time.time() - STARTED, text))
    sys.stderr.flush()


def fail(text):
    """One line: what, where, what to do. Exit code 2."""
    sys.stderr.write("setup: %s\n" % text)
    sys.exit(2)


def use_new_enough_python():
    """Re-run under a newer python on the PATH when this one is too old; fail if there is none."""
    if sys.version_info[:2] >= OLDEST:
        return
    for minor in range(NEWEST_TRIED, OLDEST[1] - 1, -1):
        found = shutil.which("python3.%d" % minor)
        if found:
            os.execv(found, [found, os.path.abspath(__file__)])
    fail(
        "python %d.%d or newer is needed, and %s is %d.%d: install one, or `make PYTHON=/path`"
        % (OLDEST + (sys.executable,) + sys.version_info[:2])
    )


def run(arguments, advice, env=None):
    """Run a step with its output in the log; on failure show its last line and the advice."""
    with open(LOG, "a") as log:
        log.write("$ %s\n" % " ".join(arguments))
        log.flush()
        code = subprocess.call(arguments, cwd=ROOT, env=env, stdout=log, stderr=log)
    if code:
        with open(LOG) as log:
            lines = [line.strip() for line in log if line.strip()]
        telling = [line for line in lines if "error" in line.lower()] or lines
        fail("%s %s (all of it: %s)" % (advice, telling[-1][:200], LOG))


def make_venv():
    """A virtual environment of this python; one that is broken or of another is replaced."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        fail(
            "this python has no venv module: install it (Debian, Ubuntu: "
            "`apt install python3-venv`), then run make again"
        )
    wanted = "%d.%d" % sys.version_info[:2]
    check = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    try:
        found = subprocess.run(
            [PYTHON, "-c", check], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        ).stdout.decode()
    except OSError:
        found = ""
    if found.strip() == wanted:
        return
    say("making .venv with python %s" % wanted)
    code = subprocess.call([sys.executable, "-m", "venv", "--clear", VENV])
    if code:
        fail("cannot make %s: is the directory writable, and the disk not full?" % VENV)


def locked(name):
    """The lock's lines for one package: its version and hashes."""
    with open(LOCK) as file:
        text = file.read()
    found = re.search(r"^%s==.*(?:\n    --hash=.*)+" % re.escape(name), text, re.MULTILINE)
    if found:
        return found.group(0) + "\n"
    return fail("%s names no %s: restore it from git" % (LOCK, name))


def uv_environment():
    """The environment for uv: what pip is configured with, which uv does not read by itself."""
    listed = subprocess.run(
        [PYTHON, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    settings = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        settings[key.split(".")[-1]] = value.strip("'\"").replace("\\n", " ").split()
    env = dict(os.environ)
    # As pip does: the best of all indexes. Safe here, because every file's hash is locked.
    env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    for key, name in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("find-links", "UV_FIND_LINKS"),
        ("cert", "SSL_CERT_FILE"),
    ):
        if settings.get(key):
            separator = "," if key == "find-links" else " "
            env.setdefault(name, separator.join(settings[key]))
    return env


def install():
    """The locked packages, each checked against its hash, then this project itself."""
    offline = "packages could not be installed: is a package index reachable (PIP_INDEX_URL)?"
    say("installing uv")
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=VENV) as file:
        file.write(locked("uv"))
        file.flush()
        pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(pip + ["--require-hashes", "--no-deps", "-r", file.name], offline)
    env = uv_environment()
    uv = [PYTHON, "-m", "uv", "pip"]
    say("installing the locked packages (about 1.7 GB on disk)")
    options = ["--python", PYTHON, "--require-hashes", "--compile-bytecode"]
    run(uv + ["sync"] + options + [LOCK], offline, env)
    own = ["install", "--python", PYTHON, "--no-deps", "--no-build-isolation", "-e", "."]
    run(uv + own, "this project could not be installed", env)


def compile_sources():
    """Byte code of our own sources, and the compiled step functions, so that runs start fast."""
    env = dict(os.environ)
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    own = [name for name in PACKAGES if os.path.isdir(os.path.join(ROOT, name))]
    run([PYTHON, "-m", "compileall", "-q"] + own, "a source file does not compile", env)
    if os.path.exists(os.path.join(ROOT, "cluster", "warm.py")):
        say("compiling the step functions")
        run([PYTHON, "-m", "cluster.warm"], "the step functions could not be compiled", env)


def main():
    """All steps; the stamp, last, holds the directory, because an environment does not move."""
    use_new_enough_python()
    if os.path.exists(STAMP):
        os.remove(STAMP)
    make_venv()
    if os.path.exists(LOG):
        os.remove(LOG)
    install()
    compile_sources()
    with open(STAMP, "w") as file:
        file.write(ROOT + "\n")
    say("done")


if __name__ == "__main__":
    main()
