"""One module a command of the command line: options in, a result for a renderer out."""
