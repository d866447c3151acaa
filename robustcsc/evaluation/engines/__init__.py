"""Who measures the cells of a plan; only the driver of an engine writes the store."""
