"""Other people's systems, spoken to in their own words; none of them is needed by anything else."""
