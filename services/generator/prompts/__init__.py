"""What a model is told: templates, and question and passages spliced into them as ids."""
