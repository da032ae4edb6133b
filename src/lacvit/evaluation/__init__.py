"""Measuring a trained classifier on labelled images."""
