"""A finished or unfinished run as one self-contained page, and the same figures as PNG files."""

from lacvit.report.collect import read_run
from lacvit.report.page import write_report
from lacvit.report.plots import contact_sheet

__all__ = ["contact_sheet", "read_run", "write_report"]
