"""`/v1`: what OpenAI's clients speak, over the same models, places, quotas and rights as everything else."""
