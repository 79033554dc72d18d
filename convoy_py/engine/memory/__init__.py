"""What is known without a look at the disk: entries, references, space."""
