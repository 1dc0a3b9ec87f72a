"""What outlives a link or a peer: the session owns each port, the current link and peer plug in.

Internal. Ports are for the trio thread unless a method says "any thread".
"""
