"""BERT-base for eight tasks of GLUE."""
