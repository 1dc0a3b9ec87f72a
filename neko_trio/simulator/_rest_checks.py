"""Who may make a REST call: the checks in front of the routes (`server/pkg/auth/auth.go`), each a 403 or 422."""

from http import HTTPStatus

from neko_trio.simulator._http import HttpError
from neko_trio.simulator._rest import Call

__all__ = ["admins", "can_clipboard", "can_host", "can_watch", "hosts", "hosts_or_admins", "may_upload"]


def admins(call: Call) -> None:
    if not call.session.profile.is_admin:
        raise HttpError(HTTPStatus.FORBIDDEN, "session is not admin")


def hosts(call: Call) -> None:
    if not call.room.is_host(call.session):
        raise HttpError(HTTPStatus.FORBIDDEN, "session is not host")


def hosts_or_admins(call: Call) -> None:
    if not call.room.is_host(call.session) and not call.session.profile.is_admin:
        raise HttpError(HTTPStatus.FORBIDDEN, "session is not host or admin")


def can_watch(call: Call) -> None:
    if not call.session.profile.can_watch:
        raise HttpError(HTTPStatus.FORBIDDEN, "session cannot watch")


def can_host(call: Call) -> None:
    if not call.session.profile.can_host:
        raise HttpError(HTTPStatus.FORBIDDEN, "session cannot host")
    if call.room.private_for(call.session):
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "private mode is enabled")


def can_clipboard(call: Call) -> None:
    if not call.session.profile.can_access_clipboard:
        raise HttpError(HTTPStatus.FORBIDDEN, "session cannot access clipboard")


def may_upload(call: Call) -> None:
    implicit = call.session.profile.can_host and call.room.settings.implicit_hosting
    if not call.room.is_host(call.session) and not implicit:
        raise HttpError(HTTPStatus.FORBIDDEN, "without implicit hosting, only host can upload files")
