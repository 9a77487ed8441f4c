"""Word-level LSTM language model, 2 x 200 cells, on Penn Treebank."""
