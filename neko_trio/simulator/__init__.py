"""An embedded Neko v3 server with a small desktop."""
