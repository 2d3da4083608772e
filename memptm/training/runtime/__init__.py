"""How a run runs: one loop, checkpoints, a schedule, telemetry."""
