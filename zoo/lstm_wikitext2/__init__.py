"""Word-level LSTM language model, 2 x 650 cells, on WikiText-2."""
