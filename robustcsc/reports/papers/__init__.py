"""The tables and figures of the papers, with what was measured beside what was printed."""
