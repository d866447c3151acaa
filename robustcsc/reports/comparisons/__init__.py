"""Models and policies side by side: gains, paired tests, training seeds, leaderboards."""
