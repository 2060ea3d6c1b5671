"""What tools/compare.py does: two models on the same test images, or groups of experiments."""
