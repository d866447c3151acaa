"""What a model does with images: codes, reconstructions and residuals."""
