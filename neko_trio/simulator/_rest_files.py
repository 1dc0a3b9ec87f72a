"""The REST calls with files, and the one for links.

Facts: `server/internal/api/room/upload.go`, `server/internal/plugins/filetransfer/manager.go`,
`server/internal/plugins/openinapp/manager.go`, `server/pkg/utils/http.go`; what they answer was seen.
"""

import mimetypes
import re
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import msgspec

from neko_trio.simulator._files import FileDialog
from neko_trio.simulator._forms import Form, FormFile, read_form
from neko_trio.simulator._http import NO_CONTENT, HttpError, Response, json_response
from neko_trio.simulator._rest import Call, Route
from neko_trio.simulator._rest_checks import may_upload
from neko_trio.simulator._values import from_json

__all__ = ["FILE_ROUTES"]

_OK = Response(HTTPStatus.OK)
_BAD_NAME = re.compile(r"\.\.(?:/|$)", re.MULTILINE)
_SPACES = re.compile(r"[\x00-\x1f\x7f]")


class Link(msgspec.Struct, frozen=True):
    text: str = ""


# The shared folder


def _check_transfer(call: Call, verb: str, allowed: bool) -> None:
    if not call.room.files.on_for(call.session):
        raise HttpError(HTTPStatus.FORBIDDEN, "file transfer is disabled")
    if not call.session.profile.is_admin and not allowed:
        raise HttpError(HTTPStatus.FORBIDDEN, f"file {verb} is not allowed for non-admin users")


def _file_name(call: Call) -> str:
    name = call.request.query.get("filename", "")
    if not name or _BAD_NAME.search(name):
        raise HttpError(HTTPStatus.BAD_REQUEST, "bad filename")
    return name.rstrip("/").rpartition("/")[2] or "/"


async def _download(call: Call) -> Response:
    """What Go's file server says: also of a folder, and of nothing."""
    _check_transfer(call, "download", call.room.files.options.user_download)
    name = _file_name(call)
    redirect = Response(HTTPStatus.MOVED_PERMANENTLY, headers=(("Location", f"filetransfer/?filename={quote(name)}"),))
    if name in (".", "/"):
        return redirect
    try:
        data = call.room.files.folder.read(name)
    except IsADirectoryError:
        return redirect
    except FileNotFoundError:
        return Response(HTTPStatus.NOT_FOUND, b"404 page not found\n", "text/plain; charset=utf-8")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(HTTPStatus.OK, data, kind, (("Accept-Ranges", "bytes"),))


async def _upload(call: Call) -> Response:
    _check_transfer(call, "upload", call.room.files.options.user_upload)
    for file in _form(call, "error parsing form").files.get("files", []):
        try:
            call.room.files.folder.write_over(file.name, file.data)
        except OSError as failure:
            raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "error opening file for writing") from failure
    return _OK


async def _delete(call: Call) -> Response:
    _check_transfer(call, "delete", call.room.files.options.user_delete)
    name = _file_name(call)
    if name in (".", "/"):
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "error deleting file")
    try:
        call.room.files.folder.remove(name)
    except FileNotFoundError as failure:
        raise HttpError(HTTPStatus.NOT_FOUND, "file not found") from failure
    return _OK


# Files for programs


async def _drop(call: Call) -> Response:
    if not call.room.files.options.drop:
        raise HttpError(HTTPStatus.BAD_REQUEST, "upload drop is disabled")
    form = _form(call, "failed to parse multipart form")
    x, y = _coordinate(form, "x"), _coordinate(form, "y")
    if not await call.room.files.drop(x, y, _files(form)):
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR)
    return NO_CONTENT


async def _dialog_answer(call: Call) -> Response:
    if not call.room.files.options.dialog:
        raise HttpError(HTTPStatus.BAD_REQUEST, "file chooser dialog is disabled")
    files = _files(_form(call, "failed to parse multipart form"))
    await call.room.files.answer_dialog(_open_dialog(call), files)
    return NO_CONTENT


async def _dialog_close(call: Call) -> Response:
    if not call.room.files.options.dialog:
        raise HttpError(HTTPStatus.BAD_REQUEST, "file chooser dialog is disabled")
    call.room.files.close_dialog(_open_dialog(call))
    return NO_CONTENT


def _open_dialog(call: Call) -> FileDialog:
    dialog = call.room.files.dialog
    if dialog is None:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "file chooser dialog is not open")
    return dialog


def _form(call: Call, refusal: str) -> Form:
    try:
        return read_form(call.request.headers.get("content-type", ""), call.request.body)
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST, refusal) from failure


def _files(form: Form) -> list[FormFile]:
    files = form.files.get("files", [])
    if not files:
        raise HttpError(HTTPStatus.BAD_REQUEST, "no files received")
    joined: dict[str, bytes] = {}
    for file in files:  # two of one name: the server appends
        joined[file.name] = joined.get(file.name, b"") + file.data
    return [FormFile(name, data) for name, data in joined.items()]


def _coordinate(form: Form, name: str) -> int:
    text = form.values.get(name, "")
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise HttpError(HTTPStatus.BAD_REQUEST, f"no {name.upper()} coordinate received")
    return int(text)


# Links


async def _open_link(call: Call) -> Response:
    if not call.room.files.options.links:
        raise HttpError(HTTPStatus.FORBIDDEN, "openinapp is disabled")
    implicit = call.session.profile.can_host and call.room.settings.implicit_hosting
    if not call.room.is_host(call.session) and not implicit:
        raise HttpError(HTTPStatus.FORBIDDEN, "only the host can open links")
    try:
        link = from_json(call.request.body, Link()).text
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST, "failed to parse request body") from failure
    try:
        parts = urlsplit(link)
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST, "failed to parse URL") from failure
    if _SPACES.search(link) or " " in parts.netloc:
        raise HttpError(HTTPStatus.BAD_REQUEST, "failed to parse URL")
    if parts.scheme not in ("http", "https"):
        raise HttpError(HTTPStatus.BAD_REQUEST, "URL must use http or https scheme")
    call.room.files.opened(link)
    return json_response(None)


FILE_ROUTES = (
    Route("POST", "room/upload/drop", _drop, (may_upload,)),
    Route("POST", "room/upload/dialog", _dialog_answer, (may_upload,)),
    Route("DELETE", "room/upload/dialog", _dialog_close, (may_upload,)),
    Route("GET", "filetransfer", _download),
    Route("POST", "filetransfer", _upload),
    Route("DELETE", "filetransfer", _delete),
    Route("POST", "openinapp/openlink", _open_link),
)
