"""The mathematics: proximal operators, solvers, convolutional operators, and the layers built from them."""
