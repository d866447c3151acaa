"""Accuracy under attack, smallest budgets, and fooling rates."""
