"""What a model has learned: dictionaries, metrics and classifiers."""
