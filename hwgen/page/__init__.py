"""``report.html``: one page with everything that ``report.json`` says, tables and charts."""

from .page import FILE_NAME, make_page, write_page

__all__ = ["FILE_NAME", "make_page", "write_page"]
