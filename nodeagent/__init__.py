RELEASE = "0.1.0"
"""Of the agent that a node runs; the project's version."""
