"""The headline of a report, and where its numbers come from."""
