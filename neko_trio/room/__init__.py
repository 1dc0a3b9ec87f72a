"""Who else is there: control.

Internal: the public names are those of :mod:`neko_trio`.
"""
