"""What happens at a start, and what is looked after from then on."""
