"""A model that is about to be measured, and the run its results go to: what the command line and a notebook share."""
