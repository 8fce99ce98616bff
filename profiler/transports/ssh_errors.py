"""The seam to paramiko: whatever it raises becomes one of our errors, in plain words."""

from __future__ import annotations

import errno
import socket

from ...errors import DeviceError, HostKeyMismatch, Unauthorized, Unreachable

# RFC 4254, section 5.1: why a server does not open a channel.
_PROHIBITED, _CONNECT_FAILED = 1, 2

_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)
_REFUSED_HINT = "is the SSH server of the device running, and is this its port?"
_SILENT_HINT = "is the device switched on and in this network?"


def library_errors() -> tuple[type[BaseException], ...]:
    """What calls into paramiko may raise where the device or the way to it is the cause."""
    import paramiko

    return (paramiko.SSHException, EOFError, OSError)


def device_error(error: BaseException, where: str) -> DeviceError:
    """Our error for one of paramiko or of the socket underneath.

    Args:
        where: the device, as the user knows it.
    """
    import paramiko

    match error:
        case DeviceError():
            return error
        case paramiko.BadHostKeyException():
            return HostKeyMismatch(f"{where}: its host key is not the one on record")
        case paramiko.PasswordRequiredException():
            return Unauthorized(
                f"{where}: the private key is encrypted", hint="load it with ssh-add"
            )
        case paramiko.BadAuthenticationType() | paramiko.ssh_exception.PartialAuthentication():
            accepted = ", ".join(error.allowed_types)
            return Unauthorized(f"{where}: it refused the credentials; it accepts {accepted}")
        case paramiko.AuthenticationException() if _is_hang_up(str(error)):
            return Unreachable(
                f"{where}: the connection ended during the login{_in_brackets(error)}"
            )
        case paramiko.AuthenticationException():
            return Unauthorized(f"{where}: it refused the credentials{_in_brackets(error)}")
        case paramiko.ChannelException():
            return _channel_error(error.code, error.text, where)
        case paramiko.ssh_exception.IncompatiblePeer():
            return DeviceError(
                f"{where}: it has no encryption in common with this machine{_in_brackets(error)}",
                hint="update the SSH server of the device",
            )
        case paramiko.ssh_exception.MessageOrderError():
            return DeviceError(f"{where}: it broke the SSH protocol{_in_brackets(error)}")
        case paramiko.ConfigParseError() | paramiko.ssh_exception.CouldNotCanonicalize():
            return DeviceError(f"{where}: the SSH configuration does not fit{_in_brackets(error)}")
        case paramiko.ProxyCommandFailure():
            return Unreachable(f"{where}: the ProxyCommand failed{_in_brackets(error)}")
        case paramiko.ssh_exception.NoValidConnectionsError():
            return device_error(next(iter(error.errors.values())), where)
        case paramiko.SSHException():
            return _ssh_error(str(error), where)
        case EOFError() | OSError():
            return _socket_error(error, where)
    return DeviceError(f"{where}: its answer makes no sense ({type(error).__name__}: {error})")


def _channel_error(code: int, text: str, where: str) -> DeviceError:
    if code == _PROHIBITED:
        return DeviceError(
            f"{where}: its SSH server does not permit this ({text})",
            hint="for a jump host: it must allow TCP forwarding",
        )
    if code == _CONNECT_FAILED:
        return Unreachable(f"{where}: the jump host can't reach it ({text})", hint=_SILENT_HINT)
    return Unreachable(f"{where}: it has no room for another command now ({text})")


def _ssh_error(text: str, where: str) -> DeviceError:
    if "banner" in text or "protocol version" in text:
        return Unreachable(
            f"{where}: something listens there but does not speak SSH (no SSH banner came)",
            hint="is this the port of the SSH server?",
        )
    if "Channel closed" in text:
        return Unreachable(f"{where}: it refused to run a command, or is shutting down")
    if "imeout" in text or "timed out" in text:
        return Unreachable(f"{where}: it stopped answering ({text})")
    return Unreachable(f"{where}: the SSH connection failed ({text or 'no reason given'})")


def _socket_error(error: EOFError | OSError, where: str) -> DeviceError:
    match error:
        case socket.gaierror():
            return Unreachable(
                f"{where}: the host's name is not known ({error.strerror})",
                hint="is it spelled right? Try the IP address",
            )
        case ConnectionRefusedError():
            return Unreachable(
                f"{where}: nothing listens there (connection refused)", hint=_REFUSED_HINT
            )
        case TimeoutError():
            return Unreachable(f"{where}: it did not answer in time", hint=_SILENT_HINT)
        case EOFError() | ConnectionError():
            return Unreachable(f"{where}: the connection was closed by the other side or lost")
        case OSError(errno=number) if number in _NO_ROUTE:
            return Unreachable(f"{where}: there is no route to it", hint=_SILENT_HINT)
    return Unreachable(
        f"{where}: the connection failed ({getattr(error, 'strerror', None) or error})"
    )


def _is_hang_up(text: str) -> bool:
    return "timeout" in text.lower() or "transport shut down" in text


def _in_brackets(error: BaseException) -> str:
    return f" ({error})" if str(error) else ""
