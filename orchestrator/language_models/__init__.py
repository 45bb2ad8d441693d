"""Where a language model comes from, what identifies it, and reading activations out of it."""
