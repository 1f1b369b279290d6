"""The status page: static files under `/` and `/ui/`, and their headers. It holds no data: the browser asks the REST face.

pages.py   the routes
static/    HTML, CSS and ES modules, served as they stand (docs/web.md says what each does)
"""
