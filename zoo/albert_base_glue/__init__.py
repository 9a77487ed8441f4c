"""ALBERT-base for eight tasks of GLUE."""
