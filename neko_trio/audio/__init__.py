"""Hearing the desktop.

Internal: the public names are those of :mod:`neko_trio`.
"""
