"""Accuracy under corruptions: by severity, as means, as corruption errors."""
