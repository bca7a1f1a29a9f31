"""`aios`: the command line."""
