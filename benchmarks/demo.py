"""How long `lacvit demo` takes from start to end, as one types it.

    python benchmarks/demo.py [--output FILE.csv]

Three methods under three seeds on scikit-learn's digits, reports and closing table included, in a
process of its own, on a machine where nothing else runs. The bar: 3 minutes on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import Row, add_output, output_of, write_rows

RESULTS = Path(__file__).parent / "results" / "demo.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_output(parser, RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        demo = [sys.executable, "-m", "lacvit", "demo", "--output", str(Path(place) / "demo")]
        started = time.perf_counter()
        subprocess.run(demo, check=True, stdout=sys.stderr)
        taken = time.perf_counter() - started
    write_rows(output_of(options, RESULTS), [Row("lacvit demo", "s", taken)])


if __name__ == "__main__":
    main()
