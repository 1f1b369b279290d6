"""`make demo`: a job goes all the way, and the picture is sharper. Read `__main__.py` first; it is the story."""
