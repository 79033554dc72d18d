"""Tests against real engines; a package, so that what they share ends with them."""
