"""The status page: static files and their headers."""
