"""What goes in and out of a coder: sparsify's files, SAELens', the Hugging Face hub, the model card."""
