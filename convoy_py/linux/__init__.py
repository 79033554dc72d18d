"""What the kernel offers, as functions; knows nothing of volumes. Errors are OSError."""
