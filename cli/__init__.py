"""The `robustcsc` command line: parses, calls one library function, renders."""
