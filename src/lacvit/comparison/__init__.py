"""Several methods on the same images: planned, run where missing, and judged in pairs."""

from lacvit.comparison.compare import Comparison, compare, plan
from lacvit.comparison.plan import Request

__all__ = ["Comparison", "Request", "compare", "plan"]
