"""Pictures of a sweep, from the records of its trials."""
