"""One module per command, same name. What a command needs beyond the standard library is imported when it runs."""
