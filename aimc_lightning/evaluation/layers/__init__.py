"""What each layer contributes to the loss of accuracy, and which to keep digital."""
