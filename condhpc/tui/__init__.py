"""The terminal user interface; the only home of Textual."""
