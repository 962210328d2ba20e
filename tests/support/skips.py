"""In CI (the environment has CI=true) a skipped test fails the run: whatever it needs can be installed there."""

from __future__ import annotations

import os

import pytest

# reasons that are no fault of the tests': data sets too large for the repository, programs that a machine may lack
ALLOWED = ("needs shared/", "nginx is not installed", "node is not installed")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _forbidden(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if skips := _forbidden(config):
        terminalreporter.section("skipped, which fails in CI", red=True)
        for skip in skips:
            terminalreporter.line(skip)


def _forbidden(config: pytest.Config) -> list[str]:
    """One line for each test that was skipped in CI for a reason not in ALLOWED."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("CI") != "true":  # None: a worker of pytest-xdist
        return []
    skips = [
        (report.nodeid, report.longrepr[2].removeprefix("Skipped: ")) for report in reporter.stats.get("skipped", [])
    ]
    return [f"{test}: {reason}" for test, reason in skips if not reason.startswith(ALLOWED)]
