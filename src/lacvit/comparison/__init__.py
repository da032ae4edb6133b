"""Several methods on the same images: planned, run where missing, and judged in pairs."""

from lacvit.comparison.compare import Comparison, compare, plan
from lacvit.comparison.judge import shortfalls
from lacvit.comparison.plan import Request, check_request
from lacvit.comparison.several import (
    compare_several,
    given_for_each,
    requests_of,
    table_of,
)
from lacvit.comparison.tables import accuracies

__all__ = [
    "Comparison",
    "Request",
    "accuracies",
    "check_request",
    "compare",
    "compare_several",
    "given_for_each",
    "plan",
    "requests_of",
    "shortfalls",
    "table_of",
]
