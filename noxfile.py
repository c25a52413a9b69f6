"""Environments to test in: every Python that is supported, both ends of the dependencies (docs/testing.md)."""

import nox

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""Those that ``requires-python`` admits and numba supports."""

nox.needs_version = ">=2024.4.15"
nox.options.error_on_missing_interpreters = False


def run_tests(session: nox.Session, *resolution: str) -> None:
    """Install what is tested and its tools, say what has been installed, run pytest."""
    session.install("-e", ".[dev]", *resolution)
    session.run(
        "python", "-c", "import numpy, scipy, numba; print(numpy.__version__, scipy.__version__, numba.__version__)"
    )
    session.run("ptylive", "--version")
    session.run("python", "-m", "pytest", "-q", "-n", "3", "--dist", "load", *session.posargs)


@nox.session(python=PYTHONS, venv_backend="uv|virtualenv")
def tests(session: nox.Session) -> None:
    """The newest release of every dependency."""
    run_tests(session)


@nox.session(python=PYTHONS[0], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The oldest release of every dependency that pyproject.toml admits, on the oldest Python."""
    run_tests(session, "--resolution", "lowest-direct")


@nox.session(python=PYTHONS[-1], venv_backend="uv")
def highest(session: nox.Session) -> None:
    """The newest release of every dependency, those before their release too, on the newest Python."""
    run_tests(session, "--prerelease", "allow")
