"""Several methods on the same images: planned, run where missing, and judged in pairs."""

from lacvit.comparison.compare import Comparison, compare, plan
from lacvit.comparison.plan import Request
from lacvit.comparison.several import accuracies, compare_several, name_of, requests_of

__all__ = [
    "Comparison",
    "Request",
    "accuracies",
    "compare",
    "compare_several",
    "name_of",
    "plan",
    "requests_of",
]
