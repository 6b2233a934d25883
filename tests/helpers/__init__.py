"""What the tests of several packages build with."""
