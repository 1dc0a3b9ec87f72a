"""The laboratory of ``networks.py``: networks made of namespaces, the programs in them, the rows and their judge."""
