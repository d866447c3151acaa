"""Adversarial attacks on any model from images in [0, 1] to logits, and checks for gradient masking."""
