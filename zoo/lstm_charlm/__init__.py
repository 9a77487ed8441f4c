"""LSTM language model of 128 cells that reads Python's manual letter by letter."""
