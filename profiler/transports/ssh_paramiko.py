"""paramiko's client that asks for the login service once, as servers expect, repaired.

paramiko's usual `Transport` asks again for each credential, and strict servers hang up then. Its
`ServiceRequestingTransport` asks once, but can wait forever, can miss an answer, and can't try
without credentials.
"""

from __future__ import annotations

import threading
import time

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_SERVICE_REQUEST


class LoginTransport(paramiko.ServiceRequestingTransport):  # type: ignore[misc]
    """A transport whose login ends, whatever the server does."""

    def ensure_session(self) -> None:
        """Asks for the login service; the original waits forever where no answer comes.

        Raises:
            paramiko.SSHException: the server went away, or is silent.
        """
        if not self._service_userauth_accepted:
            request = paramiko.Message()
            request.add_byte(cMSG_SERVICE_REQUEST)
            request.add_string("ssh-userauth")
            self._send_message(request)
            deadline = time.monotonic() + self.auth_timeout
            while not self._service_userauth_accepted:
                if not self.is_active():
                    raise paramiko.SSHException("the connection ended before the login")
                if time.monotonic() > deadline:
                    raise paramiko.SSHException("timed out waiting for the login to begin")
                time.sleep(0.005)
            self.auth_handler = self.get_auth_handler()

    def get_auth_handler(self) -> LoginHandler:
        return LoginHandler(self)


class LoginHandler(AuthOnlyHandler):  # type: ignore[misc]
    """The login's conversation."""

    def auth_none(self, username: str) -> list[str]:
        """Tries without credentials; the original fails before it asks."""
        more: list[str] = self.send_auth_request(username, "none", lambda message: None)
        return more

    def wait_for_response(self, event: threading.Event) -> list[str]:
        """Waits for the server's answer, which may have come before `event` was in place."""
        if self.is_authenticated() or self.username is None:  # the handlers of answers see to it
            event.set()
        more: list[str] = super().wait_for_response(event)
        return more
