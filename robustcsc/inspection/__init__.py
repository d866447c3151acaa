"""Looking inside a model: how well its layers of sparse coding do what they stand for."""
