"""A study as one HTML page that opens offline, and the same content as data."""
