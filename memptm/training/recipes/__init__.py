"""What can be trained, a recipe a file: its settings, its data, its task for the loop."""
