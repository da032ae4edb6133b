"""The page of a large comparison: how long it takes to make, to open, and how large it is.

    python benchmarks/page.py [--output FILE.csv]

100 classes and 10,000 test images, made up by tests/report/large_comparison.py, pictures included.
Opening is what a headless browser says, the time until the page's load event: the median of nine,
nothing kept between them. Plots are drawn as they come into view, so the time until the first of
them stands too. The bars: 10 MB, 2 s. Needs chromium and playwright.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from provenance import Row, add_output, output_of, write_rows

from lacvit.report import write_comparison_report

TESTS = Path(__file__).parents[1] / "tests" / "report"
RESULTS = Path(__file__).parent / "results" / "page.csv"
TIMES = 9
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def opened(browser: Browser, page: Path) -> tuple[float, float]:
    """Seconds until the load event, and until a plot is drawn."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    started = time.perf_counter()
    tab.goto(page.as_uri())
    loaded = tab.evaluate(LOADED) / 1000
    plot = tab.locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for(timeout=60_000)
    drawn = time.perf_counter() - started
    context.close()
    return loaded, drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_output(parser, RESULTS)
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("There is no browser: install chromium.")
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]
    from large_comparison import smooth_images, write_large_comparison

    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = write_large_comparison(Path(place))
        started = time.perf_counter()
        page = write_comparison_report(folder, smooth_images)
        made = time.perf_counter() - started
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        times = [opened(browser, page) for _ in range(1 if options.quick else TIMES)]
        browser.close()
        rows = [
            Row("size", "MB", page.stat().st_size / 1e6),
            Row("time to make, t-SNE included", "s", made),
            Row("load event, median", "s", statistics.median(loaded for loaded, _ in times)),
            Row("first plot drawn, median", "s", statistics.median(drawn for _, drawn in times)),
            Row("load event, most", "s", max(loaded for loaded, _ in times)),
        ]
    write_rows(output_of(options, RESULTS), rows)


if __name__ == "__main__":
    main()
