"""What the daemon remembers: volume records below the root, references below the run folder."""
