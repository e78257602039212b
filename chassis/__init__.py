"""What every process stands on. Nothing in here knows a stage by name."""
