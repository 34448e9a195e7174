"""Whether a picture is to be believed: what other networks see in it, and how its own unit responds to it."""
