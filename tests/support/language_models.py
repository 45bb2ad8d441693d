"""What tests of orchestrator/language_models share."""

L = 24
