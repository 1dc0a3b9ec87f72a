"""Drive Neko v3 remote desktops from trio."""
