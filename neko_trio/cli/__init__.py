"""The neko-trio command. Internal: the command line is the interface."""
