"""What the commands share: arguments and options, and what is shown."""
