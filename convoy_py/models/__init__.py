"""What a volume is: its name, its size, its options, its status; pure values, no I/O."""
