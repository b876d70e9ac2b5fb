"""Output of a run while it trains: log, progress, alarms and history."""
