"""Golden vectors of aihwkit 1.2.0 and the runner that compares the library with them."""
