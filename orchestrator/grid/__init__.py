"""What a sweep will run, on what, and at what cost."""
