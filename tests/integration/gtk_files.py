"""A GTK program of a few lines that takes files: what is dropped on its window, or chosen in its file chooser.

    DISPLAY=:99 python gtk_files.py take|refuse|choose

Says ``"ready"`` once it is on the screen, then for each time that it got files a list of [name, SHA-256], and ``[]``
for a chooser that was closed, as lines of JSON. ``refuse`` has a window that takes files and then does not. It ends
with its input. Needs PyGObject, which Linux distributions have for their own Python (python3-gi, gir1.2-gtk-3.0).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import gi  # type: ignore[import-not-found, unused-ignore]

gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GLib, Gtk  # type: ignore[import-not-found, unused-ignore]  # noqa: E402


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def tell(paths: list[str]) -> None:
    say([[os.path.basename(path), hashlib.sha256(Path(path).read_bytes()).hexdigest()] for path in paths])


def window(refuse: bool) -> None:
    shown = Gtk.Window(title="takes files")
    shown.set_default_size(300, 200)
    behaviour = Gtk.DestDefaults.MOTION if refuse else Gtk.DestDefaults.ALL
    shown.drag_dest_set(behaviour, [], Gdk.DragAction.COPY)
    shown.drag_dest_add_uri_targets()

    def refused(_window: Any, context: Any, _x: int, _y: int, time: int) -> bool:
        Gtk.drag_finish(context, False, False, time)
        return True

    def got(_window: Any, _context: Any, _x: int, _y: int, data: Any, _info: int, _time: int) -> None:
        tell([unquote(urlsplit(uri).path) for uri in data.get_uris()])

    shown.connect("drag-drop", refused) if refuse else shown.connect("drag-data-received", got)
    shown.show_all()
    shown.move(600, 300)
    shown.connect("map-event", lambda *_event: GLib.timeout_add(500, lambda: say("ready")))


def choose() -> None:
    chooser = Gtk.FileChooserDialog(title="Open File", action=Gtk.FileChooserAction.OPEN)
    chooser.add_buttons("Cancel", Gtk.ResponseType.CANCEL, "Open", Gtk.ResponseType.OK)
    chooser.set_select_multiple(True)
    chooser.set_current_folder("/tmp")
    chooser.realize()
    # As one that belongs to a window, before it shows: the server sees no other.
    chooser.get_window().move_resize(300, 60, 900, 600)
    GLib.timeout_add(1000, lambda: say("ready"))
    answer = chooser.run()
    paths = chooser.get_filenames() if answer == Gtk.ResponseType.OK else []
    chooser.hide()
    while Gtk.events_pending():
        Gtk.main_iteration()
    chooser.destroy()  # the server looks for hidden windows, too
    while Gtk.events_pending():
        Gtk.main_iteration()
    tell(paths)


def main() -> None:
    """Serve until the input ends."""

    def wait_end() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait_end, daemon=True).start()
    if sys.argv[1] == "choose":
        choose()
        threading.Event().wait()
    window(sys.argv[1] == "refuse")
    Gtk.main()


if __name__ == "__main__":
    main()
