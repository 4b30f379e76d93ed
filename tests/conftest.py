"""Found by pytest for all tests; its place puts `tests/` on the import path, for modules such as `tiny_data`."""
