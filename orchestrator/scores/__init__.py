"""What a trained coder is worth, latent by latent."""
