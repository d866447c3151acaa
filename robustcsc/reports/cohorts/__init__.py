"""What may stand in one table, and how it is called: the ground that all of a report stands on."""
