"""What can go wrong with a call of the API, by what can be done about it."""


class ApiError(Exception):
    """The API did not do what was asked; it may be asked again later."""

    retry_after: float = 0.0
    """Seconds that the server wants to be left alone."""


class NotFound(ApiError):
    """There is no such object."""


class Conflict(ApiError):
    """The object is another than was thought: changed, there already, or a namesake."""


class Ending(ApiError):
    """The namespace is being deleted: nothing can be made in it any more."""


class Forbidden(ApiError):
    """The operator lacks a permission, or an admission rule refuses the object."""


class Refused(ApiError):
    """The object makes no sense to the server; asking again changes nothing."""

    kind = ""
    """Of the object."""
