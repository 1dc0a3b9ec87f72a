"""What a person does at the desk: screen, mouse, keyboard.

Internal: the public names are those of :mod:`neko_trio`.
"""
