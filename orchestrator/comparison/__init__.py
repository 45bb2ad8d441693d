"""Who wins where: trials of one sweep, or of several, beside each other, from their records."""
