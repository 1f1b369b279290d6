"""The embedded stack: every process of Strop on one machine, without root or containers, under supervisord.

Same code as everywhere; only the URLs in the settings differ (SQLite, a broker from a wheel, a folder as the store).
"""
