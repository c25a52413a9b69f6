"""A scan on one page: what ``ptylive report`` and the page's report write."""

from ptylive.application.report.contents import Report, read_report
from ptylive.application.report.page import to_html

__all__ = ["Report", "read_report", "to_html"]
