"""References and shared checks of the tests."""
