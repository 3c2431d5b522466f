"""The public API: one file per resource, each with what it takes, what it does, and how it shows its rows."""
