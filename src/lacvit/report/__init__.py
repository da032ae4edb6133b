"""A run or a comparison as one self-contained page; a run's figures as PNG files too."""

from lacvit.report.collect import read_run
from lacvit.report.comparison_page import write_comparison_report
from lacvit.report.page import write_report
from lacvit.report.plots import contact_sheet

__all__ = ["contact_sheet", "read_run", "write_comparison_report", "write_report"]
