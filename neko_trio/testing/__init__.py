"""The pytest plugin and the tools that tests of trio code around a desktop need."""
