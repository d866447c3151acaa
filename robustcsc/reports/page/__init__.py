"""The report as one page and as files."""
