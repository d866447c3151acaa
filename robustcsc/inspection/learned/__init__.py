"""What a model has learned: dictionaries, metrics and classifiers, without images or nearly so."""
