"""One module per function, same name: read, decide, write, and return what happened."""
