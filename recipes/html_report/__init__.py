"""One self-contained HTML page that compares runs, and its figures for a notebook."""
