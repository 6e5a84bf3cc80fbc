"""What a network remembers: tasks that need a memory, and instruments that measure a trained model."""
