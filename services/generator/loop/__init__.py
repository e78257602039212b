"""Between queue and device: who joins a step, who leaves, and what each caller hears."""
