"""One cell of the grid from its first step to its result on disk."""
