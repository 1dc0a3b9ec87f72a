"""Fuzzers of everything that the client parses: what inputs are made of, what they are given to, and who watches."""
