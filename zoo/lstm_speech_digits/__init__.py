"""Bidirectional LSTM with CTC on connected digit strings."""
