"""What the daemon does with volumes: the rules, the order of steps, the repairs."""
