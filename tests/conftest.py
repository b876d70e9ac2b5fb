"""Settings every test runs under, and the fixture that adds lines to the test report."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from xla_flags import FAST_COMPILATION

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # read when jax first looks for devices
os.environ.setdefault("XLA_FLAGS", FAST_COMPILATION)

import jax
import pytest

gc.set_threshold(200_000, 20, 20)  # tracing makes many objects: looking at them less saves a tenth

CACHE_DIR = Path(__file__).resolve().parents[1] / ".cache" / "xla"
REPORT_PROPERTY = "report_line"
PROGRAMS_KEPT = 2 << 30  # bytes of a process above which programs of earlier files are forgotten

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_traceback_in_locations_limit", 0)  # which saves a twentieth of tracing
# Test programs are small and many: without these two, none of them would be worth caching.
jax.config.update("jax_compilation_cache_dir", str(CACHE_DIR))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.devices()  # now, so that no test of the command line divides the CPU for those after it


@pytest.fixture(autouse=True, scope="module")
def memory_is_bounded() -> Iterator[None]:
    """After the tests of a file, forgets compiled programs if they have become many."""
    yield
    if resident_bytes() > PROGRAMS_KEPT:
        jax.clear_caches()
        gc.collect()


def resident_bytes() -> int:
    """Returns the memory of this process; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def report_line(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds one line to the summary printed at the end, whether or not the test passes.

    The line travels as a user property of the test's report, so it also survives the trip
    from a pytest-xdist worker.
    """

    def report(line: str) -> None:
        request.node.user_properties.append((REPORT_PROPERTY, line))

    return report


def reported_lines(stats: dict[str, list]) -> list[str]:
    """Collects the reported lines of all tests, in the order the tests ran."""
    reports = [r for group in stats.values() for r in group if getattr(r, "when", "") == "call"]
    reports.sort(key=lambda report: report.start)
    return [
        line
        for report in reports
        for name, line in report.user_properties
        if name == REPORT_PROPERTY
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = reported_lines(terminalreporter.stats)
    if lines:
        terminalreporter.section("reported by tests")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors: some tests wait, for other processes or for time."""
    return (os.cpu_count() or 1) + 1
