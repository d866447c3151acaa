"""The mathematics: proximal operators, solvers, dictionaries and the layers made of them."""
