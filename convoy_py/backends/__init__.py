"""The family of backends; a new member is added to this table and nowhere else."""
