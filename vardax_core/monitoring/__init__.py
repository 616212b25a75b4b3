"""What is watched while an experiment runs: checks with limits, alerts, and a dashboard."""
