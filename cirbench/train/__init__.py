"""Training: settings, data, the loop, checkpoints. What a model trains is its own (Trainable)."""
