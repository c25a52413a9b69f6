"""A scan on one page: used by ``ptylive report`` and the page's report."""

from ptylive.application.report.contents import Report, read_report
from ptylive.application.report.page import to_html

__all__ = ["Report", "read_report", "to_html"]
