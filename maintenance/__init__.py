"""What is looked after between releases: `python -m maintenance.audit` asks every question at once."""
