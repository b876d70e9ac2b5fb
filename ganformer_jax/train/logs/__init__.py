"""What a run tells while it trains: log, progress, alarms and history."""
