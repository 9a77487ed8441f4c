"""One module per command of the ``aimc-lightning`` command line."""
