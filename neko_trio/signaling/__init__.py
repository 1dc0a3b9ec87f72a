"""Login and REST, and the WebSocket. Trio only.

Internal: the public names are those of :mod:`neko_trio`.
"""
