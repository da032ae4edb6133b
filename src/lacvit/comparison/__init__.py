"""Several methods on the same images: planned, run where missing, and judged in pairs."""

from lacvit.comparison.compare import Comparison, compare, plan
from lacvit.comparison.plan import DEFAULT_METHODS, Request

__all__ = ["DEFAULT_METHODS", "Comparison", "Request", "compare", "plan"]
