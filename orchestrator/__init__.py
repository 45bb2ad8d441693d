"""Grid, activation shards, trials and tracking: everything that runs on Ray or talks to MLflow."""
