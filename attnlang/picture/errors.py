"""What a picture cannot do for the user."""


class PictureError(Exception):
    """A picture cannot be drawn here; the message says what to do instead."""
