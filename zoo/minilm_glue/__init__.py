"""MiniLM, a BERT of six layers, for five tasks of GLUE."""
