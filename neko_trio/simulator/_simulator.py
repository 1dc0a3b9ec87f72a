"""`Simulator`: what a test sees of a running server, and does in its room."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio.simulator._clipping import Clipping
from neko_trio.simulator._desktop import Desktop
from neko_trio.simulator._faults import Faults
from neko_trio.simulator._files import FileDialog
from neko_trio.simulator._folder import Folder
from neko_trio.simulator._journal import Journal
from neko_trio.simulator._person import Person, PersonSocket
from neko_trio.simulator._rest import Rest
from neko_trio.simulator._room import Room
from neko_trio.simulator._session import Session
from neko_trio.simulator._values import Profile, RoomSettings, admin_profile, new_uid

if TYPE_CHECKING:
    from neko_trio.simulator._microphone import Microphone

__all__ = ["Simulator"]


class Simulator:
    """A running server.  Ends with the `async with` block that opened it."""

    def __init__(
        self,
        room: Room,
        rest: Rest,
        desktop: Desktop,
        microphone: "Microphone",
        *,
        url: str,
        password: str,
        admin_password: str,
    ) -> None:
        self.url = url
        fixed = rest.members.fixed or {}
        self.username = next(iter(fixed), "neko")
        """Of the first member, with `members`; else any name will do."""
        self.password = fixed[self.username].password if fixed else password
        self.admin_password = next((m.password for m in fixed.values() if m.profile.is_admin), admin_password)
        """Of the first admin among `members`; else it makes anybody an admin."""
        self.desktop = desktop
        """What `desktop=` was, or the default one (see `SmallDesktop`)."""
        self.journal: Journal = room.journal
        self.faults: Faults = room.faults
        self.microphone = microphone
        """What clients speak into the desktop, and who does."""
        self._room = room
        self._rest = rest

    def __repr__(self) -> str:
        return f"<Simulator {self.url}>"

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The server's sessions by id, connected or not: look, don't change."""
        return dict(self._room.sessions)

    @property
    def settings(self) -> RoomSettings:
        return self._room.settings

    @property
    def host(self) -> str | None:
        """The session id of the host."""
        host = self._room.host
        return None if host is None else host.id

    @property
    def screen_size(self) -> tuple[int, int]:
        return self._room.screen.width, self._room.screen.height

    @property
    def held(self) -> tuple[frozenset[int], frozenset[int]]:
        """The keysyms and the buttons that are down."""
        return self._room.desk.held

    @property
    def touches(self) -> frozenset[int]:
        """The ids of the fingers that are down; none without ``touch=True``."""
        return self._room.desk.touches

    @property
    def refused(self) -> Mapping[str, int]:
        """How often a message was dropped without a word, by "event: reason"."""
        return dict(self._room.refused)

    @property
    def clipboard(self) -> str | None:
        """The clipboard's text; `None` when it has none."""
        return self._room.desk.clipboard

    @property
    def folder(self) -> Folder:
        """The shared folder, as programs on the desktop see it."""
        return self._room.files.folder

    @property
    def links(self) -> list[str]:
        """The links that clients had opened, in order."""
        return list(self._room.files.links)

    def open_file_dialog(self) -> FileDialog:
        """A program on the desktop opens a file chooser. Without a host the server closes it at once."""
        return self._room.files.open_dialog()

    def copy(self, text: str | None = None, *, html: str | None = None, image: bytes | None = None) -> None:
        """A program on the desktop copies, and the host is told. A text alone is owned by xclip, which answers with it
        whatever form is asked for; with `html` or `image` (a PNG), each form is itself, and missing where not given."""
        if text is not None and html is None and image is None:
            self._room.desk.set_clipboard(text)
            return
        forms = [None if form is None else form.encode() for form in (text, html)]
        self._room.desk.clip(Clipping(forms[0], forms[1], image))

    @asynccontextmanager
    async def person(
        self, name: str, *, admin: bool = False, profile: Profile | None = None
    ) -> AsyncGenerator[Person, None]:
        """A second client, in the room until the end of the block; then it logs out."""
        room = self._room
        if profile is None:
            profile = admin_profile(name) if admin else Profile(name=name)
        await trio.lowlevel.checkpoint()
        session = room.create(f"{name}-{new_uid(5)}", profile)
        person = Person(self._rest, session)
        room.connect_socket(session, PersonSocket(person))
        try:
            yield person
        finally:
            if session.id in room.sessions:
                room.delete(session.id)
