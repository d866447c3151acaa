"""What all tests need of the environment.

Under `make test` as many workers as cores run the tests, so each computes in one thread, as do its subprocesses.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # read at the first import of torch or numpy, and no earlier file has one
os.environ.pop("ROBUSTCSC_DATA", None)  # tests write the data they use
os.environ["ROBUSTCSC_CACHE"] = "off"  # nor do they leave anything at home
