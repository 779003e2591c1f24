"""What changes weights: optimisers, their precision, learning rates, the choice of what is trained, the average."""
