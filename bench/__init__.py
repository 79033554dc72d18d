"""Measures a volume plugin: its calls, its memory and start, the data path, and `docker run`."""
