"""Tables on the console, one module per question."""
