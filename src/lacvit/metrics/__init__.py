"""Measures of predictions and embeddings: numpy in, numbers out."""
