"""What a trained coder is worth: to the model it was grafted into, and to a person who reads its latents."""
