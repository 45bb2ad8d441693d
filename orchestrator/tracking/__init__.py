"""Everything that a sweep tells MLflow, and reading it back; the only room that imports mlflow."""
