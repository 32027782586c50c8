"""Benchmarks: every op over its table of cases, the search's own cost, and the report. See README.md here."""
